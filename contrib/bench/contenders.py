"""Each kind of agent twice: as gatewayd is configured to run it, and called directly."""

import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

import msgspec
from msgspec import Struct

from contrib.bench.baselines.direct import ChatCompletions, Direct, Echo, InProcess, Server, http_client, open_acp
from contrib.bench.baselines.lean_http import Connections
from tests.agents.real.installed import (
    API_KEY,
    MODEL,
    ROOT,
    Project,
    install_opencode,
    make_openagentic_project,
    make_opencode_project,
    openagentic_server,
    opencode_server,
)

EXAMPLES = ROOT / "contrib" / "examples"

Value = str | int | Sequence[str] | Mapping[str, str]


class Contender(Struct, frozen=True):
    """``settings`` are the agent's keys in the configuration, ``env`` is added to gatewayd's environment. ``direct`` gives a
    client and the process id of what it calls, None when that is this process."""

    settings: Mapping[str, Value]
    direct: Callable[[], AbstractAsyncContextManager[tuple[Direct, int | None]]]
    env: Mapping[str, str] = {}


def echo(root: Path, model_url: str) -> Contender:
    @asynccontextmanager
    async def direct() -> AsyncIterator[tuple[Direct, int | None]]:
        yield Echo(), None

    return Contender({"core": "echo"}, direct)


def chat_completions(root: Path, model_url: str) -> Contender:
    @asynccontextmanager
    async def direct() -> AsyncIterator[tuple[Direct, int | None]]:
        with closing(Connections(model_url)) as connections:
            yield ChatCompletions(connections, model_url), None

    return Contender({"core": "chat_completions", "url": model_url, "model": MODEL, "max_history_tokens": 0}, direct)


def in_process(root: Path, model_url: str) -> Contender:
    """The callable core, with the OpenAgentic SDK in it."""
    project = make_openagentic_project(root / "sdk", model_url)

    @asynccontextmanager
    async def direct() -> AsyncIterator[tuple[Direct, int | None]]:
        yield InProcess(project, model_url), None

    env = {
        **{name: value for name, value in project.env.items() if name == "HOME"},
        "PYTHONPATH": str(EXAMPLES),
        "OPENAI_BASE_URL": model_url,
        "OPENAI_API_KEY": API_KEY,
        "OPENAI_MODEL": MODEL,
        "AGENT_DIRECTORY": str(project.directory),
    }
    return Contender({"core": "callable", "object": "openagentic_in_process:agent"}, direct, env)


def openagentic(root: Path, model_url: str) -> Contender:
    """The opencode core, with OpenAgentic's server."""
    ours, theirs = (make_openagentic_project(root / side, model_url) for side in ("ours", "theirs"))

    @asynccontextmanager
    async def direct() -> AsyncIterator[tuple[Direct, int | None]]:
        async with openagentic_server(theirs) as server, http_client(server.url) as client:
            # Its listen queue holds five (socketserver's default), and it resets what is too much.
            yield Server(client, at_once=5), server.pid

    command = [sys.executable, str(EXAMPLES / "openagentic_server.py")]
    return Contender({"core": "opencode", "command": command, **_place(ours.directory, ours.env)}, direct)


def opencode(root: Path, model_url: str) -> Contender:
    binary = install_opencode()
    ours, theirs = (make_opencode_project(root / side, model_url) for side in ("ours", "theirs"))

    @asynccontextmanager
    async def direct() -> AsyncIterator[tuple[Direct, int | None]]:
        async with opencode_server(binary, theirs) as server, http_client(server.url) as client:
            yield Server(client, at_once=1000), server.pid

    return Contender({"core": "opencode", "command": [str(binary), "serve"], **_place(ours.directory, ours.env)}, direct)


def acp(root: Path, model_url: str) -> Contender:
    """``opencode acp``."""
    command = [str(install_opencode()), "acp"]
    ours, theirs = (make_opencode_project(root / side, model_url) for side in ("ours", "theirs"))

    @asynccontextmanager
    async def direct() -> AsyncIterator[tuple[Direct, int | None]]:
        async with open_acp(command, theirs) as (agent, pid):
            yield agent, pid

    return Contender({"core": "acp", "command": command, **_place(ours.directory, ours.env)}, direct)


def scripted_acp(root: Path, model_url: str) -> Contender:
    """The tests' ACP agent, which answers at once: what is left is the protocol."""
    ours, theirs = (_make_folder(root / side) for side in ("ours", "theirs"))
    command = [sys.executable, "-m", "tests.fakes.acp_agent"]
    env = {"PYTHONPATH": str(ROOT)}

    @asynccontextmanager
    async def direct() -> AsyncIterator[tuple[Direct, int | None]]:
        async with open_acp(command, Project(theirs, {**os.environ, **env})) as (agent, pid):
            yield agent, pid

    return Contender({"core": "acp", "command": command, **_place(ours, env)}, direct)


CONTENDERS: Mapping[str, Callable[[Path, str], Contender]] = {
    "echo": echo,
    "chat_completions": chat_completions,
    "in_process": in_process,
    "openagentic": openagentic,
    "opencode": opencode,
    "acp": acp,
    "scripted_acp": scripted_acp,
}


def _make_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _place(directory: Path, env: Mapping[str, str]) -> dict[str, Value]:
    return {"directory": str(directory), "environment": env}


def as_toml(settings: Mapping[str, Value]) -> str:
    """The keys of a table. Strings and arrays are written in JSON as in TOML."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in settings.items())


def _value(value: Value) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    return msgspec.json.encode(value).decode()
