"""Dispatches the agent's messages to the prompt that they are for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from gatewayd.agents.acp.connection import Connection
from gatewayd.agents.acp.turn.permission import CANCELLED
from gatewayd.agents.acp.turn.prompt import IncomingCancel, IncomingPermission, Prompt
from gatewayd.agents.acp.wire import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    UPDATE,
    CancelledRequest,
    Malformed,
    PermissionRequest,
    RequestId,
    SessionUpdate,
    read,
)

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_METHOD_MAX: Final = 200


class Replay:
    """Counts the updates with which an agent replays the history of a session that it loads."""

    def __init__(self) -> None:
        self.updates = 0


class Dispatch:
    """Handles the messages of the connection. An update without an open prompt is the history of a session that is being loaded,
    or goes to ``late``, with the agent's session."""

    def __init__(self, connection: Connection, late: Callable[[str, Raw], None], log: "FilteringBoundLogger") -> None:
        self._connection = connection
        self._late = late
        self._log = log
        self._prompts: dict[str, Prompt] = {}
        self._replays: dict[str, Replay] = {}

    @property
    def busy(self) -> bool:
        """Whether any prompt is open."""
        return bool(self._prompts)

    @contextmanager
    def to(self, agent_session: str, prompt: Prompt) -> Iterator[None]:
        """Inside, the session's messages go to this prompt."""
        self._prompts[agent_session] = prompt
        try:
            yield
        finally:
            del self._prompts[agent_session]

    @contextmanager
    def replay(self, agent_session: str) -> Iterator[Replay]:
        """Inside, the updates of the session are counted."""
        replay = self._replays[agent_session] = Replay()
        try:
            yield replay
        finally:
            del self._replays[agent_session]

    async def on_request(self, request_id: RequestId, method: str, params: Raw) -> None:
        if method != "session/request_permission":
            self._connection.answer_error(request_id, METHOD_NOT_FOUND, f"Method not found: {method[:_METHOD_MAX]}")
            return
        try:
            request = read(params, PermissionRequest)
        except Malformed as error:
            self._connection.answer_error(request_id, INVALID_PARAMS, str(error))
            return
        prompt = self._prompts.get(request.session_id)
        if prompt is None or not await prompt.deliver(IncomingPermission(request_id, request)):
            self._connection.answer(request_id, CANCELLED)
            self._log.warning("acp_permission_without_turn", session=request.session_id, tool=request.tool_call.title)

    async def on_notification(self, method: str, params: Raw) -> None:
        try:
            if method == UPDATE:
                await self._on_update(read(params, SessionUpdate))
            elif method == "$/cancel_request":
                cancel = IncomingCancel(read(params, CancelledRequest).request_id)
                for prompt in tuple(self._prompts.values()):
                    await prompt.deliver(cancel)
        except Malformed:
            # A notification has no answer. A malformed one is ignored, as an unknown one is.
            return

    async def _on_update(self, update: SessionUpdate) -> None:
        prompt = self._prompts.get(update.session_id)
        if prompt is not None and await prompt.deliver(update.update):
            return
        if replay := self._replays.get(update.session_id):
            replay.updates += 1
        else:
            self._late(update.session_id, update.update)
