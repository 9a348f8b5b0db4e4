"""The OpenAgentic SDK inside the daemon: an agent whose tools wait for the operator, and whose questions go to the chat.

    [agents.assistant]
    core = "callable"
    object = "openagentic_in_process:agent"

The environment says which model it is, OPENAI_BASE_URL (…/v1, with /responses), OPENAI_API_KEY and OPENAI_MODEL, and where it
works: AGENT_DIRECTORY.

The SDK runs on asyncio and reads from its model with blocking calls, so each turn has a thread with an event loop of its own. All
that the SDK wants from gatewayd crosses over through one channel and is done by the turn's own task, so that it ends with the
turn. A turn that is stopped cancels the loop's task, cuts its connection to the model and kills its command: the thread ends.
"""

import asyncio  # noqa: TID251  the SDK's, in a thread of its own
import os
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import trio
from openagentic_sdk import OpenAgenticOptions, query  # type: ignore[import-untyped]
from openagentic_sdk.permissions.cas import PermissionResultAllow, PermissionResultDeny  # type: ignore[import-untyped]
from openagentic_sdk.permissions.gate import PermissionGate  # type: ignore[import-untyped]
from openagentic_sdk.providers.openai_responses import OpenAIResponsesProvider  # type: ignore[import-untyped]
from openagentic_sdk.tools.defaults import default_tool_registry  # type: ignore[import-untyped]

from gatewayd.agents.callable import CallableTurn
from gatewayd.model.errors import AgentFailed, NeedsOperator

HARMLESS = frozenset(("AskUserQuestion", "TodoWrite"))
"""Tools that nobody is asked about."""
READING = frozenset(("Glob", "Grep", "Read", "Skill"))
"""Tools that nobody is asked about inside the agent's directory. Only the SDK's Read minds where it is: the others take any path,
and they read as gatewayd."""
PATHS = ("file_path", "filePath", "root", "path", "project_dir")
"""The keys in which they take a path."""
MODEL_SECONDS = 120.0
"""How long the model may be silent."""
COMMAND_SECONDS = 60.0
COMMAND_OUTPUT_MAX = 100_000
STOP_SECONDS = 10.0
LINE_MAX = 8 * 1024 * 1024


async def agent(turn: CallableTurn) -> AsyncGenerator[str, None]:
    """One turn. Sessions are kept by the SDK, under ~/.openagentic-sdk."""
    wants, receive = trio.open_memory_channel["str | Want"](16)
    run = Run(turn, wants)
    run.start()
    try:
        async for want in receive:
            if isinstance(want, str):
                yield want
            else:
                want.answer(await want.ask(turn))
    finally:
        receive.close()
        with trio.CancelScope(shield=True):
            await run.stop()
    if run.failure is not None:
        raise run.failure


