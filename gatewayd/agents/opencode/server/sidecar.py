"""A server that gatewayd starts: on a free loopback port, with a new password. It is ready when it answers."""

import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec

from gatewayd.agents.opencode.server.client import HEALTH_SECONDS, Client, basic
from gatewayd.agents.opencode.settings import OpencodeSettings
from gatewayd.kit.command import work_directory
from gatewayd.kit.process import ChildProcess, open_process
from gatewayd.model.errors import TryAgain
from gatewayd.model.secret import Secret
from gatewayd.ports.agent import AgentServices

_HOST = "127.0.0.1"
_PAUSE_SECONDS = 0.1
_BEFORE_LISTENING_SECONDS = 1.0

_READ_RULES = {"*": "allow", "*.env": "ask", "*.env.*": "ask", "*.env.example": "allow"}
"""OpenCode's own: files with secrets are asked for even where reading is not."""


class Sidecar:
    """A started server that answers."""

    def __init__(self, client: Client, version: str, process: ChildProcess) -> None:
        self.client = client
        self.version = version
        self.process = process

    async def wait_end(self) -> str:
        """Waits for its end. Returns how it ended, with the last line of its output."""
        await self.process.wait()
        return self.process.exit_summary

    @property
    def last_output_line(self) -> str:
        return self.process.output[-1] if self.process.output else ""


@asynccontextmanager
async def open_sidecar(settings: OpencodeSettings, services: AgentServices) -> AsyncIterator[Sidecar]:
    """Leaving ends the server, and all processes that it started.

    :raises NeedsOperator: there is no such command or directory. :raises TryAgain: it ended, or did not answer in time.
    Both may come in an ExceptionGroup.
    """
    directory = await work_directory(settings.directory, services.directory)
    port, password = _free_port(), Secret(secrets.token_urlsafe(32))
    environment = {
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_PERMISSION": permission_rules(settings.auto_approve),
        **settings.environment,
        **{name: secret.reveal() for name, secret in settings.secrets.items()},
        "PORT": str(port),
        # Both servers read these two.
        "OPENCODE_SERVER_PASSWORD": password.reveal(),
        "OPENCODE_SERVER_USERNAME": settings.username,
    }
    command = command_line(settings.command, port)
    marker, hidden = f"opencode {services.directory}", (*settings.secrets.values(), password)
    async with open_process(command, cwd=directory, env=environment, marker=marker, secrets=hidden) as process:
        client = Client(services.http, f"http://{_HOST}:{port}", basic(settings.username, password))
        version = await _wait_ready(client, process, settings.start_timeout_seconds)
        yield Sidecar(client, version, process)


def command_line(command: tuple[str, ...], port: int) -> list[str]:
    """The command with its port: in the place of ``{port}``, else at the end, as both servers take it."""
    if any("{port}" in part for part in command):
        return [part.replace("{port}", str(port)) for part in command]
    return [*command, "--port", str(port)]


def permission_rules(auto_approve: tuple[str, ...]) -> str:
    """OpenCode's ``permission`` as JSON: the last rule that matches counts, so what needs no asking stands after the star."""
    rules: dict[str, str | dict[str, str]] = {"*": "ask"}
    for name in auto_approve:
        rules[name] = _READ_RULES if name == "read" else "allow"
    return msgspec.json.encode(rules).decode()


def _free_port() -> int:
    """A port that is free now. If another program takes it meanwhile the start fails, and the next one takes another port."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


async def _wait_ready(client: Client, process: ChildProcess, timeout_seconds: float) -> str:
    """Wait until the server answers. Returns its version.

    OpenCode accepts connections before it prints "listening on", and never answers on those: hence short limits and new
    connections.
    """
    version: str | None = None
    why = "it has not answered yet"
    listening = anyio.Event()

    async def wait_said() -> None:
        await process.wait_line(lambda line: "listening on" in line)
        listening.set()

    with anyio.move_on_after(timeout_seconds):
        async with anyio.create_task_group() as group:
            group.start_soon(wait_said)
            while version is None:
                try:
                    patience = HEALTH_SECONDS if listening.is_set() else _BEFORE_LISTENING_SECONDS
                    version = await client.health(timeout_seconds=patience)
                except TryAgain as error:
                    why = error.reason
                    with anyio.move_on_after(_PAUSE_SECONDS):
                        await (anyio.sleep_forever() if listening.is_set() else listening.wait())
            group.cancel_scope.cancel()
    if version is None:
        raise TryAgain(f"the agent's server did not answer within {timeout_seconds:g} s of its start: {why}")
    return version
