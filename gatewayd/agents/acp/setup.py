"""The requests that begin a connection and its sessions: initialize, session/new, session/load, session/resume."""

from pathlib import Path
from typing import Final, Literal

import anyio
from msgspec import Raw

from gatewayd import __version__
from gatewayd.agents.acp.connection import Connection, ConnectionLost, RequestFailed
from gatewayd.agents.acp.dispatch import Dispatch
from gatewayd.agents.acp.turn.grace import GRACE_SECONDS
from gatewayd.agents.acp.wire import AUTH_REQUIRED, PROTOCOL_VERSION, Initialized, Malformed, NewSession, read
from gatewayd.model.errors import AgentFailed, GatewayError, NeedsOperator, TryAgain

_SESSION_ID_MAX: Final = 200

Loaded = Literal["loaded", "empty", "refused"]
"""``empty``: the request succeeded, but without a history. Some agents accept every id (Hermes, OpenClaw), and begin a new
session."""


class Setup:
    """All requests but the prompts. Each has a time limit: after ``timeout_seconds`` it is an outage."""

    def __init__(self, connection: Connection, dispatch: Dispatch, directory: Path, timeout_seconds: float) -> None:
        self._connection = connection
        self._dispatch = dispatch
        self._directory = directory
        self._timeout = timeout_seconds
        self.agent = Initialized()

    async def initialize(self) -> None:
        """:raises NeedsOperator: it is no agent of this protocol. :raises TryAgain: it ended, or gave no answer in time."""
        params = {
            "protocolVersion": PROTOCOL_VERSION,
            "clientCapabilities": {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False},
            "clientInfo": {"name": "gatewayd", "title": "gatewayd", "version": __version__},
        }
        try:
            self.agent = read(await self._request("initialize", params), Initialized)
        except (RequestFailed, Malformed) as error:
            raise NeedsOperator(f"the command is no agent that speaks ACP: {error}") from error
        version = self.agent.protocol_version
        if type(version) is not int or version != PROTOCOL_VERSION:
            raise NeedsOperator(
                f"the agent speaks version {version!r:.50} of ACP, gatewayd speaks version {PROTOCOL_VERSION}: it needs another "
                'release of the agent. (`oa acp` of OpenAgentic is no ACP; use core = "opencode" for it.)'
            )

    async def create(self) -> str:
        """A new session of the agent. :raises TryAgain: :raises AgentFailed: :raises NeedsOperator: it wants a login."""
        try:
            session_id = read(await self._request("session/new", self._session_parameters()), NewSession).session_id
        except RequestFailed as error:
            raise self.failure(error) from error
        except Malformed as error:
            raise AgentFailed(str(error)) from error
        if not 0 < len(session_id) <= _SESSION_ID_MAX or not session_id.isprintable():
            raise AgentFailed("the agent gave its new session an id that cannot be used")
        return session_id

    async def load(self, agent_session: str) -> Loaded:
        """Take a session up in this process. :raises TryAgain: :raises NeedsOperator: it wants a login."""
        if not self.agent.loads and not self.agent.resumes:
            return "refused"
        # session/load is preferred, although it replays the whole history: it shows whether the agent has one.
        method = "session/load" if self.agent.loads else "session/resume"
        with self._dispatch.replay(agent_session) as replay:
            try:
                await self._request(method, {"sessionId": agent_session, **self._session_parameters()})
                # The rest of the history must not be taken for new text.
                with anyio.move_on_after(GRACE_SECONDS):
                    while not await self._connection.is_drained():
                        pass
            except RequestFailed as error:
                failure = self.failure(error)
                if isinstance(failure, NeedsOperator):
                    raise failure from error
                return "refused"
        return "loaded" if replay.updates or not self.agent.loads else "empty"

    def failure(self, error: RequestFailed) -> GatewayError:
        """The error that a failed request means."""
        if error.code != AUTH_REQUIRED:
            return AgentFailed(f"the agent failed: {error}")
        offered = [f"{way.name or way.id}: {way.description or ''}".rstrip(": ") for way in self.agent.auth_methods or ()]
        ways = "; ".join(offered)[:300] or "it does not say how"
        return NeedsOperator(
            f"the agent wants a login ({ways}): log in with its own command, as the user "
            f"that runs gatewayd, or give it a key in secrets. It says: {error.message[:200]}"
        )

    def _session_parameters(self) -> dict[str, object]:
        return {"cwd": str(self._directory), "mcpServers": []}

    async def _request(self, method: str, params: object) -> Raw:
        try:
            with anyio.fail_after(self._timeout):
                return await self._connection.ask(method, params).wait()
        except TimeoutError:
            why = f"gave no answer to {method} within {self._timeout:g} s"
            if not self._dispatch.busy:
                self._connection.lose(why)
            raise TryAgain(f"the agent {why}") from None
        except ConnectionLost as error:
            raise TryAgain(f"the agent {error}") from error