@dataclass(frozen=True)
class Want:
    """Something that the SDK awaits on its loop and gatewayd answers on its own."""

    ask: Callable[[CallableTurn], Awaitable[Any]]
    future: "asyncio.Future[Any]"

    def answer(self, value: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.future.get_loop().call_soon_threadsafe(self._settle, value)

    def _settle(self, value: object) -> None:
        if not self.future.done():
            self.future.set_result(value)


class Run:
    """A run of the SDK in its thread. ``failure`` is set before it ends."""

    def __init__(self, turn: CallableTurn, wants: "trio.MemorySendChannel[str | Want]") -> None:
        self.failure: Exception | None = None
        self._prompt = turn.prompt
        self._wants = wants
        self._token = trio.lowlevel.current_trio_token()
        self._model = ModelConnection()
        self._directory = _environment("AGENT_DIRECTORY")
        self._options = _options(self._directory, turn.session_id, self._model, self._gate())
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._ended = trio.Event()
        self._thread = threading.Thread(target=self._in_thread, name=f"openagentic {turn.turn_id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """End the run, if it has not ended, and wait for its thread."""
        self._stopped = True
        if self._task is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        self._model.cut()
        with trio.move_on_after(STOP_SECONDS):
            await self._ended.wait()

    def _in_thread(self) -> None:
        try:
            asyncio.run(self._run())
        except (Exception, asyncio.CancelledError) as error:
            if not self._stopped:
                self.failure = AgentFailed(f"the OpenAgentic SDK failed: {str(error)[:300] or type(error).__name__}")
        finally:
            with suppress(trio.RunFinishedError):
                trio.from_thread.run_sync(self._wants.close, trio_token=self._token)
                trio.from_thread.run_sync(self._ended.set, trio_token=self._token)

    async def _run(self) -> None:
        self._task = asyncio.current_task()
        if self._stopped:
            return
        said_something = False
        async for event in query(prompt=self._prompt, options=self._options):
            if getattr(event, "parent_tool_use_id", None) is not None:
                continue  # a sub-agent's
            match event.type:
                case "assistant.delta":
                    self._cross(event.text_delta)
                    said_something = True
                case "tool.use" if said_something:
                    self._cross("\n\n")
                    said_something = False
                case "result" if event.stop_reason not in ("end", "no_output"):
                    raise RuntimeError(f"it stopped: {event.stop_reason}")

    def _cross(self, want: str | Want) -> None:
        """:raises trio.BrokenResourceError: the turn has ended."""
        trio.from_thread.run(self._wants.send, want, trio_token=self._token)

    async def _ask(self, ask: Callable[[CallableTurn], Awaitable[Any]]) -> Any:
        future = asyncio.get_running_loop().create_future()
        self._cross(Want(ask, future))
        return await future

    def _gate(self) -> PermissionGate:
        return PermissionGate(permission_mode="deny", can_use_tool=self._permission, user_answerer=self._question)

    async def _permission(self, tool: str, input: dict[str, Any], context: object) -> object:
        if tool in HARMLESS or stays_inside(self._directory, tool, input):
            return PermissionResultAllow()
        decision = await self._ask(lambda turn: turn.ask(tool, input))
        if decision.allowed:
            return PermissionResultAllow()
        return PermissionResultDeny(message=": ".join(filter(None, (decision.outcome, decision.note))))

    async def _question(self, question: Any) -> str:
        answers = await self._ask(lambda turn: turn.question(question.prompt, question.choices))
        return ", ".join(answers) if answers is not None else "The user gave no answer."


def stays_inside(directory: str, tool: str, input: Mapping[str, Any]) -> bool:
    """Whether it is a tool that reads, and all it would read is inside the directory, wherever links lead."""
    if tool not in READING:
        return False
    inside = Path(directory).resolve()
    try:
        return all(path.resolve().is_relative_to(inside) for path in _paths(inside, tool, input))
    except (TypeError, ValueError, NotImplementedError, OSError, RuntimeError):  # no path, no pattern, or links in a circle
        return False


def _paths(directory: Path, tool: str, input: Mapping[str, Any]) -> Iterator[Path]:
    """What its input names, and what is found there. Some tools strip a path and some do not."""
    named = [str(input[key]) for key in PATHS if input.get(key) is not None]
    roots = [directory / form for path in named for form in (path, path.strip())] or [directory]
    yield from roots
    if tool == "Read":
        return
    patterns = {"Glob": input.get("pattern"), "Grep": input.get("file_glob", "**/*"), "Skill": ".claude/skill*/**/SKILL.md"}
    pattern = patterns[tool]
    if ".." in Path(pattern).parts:
        raise ValueError("a pattern that climbs")
    for root in roots:
        yield from root.glob(pattern)


def _options(directory: str, session_id: str, model: "ModelConnection", gate: PermissionGate) -> OpenAgenticOptions:
    tools = default_tool_registry()
    tools.register(Bash())
    return OpenAgenticOptions(
        provider=OpenAIResponsesProvider(base_url=_environment("OPENAI_BASE_URL"), stream_transport=model),
        model=_environment("OPENAI_MODEL"),
        api_key=_environment("OPENAI_API_KEY"),
        cwd=directory,
        project_dir=directory,
        resume=session_id,  # the SDK's ids look like ours, and it takes one that is new
        tools=tools,
        permission_gate=gate,
        include_partial_messages=True,
    )


def _environment(name: str) -> str:
    if name not in os.environ:
        raise NeedsOperator(f"the environment variable {name} is not set")
    return os.environ[name]


class ModelConnection:
    """The SDK's transport for streams: blocking, but it can be cut from outside. A stream that breaks off is an error, which the
    SDK's own does not tell from an end."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._is_cut = False

    def __call__(self, url: str, headers: Mapping[str, str], payload: Mapping[str, Any]) -> Iterator[bytes]:
        parts = urlsplit(url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        with closing(kind(parts.netloc, timeout=MODEL_SECONDS)) as connection:
            connection.connect()
            self._socket = connection.sock
            if self._is_cut:
                return
            connection.request("POST", parts.path, msgspec.json.encode(payload), dict(headers))
            response = connection.getresponse()
            if response.status != 200:
                raise RuntimeError(f"the model answers {response.status}: {response.read(300).decode(errors='replace')}")
            whole = False
            for line in iter(partial(response.readline, LINE_MAX), b""):
                whole = whole or b'"response.completed"' in line or b'"response.incomplete"' in line
                yield line
            if not whole:
                raise RuntimeError("the model broke off in the middle of its answer")

    def cut(self) -> None:
        self._is_cut = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class Bash:
    """The SDK's own lets a command run on when its turn is stopped, and gives it the daemon's whole environment."""

    name = "Bash"
    description = "Run a shell command."

    async def run(self, tool_input: Mapping[str, Any], context: Any) -> dict[str, object]:
        # Not asyncio's: when that is cancelled while it starts a process, what the process has started is left behind.
        process = subprocess.Popen(  # noqa: ASYNC220  a few milliseconds of a loop that has nothing else to do
            ["bash", "-c", tool_input["command"]],
            cwd=context.cwd,
            env={name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                output = await asyncio.to_thread(_output_of, process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # it is not reaped yet, so the number is still its own
            code = process.wait()
        return {"output": output, "exit_code": code}


def _output_of(process: "subprocess.Popen[bytes]") -> str:
    """All it says, up to a length, until it has ended."""
    assert process.stdout is not None
    output = bytearray()
    with process.stdout as pipe:
        while data := os.read(pipe.fileno(), 65_536):
            output += data[: COMMAND_OUTPUT_MAX - len(output)]
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return output.decode(errors="replace")
