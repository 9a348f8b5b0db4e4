"""OpenCode and the OpenAgentic SDK as installed programs: where they are, projects for them, and their servers as processes.

OpenCode is installed by npm (opencode-ai pins its binaries exactly). The SDK is among the packages of the dev extra.
"""

import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2
import msgspec
import trio
from msgspec import Struct

from tests import npm

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MODEL = "fake-1"
API_KEY = "key-of-the-scripted-model"

_PROBE_SECONDS = 60
_READY_SECONDS = 60.0
_END_SECONDS = 10.0
_LIFE_SECONDS = 600
"""A server ends by itself after this time, whatever happens to the tests."""


def install_opencode() -> Path:
    """The native binary of OpenCode, installed first if it is not there. See :func:`tests.npm.installed`."""
    return _binary_in(npm.installed(HERE / "package.json", "opencode-ai", _mark_binary))


def _mark_binary(home: Path) -> None:
    """Find the package whose binary runs on this machine: there are some for old processors and for musl."""
    system = f"{sys.platform}-{ {'x86_64': 'x64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }"
    tried = []
    for package in sorted(home.glob(f"node_modules/opencode-{system}*"), key=lambda path: len(path.name)):
        binary = package / "bin" / "opencode"
        env = {"PATH": os.defpath, "HOME": str(home)}
        with suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run([binary, "--version"], capture_output=True, timeout=_PROBE_SECONDS, check=False, env=env)
            if done.returncode == 0:
                (home / "binary").write_text(str(binary.relative_to(home)))
                return
        tried.append(package.name)
    raise AssertionError(f"no binary of OpenCode runs here; tried: {tried}")


def _binary_in(home: Path) -> Path:
    return home / (home / "binary").read_text()


def oa_command() -> list[str]:
    """The OpenAgentic SDK's command line."""
    return [str(Path(sys.executable).with_name("oa"))]


class Project(Struct, frozen=True):
    """A directory to run an agent in, and the environment that keeps it from everything of the tester's own."""

    directory: Path
    env: Mapping[str, str]


def make_opencode_project(root: Path, model_url: str) -> Project:
    """A project whose provider is the scripted model, and whose commands, edits and fetches need a permission."""
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Fake",
        "options": {"baseURL": model_url, "apiKey": API_KEY},
        "models": {MODEL: {"name": "Fake One", "tool_call": True, "limit": {"context": 100_000, "output": 4_000}}},
    }
    config = {
        "model": f"fake/{MODEL}",
        "small_model": f"fake/{MODEL}",
        "share": "disabled",
        "autoupdate": False,
        "snapshot": False,
        "provider": {"fake": provider},
        "permission": {"bash": "ask", "edit": "ask", "webfetch": "ask"},
    }
    env = {
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    }
    project = _make_project(root, env)
    (project.directory / "opencode.json").write_bytes(msgspec.json.encode(config))
    return project


def make_openagentic_project(root: Path, model_url: str) -> Project:
    """A project whose provider is the scripted model. Every tool that can do harm needs a permission: that is how it is made."""
    env = {
        "RIGHTCODE_BASE_URL": model_url,
        "RIGHTCODE_API_KEY": API_KEY,
        "RIGHTCODE_MODEL": MODEL,
        "RIGHTCODE_MAX_RETRIES": "0",
        "RIGHTCODE_TIMEOUT_S": "60",
        "PYTHONUNBUFFERED": "1",
    }
    return _make_project(root, env)


def _make_project(root: Path, env: Mapping[str, str]) -> Project:
    home = root / "home"
    directory = root / "project"
    for folder in (home, directory):
        folder.mkdir(parents=True)
    kinds = ("CONFIG", "DATA", "STATE", "CACHE")
    own = {"HOME": str(home), **{f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in kinds}}
    return Project(directory, {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TZ": "UTC", **own, **env})


class RunningServer(Struct, frozen=True):
    """An agent server of its own process group, on loopback. ``output`` is all that it has said."""

    url: str
    pid: int
    output: Path

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, timeout=60.0, verify=False, trust_env=False)

    def kill(self) -> None:
        """As the kernel does it, with everything it has started."""
        os.killpg(self.pid, signal.SIGKILL)


@asynccontextmanager
async def opencode_server(binary: Path, project: Project, *, password: str | None = None) -> AsyncIterator[RunningServer]:
    """``opencode serve``, ready; ended at exit."""
    port = free_port()
    command = [str(binary), "serve", "--hostname", "127.0.0.1", "--port", str(port)]
    env = {"OPENCODE_SERVER_PASSWORD": password} if password is not None else {}
    # Before it says this it takes requests that it never answers.
    ready = "opencode server listening on"
    async with serving(command, project, env, port, lambda output: ready in output) as server:
        yield server


@asynccontextmanager
async def openagentic_server(project: Project, *, deltas: bool = True, token: str | None = None) -> AsyncIterator[RunningServer]:
    """The OpenAgentic server, ready; ended at exit. ``deltas``: by our launcher, which streams texts; else ``oa serve``."""
    port = free_port()
    command = [sys.executable, str(ROOT / "contrib/examples/openagentic_server.py")] if deltas else [*oa_command(), "serve"]
    env = {"OA_SERVER_TOKEN": token} if token is not None else {}
    address = ["--host", "127.0.0.1", "--port", str(port)]
    async with serving([*command, *address], project, env, port, lambda output: _listens(port)) as server:
        yield server


@asynccontextmanager
async def serving(
    command: Sequence[str], project: Project, env: Mapping[str, str], port: int, is_ready: Callable[[str], bool]
) -> AsyncIterator[RunningServer]:
    """A server of this command, once ``is_ready`` says so of its output; ended at exit."""
    output = project.directory.with_name(f"output-{port}")
    with output.open("wb") as file:
        process = await trio.lowlevel.open_process(
            ["timeout", "--kill-after=5", str(_LIFE_SECONDS), *command],
            cwd=project.directory,
            env={**project.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        with trio.fail_after(_READY_SECONDS):
            while not is_ready(output.read_text(errors="replace")):
                assert process.poll() is None, f"{command[0]} ended with {process.returncode}:\n{output.read_text()}"
                await trio.sleep(0.02)  # another process: there is nothing of ours to wait on
        yield RunningServer(f"http://127.0.0.1:{port}", process.pid, output)
    finally:
        with trio.CancelScope(shield=True):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with trio.fail_after(_END_SECONDS):
                await process.wait()
                while _listens(port):  # noqa: ASYNC110  only the group's leader is ours to wait for
                    await trio.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
