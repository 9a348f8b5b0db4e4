"""Agents called directly, as simply as they can be: what a turn costs without gatewayd.

Each client makes sessions and runs turns in them, any number at once. Facts of the protocols are where gatewayd's own cores have
them (``gatewayd/agents``).
"""

import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import msgspec
import trio

from contrib.bench.baselines.lean_http import Connections
from tests.agents.real.installed import API_KEY, MODEL, Project

Json = dict[str, Any]

_CAPABILITIES = {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}


class Direct(Protocol):
    async def new_session(self) -> str: ...

    async def turn(self, session: str, text: str) -> str:
        """The whole reply."""


def http_client(url: str) -> httpx2.AsyncClient:
    """As many connections as there are sessions."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx2.AsyncClient(base_url=url, timeout=600.0, limits=limits, trust_env=False, verify=False)


class Echo:
    """What an echo costs: nothing."""

    async def new_session(self) -> str:
        return ""

    async def turn(self, session: str, text: str) -> str:
        return text


class ChatCompletions:
    """One streamed request; nothing is remembered. It trusts the server to write one whole event a line."""

    def __init__(self, connections: Connections, url: str) -> None:
        self._connections = connections
        self._path = f"{urlsplit(url).path}/chat/completions"

    async def new_session(self) -> str:
        return ""

    async def turn(self, session: str, text: str) -> str:
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "stream": True}
        answer = await self._connections.post(self._path, msgspec.json.encode(body))
        events = [line[5:] for line in answer.split(b"\n") if line.startswith(b"data:") and b"[DONE]" not in line]
        return "".join(msgspec.json.decode(event)["choices"][0]["delta"].get("content", "") for event in events)


class Server:
    """OpenCode's or OpenAgentic's server, by the request that waits for the end of the run. ``at_once`` bounds the requests."""

    def __init__(self, client: httpx2.AsyncClient, *, at_once: int) -> None:
        self._client = client
        self._places = trio.CapacityLimiter(at_once)

    async def new_session(self) -> str:
        async with self._places:
            session: str = (await self._client.post("/session", json={})).json()["id"]
        return session

    async def turn(self, session: str, text: str) -> str:
        body = {"text": text, "parts": [{"type": "text", "text": text}]}
        async with self._places:
            answer = await self._client.post(f"/session/{session}/message", json=body)
        return "".join(part["text"] for part in answer.json()["parts"] if part["type"] == "text")


class Acp:
    """An ACP process: JSON-RPC, one object per line."""

    def __init__(self, process: trio.Process, directory: Path) -> None:
        self._process = process
        self._directory = directory
        self._ids = count(1)
        self._waiting: dict[int, trio.MemorySendChannel[Json]] = {}
        self._texts: dict[str, list[str]] = {}
        self._writing = trio.Lock()

    async def read(self) -> None:
        """Hand out what the agent says. :raises RuntimeError: it has ended."""
        assert self._process.stdout is not None
        rest = b""
        async for chunk in self._process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(msgspec.json.decode(line, type=Json))
        raise RuntimeError("the agent has ended")

    def _take(self, message: Json) -> None:
        if "method" not in message:
            self._waiting.pop(message["id"]).send_nowait(message)
        elif message["method"] == "session/update":
            params = message["params"]
            if params["update"]["sessionUpdate"] == "agent_message_chunk":
                self._texts.setdefault(params["sessionId"], []).append(params["update"]["content"]["text"])

    async def call(self, method: str, params: Json) -> Json:
        """:raises RuntimeError: the agent refuses."""
        number = next(self._ids)
        self._waiting[number], answer = trio.open_memory_channel[Json](1)
        line = msgspec.json.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params}) + b"\n"
        assert self._process.stdin is not None
        async with self._writing:
            await self._process.stdin.send_all(line)
        reply = await answer.receive()
        if "result" not in reply:
            raise RuntimeError(f"{method}: {reply}")
        result: Json = reply["result"]
        return result

    async def new_session(self) -> str:
        session: str = (await self.call("session/new", {"cwd": str(self._directory), "mcpServers": []}))["sessionId"]
        return session

    async def turn(self, session: str, text: str) -> str:
        self._texts[session] = []
        await self.call("session/prompt", {"sessionId": session, "prompt": [{"type": "text", "text": text}]})
        return "".join(self._texts[session])


@asynccontextmanager
async def open_acp(command: Sequence[str], project: Project) -> AsyncIterator[tuple[Acp, int]]:
    """An agent that has been initialised, and its process id; ended at exit."""
    async with trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(
            command,
            cwd=project.directory,
            env=project.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            acp = Acp(process, project.directory)
            nursery.start_soon(acp.read)
            await acp.call("initialize", {"protocolVersion": 1, "clientCapabilities": _CAPABILITIES})
            yield acp, process.pid
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()


class InProcess:
    """The OpenAgentic SDK, each turn in a thread with a loop of its own."""

    def __init__(self, project: Project, model_url: str) -> None:
        self._directory = str(project.directory)
        self._root = project.directory.with_name("sessions")
        self._model_url = model_url
        self._threads = trio.CapacityLimiter(1000)

    async def new_session(self) -> str:
        return uuid4().hex

    async def turn(self, session: str, text: str) -> str:
        return await trio.to_thread.run_sync(self._run, session, text, limiter=self._threads)

    def _run(self, session: str, text: str) -> str:
        import asyncio  # noqa: TID251  the SDK's

        from openagentic_sdk import OpenAgenticOptions, run  # type: ignore[import-untyped]
        from openagentic_sdk.providers.openai_responses import OpenAIResponsesProvider  # type: ignore[import-untyped]

        options = OpenAgenticOptions(
            provider=OpenAIResponsesProvider(base_url=self._model_url),
            model=MODEL,
            api_key=API_KEY,
            cwd=self._directory,
            project_dir=self._directory,
            session_root=self._root,
            resume=session,
            include_partial_messages=True,
        )
        text = asyncio.run(run(prompt=text, options=options)).final_text
        assert isinstance(text, str)
        return text
