"""One prompt, from session/prompt to its answer: text and tool calls on the way, permissions, and how it is stopped."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import anyio
import anyio.abc
from msgspec import Raw, Struct

from gatewayd.actor.border import sole
from gatewayd.agents.acp.connection import Connection, Reply
from gatewayd.agents.acp.permission import CANCELLED, answer, can_be_allowed, tool_request
from gatewayd.agents.acp.toolcalls import OpenCalls, call_event, result_event
from gatewayd.agents.acp.wire import (
    INVALID_PARAMS,
    REQUEST_CANCELLED,
    Malformed,
    MessageChunk,
    PermissionOption,
    PermissionRequest,
    PromptResult,
    RequestId,
    ToolCallFields,
    UpdateKind,
    read,
)
from gatewayd.model.approval import Decision, ToolRequest
from gatewayd.model.errors import AgentFailed
from gatewayd.ports.agent import TextDelta, Turn

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

# Each can be as long as a line.
_WAITING_MAX: Final = 16
_TEXT_MAX: Final = 1_000_000
_PENDING_MAX: Final = 64
# OpenCode 1.18 asks the model again, for ever, when its answer was cut before the end.
_MESSAGES_MAX: Final = 20


class Asked(Struct, frozen=True):
    """The agent asks for a permission."""

    request_id: RequestId
    request: PermissionRequest


class TakenBack(Struct, frozen=True):
    """The agent no longer wants the answer to a request."""

    request_id: RequestId


class Limits(Struct, frozen=True):
    silence_seconds: float
    cancel_seconds: float


class PromptEnd(Struct, frozen=True):
    """How the agent says that it ended. ``refused`` is the last permission that was not given."""

    stop_reason: str
    text: str
    refused: Decision | None


class Prompt:
    """One open prompt. The reader of the connection delivers to it what is for its session, in order.

    ``no_cancel_while_asking``: a cancel while a permission is open would break the agent (hermes.py); it gets the answers only.
    """

    def __init__(
        self,
        turn: Turn,
        session_id: str,
        connection: Connection,
        limits: Limits,
        log: "FilteringBoundLogger",
        *,
        no_cancel_while_asking: bool = False,
    ) -> None:
        self._turn = turn
        self._session_id = session_id
        self._connection = connection
        self._limits = limits
        self._log = log
        self._no_cancel_while_asking = no_cancel_while_asking
        self._inbox, self._items = anyio.create_memory_object_stream[Raw | Asked | TakenBack](_WAITING_MAX)
        self._pending: dict[RequestId, anyio.CancelScope] = {}
        self._calls = OpenCalls()
        self._text: list[str] = []
        self._length = 0
        self._message_id: str | None = None
        self._apart = False
        self._messages = 0
        self._refused: Decision | None = None
        self._heard_at = 0.0
        self._reply: Reply | None = None
        self.acted = False
        """Whether the agent has used a tool, or asked to."""

    @property
    def sent(self) -> bool:
        """Whether the agent has the prompt, or may have it."""
        return self._reply is not None and self._reply.sent

    async def deliver(self, item: Raw | Asked | TakenBack) -> None:
        """Called by the reader. An update that comes when the prompt is over is dropped."""
        try:
            await self._inbox.send(item)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            if isinstance(item, Asked):
                self._connection.answer(item.request_id, CANCELLED)

    async def run(self) -> PromptEnd:
        """Send the turn's prompt and follow it to its end. Cancelled, or failing, it stops the agent, and if that does not
        stop in time it ends the connection.

        :raises AgentFailed: the agent was silent for too long, or talks without end.
        :raises RequestRefused: the agent failed. :raises ConnectionLost: it is gone.
        """
        params = {"sessionId": self._session_id, "prompt": [{"type": "text", "text": self._turn.request.prompt}]}
        reply = self._reply = self._connection.ask("session/prompt", params, on_done=self._inbox.close)
        try:
            await self._follow()
        finally:
            with anyio.CancelScope(shield=True):
                if reply.done:
                    self._answer_open()
                else:
                    await self._stop()
            self._items.close()
        result = read(await reply.wait(), PromptResult)
        return PromptEnd(result.stop_reason, "".join(self._text).strip(), self._refused)

    async def _follow(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                self._heard_at = anyio.current_time()
                while (item := await self._next()) is not None:
                    self._heard_at = anyio.current_time()
                    await self._take(item, group)
                # What the agent still asked for, it has gone on without.
                group.cancel_scope.cancel()
        except ExceptionGroup as error:
            raise sole(error) from error

    async def _next(self) -> Raw | Asked | TakenBack | None:
        while True:
            with anyio.CancelScope(deadline=self._heard_at + self._limits.silence_seconds):
                return await self._receive()
            if self._pending:
                self._heard_at = anyio.current_time()
            elif anyio.current_time() >= self._heard_at + self._limits.silence_seconds:
                raise AgentFailed(f"the agent said nothing for {self._limits.silence_seconds:g} s, so it was stopped")

    async def _receive(self) -> Raw | Asked | TakenBack | None:
        try:
            return await self._items.receive()
        except anyio.EndOfStream:
            return None

    async def _stop(self) -> None:
        """The protocol's way: every open request is answered with cancelled, then the prompt ends with its answer."""
        was_asking = self._answer_open()
        if not (was_asking and self._no_cancel_while_asking):
            self._connection.tell("session/cancel", {"sessionId": self._session_id})
        with anyio.move_on_after(self._limits.cancel_seconds) as scope:
            while (item := await self._receive()) is not None:
                if isinstance(item, Asked):
                    self._connection.answer(item.request_id, CANCELLED)
        if scope.cancelled_caught:
            self._connection.lose(f"did not stop within {self._limits.cancel_seconds:g} s of being told to")

    def _answer_open(self) -> bool:
        pending, self._pending = self._pending, {}
        for request_id in pending:
            self._connection.answer(request_id, CANCELLED)
        return bool(pending)

    async def _take(self, item: Raw | Asked | TakenBack, group: anyio.abc.TaskGroup) -> None:
        match item:
            case Asked():
                self._admit(item, group)
            case TakenBack(request_id):
                if (scope := self._pending.pop(request_id, None)) is not None:
                    # It is not withdrawn before the turn ends: that would need an id that is unique for ever.
                    scope.cancel()
                    self._connection.refuse(request_id, REQUEST_CANCELLED, "Request cancelled")
            case _:
                await self._update(item)

    def _admit(self, asked: Asked, group: anyio.abc.TaskGroup) -> None:
        self.acted = True
        if asked.request_id in self._pending or len(self._pending) >= _PENDING_MAX:
            self._connection.refuse(asked.request_id, INVALID_PARAMS, "the id is in use, or too many requests are open")
            return
        scope = self._pending[asked.request_id] = anyio.CancelScope()
        group.start_soon(self._decide, asked, scope)

    async def _decide(self, asked: Asked, scope: anyio.CancelScope) -> None:
        try:
            wanted = tool_request(self._calls.merged(asked.request.tool_call))
        except Malformed as error:
            self._pending.pop(asked.request_id, None)
            self._connection.refuse(asked.request_id, INVALID_PARAMS, str(error))
            return
        with scope:
            decision = await self._ask(wanted, asked.request.options)
            self._heard_at = anyio.current_time()
            # Whoever takes the request out answers it. It may be gone meanwhile, and another one have its id.
            if self._pending.get(asked.request_id) is scope:
                del self._pending[asked.request_id]
                self._refused = None if decision.allowed else decision
                self._connection.answer(asked.request_id, answer(decision, asked.request.options))

    async def _ask(self, wanted: ToolRequest, options: Sequence[PermissionOption]) -> Decision:
        if can_be_allowed(options):
            return await self._turn.permission(wanted)
        self._log.warning("acp_permission_cannot_be_given", tool=wanted.tool, kinds=[option.kind for option in options])
        return Decision("undeliverable", note="the agent does not offer to run it once")

    async def _update(self, raw: Raw) -> None:
        try:
            match read(raw, UpdateKind).session_update:
                case "agent_message_chunk":
                    await self._add_text(read(raw, MessageChunk))
                case "tool_call" | "tool_call_update":
                    await self._show_call(read(raw, ToolCallFields))
        except Malformed as error:
            self._log.warning("acp_update_ignored", reason=str(error))

    async def _add_text(self, chunk: MessageChunk) -> None:
        if chunk.content.type != "text" or not chunk.content.text:
            return
        text = chunk.content.text
        # What it says before and after a tool, or in two messages, are two paragraphs.
        if self._apart or chunk.message_id != self._message_id:
            text = f"\n\n{text}" if self._text else text
            self._messages += 1
        if self._messages > _MESSAGES_MAX:
            raise AgentFailed(f"the agent wrote {_MESSAGES_MAX} messages without using a tool: it goes round in circles")
        self._message_id, self._apart = chunk.message_id, False
        self._length += len(text)
        if self._length > _TEXT_MAX:
            raise AgentFailed(f"the reply is longer than {_TEXT_MAX} characters")
        self._text.append(text)
        await self._turn.emit(TextDelta(text))

    async def _show_call(self, update: ToolCallFields) -> None:
        self.acted = self._apart = True
        self._messages = 0
        call, begins = self._calls.update(update)
        if begins:
            await self._turn.emit(call_event(call))
        if update.status in ("completed", "failed"):
            await self._turn.emit(result_event(call))
