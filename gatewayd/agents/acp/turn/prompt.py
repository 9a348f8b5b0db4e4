"""One prompt, from session/prompt to its response and the grace period: text, tools, permissions, and cancellation."""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio
import anyio.abc
from msgspec import Raw, Struct

from gatewayd.actor.border import sole
from gatewayd.agents.acp.connection import AgentReply, Connection
from gatewayd.agents.acp.turn.grace import GRACE_SECONDS, GracePeriod
from gatewayd.agents.acp.turn.permission import CANCELLED, answer, can_be_allowed, tool_request
from gatewayd.agents.acp.turn.reply_text import LOOP_MESSAGES_MAX, ReplyText
from gatewayd.agents.acp.turn.tool_calls import OpenCalls, call_event, result_event
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
    text_chunk,
)
from gatewayd.model.errors import AgentFailed
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.model.records.dead_letter import excerpt_of
from gatewayd.ports.agent import TextDelta, Turn

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

# Each can be as long as a line.
_WAITING_MAX: Final = 16
_TEXT_MAX: Final = 1_000_000
_PENDING_MAX: Final = 64
_LOOK_AGAIN_SECONDS: Final = 0.005


class IncomingPermission(Struct, frozen=True):
    """The agent asks for a permission."""

    request_id: RequestId
    request: PermissionRequest


class IncomingCancel(Struct, frozen=True):
    """The agent does not want the answer to a request any more."""

    request_id: RequestId


Item = Raw | IncomingPermission | IncomingCancel


class Limits(Struct, frozen=True):
    silence_seconds: float
    cancel_seconds: float


class PromptEnd(Struct, frozen=True):
    """The end of the prompt. ``refused`` is the last decision that did not allow a tool."""

    stop_reason: str
    text: str
    refused: Decision | None


class Prompt:
    """One open prompt. The reader of the connection delivers the session's messages to it, in order.

    ``no_cancel_while_asking``: a cancel while a permission is pending would break the agent (hermes.py); it gets the answers
    only.
    """

    def __init__(
        self,
        turn: Turn,
        session_id: str,
        connection: Connection,
        limits: Limits,
        grace_period: GracePeriod,
        log: "FilteringBoundLogger",
        *,
        no_cancel_while_asking: bool = False,
    ) -> None:
        self._turn = turn
        self._session_id = session_id
        self._connection = connection
        self._limits = limits
        self._grace = grace_period
        self._log = log
        self._no_cancel_while_asking = no_cancel_while_asking
        self._inbox, self._items = anyio.create_memory_object_stream[Item](_WAITING_MAX)
        self._inbox_behind, self._items_behind = anyio.create_memory_object_stream[Item](_WAITING_MAX)
        self._pending: dict[RequestId, anyio.CancelScope] = {}
        self._calls = OpenCalls()
        self._reply_text = ReplyText()
        self._refused: Decision | None = None
        self._heard_at = 0.0
        self._reply: AgentReply | None = None
        self.acted = False
        """Whether the agent has used a tool, or asked for permission."""
        self.still_runs = False
        """Whether it was cancelled after a silence, and has not ended."""

    @property
    def sent(self) -> bool:
        """Whether the agent has the prompt, or may have it."""
        return self._reply is not None and self._reply.sent

    @property
    def text_before_cut(self) -> str:
        """The text of a prompt that did not end properly, if no tool call came after it: a text before a tool call mostly
        announces that call."""
        is_runaway = self._reply_text.length > _TEXT_MAX or self._reply_text.is_looping
        return self._reply_text.finish() if self._reply_text.ends_in_text and not is_runaway else ""

    async def deliver(self, item: Item) -> bool:
        """Called by the connection's reader. False: the prompt is over."""
        for inbox in (self._inbox, self._inbox_behind):
            try:
                await inbox.send(item)
            except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                continue
            return True
        return False

    async def run(self) -> PromptEnd:
        """Send the turn's prompt and follow it to its end. A cancellation or an error cancels the prompt. If the agent does not
        stop in time: after a silence ``still_runs`` is set, else the connection is ended.

        :raises AgentFailed: the agent was silent for too long, or talks without end.
        :raises RequestFailed: the agent failed. :raises ConnectionLost: it is gone. :raises Malformed: its response is malformed.
        """
        params = {"sessionId": self._session_id, "prompt": [{"type": "text", "text": self._turn.request.prompt}]}
        began_at = anyio.current_time()
        reply = self._reply = self._connection.ask("session/prompt", params, on_done=self._inbox.close)
        try:
            await self._follow()
            await self._collect_tail(self._grace.seconds_after(anyio.current_time() - began_at))
        finally:
            with anyio.CancelScope(shield=True):
                if not reply.done:
                    await self._stop()
            self._cancel_pending()
            for stream in (self._inbox, self._items, self._inbox_behind, self._items_behind):
                stream.close()
        result = read(await reply.wait(), PromptResult)
        return PromptEnd(result.stop_reason, self._reply_text.finish(), self._refused)

    async def _follow(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                self._heard_at = anyio.current_time()
                while (item := await self._next()) is not None:
                    self._heard_at = anyio.current_time()
                    await self._take(item, group)
                # The agent has ended without the answers to its pending requests.
                group.cancel_scope.cancel()
        except ExceptionGroup as error:
            raise sole(error) from error
        self._cancel_pending()

    async def _next(self) -> Item | None:
        while True:
            with anyio.CancelScope(deadline=self._heard_at + self._limits.silence_seconds):
                return await self._receive()
            if self._pending:
                self._heard_at = anyio.current_time()
            elif anyio.current_time() >= self._heard_at + self._limits.silence_seconds:
                self.still_runs = True
                raise AgentFailed(f"the agent said nothing for {self._limits.silence_seconds:g} s, so it was stopped")

    async def _receive(self) -> Item | None:
        try:
            return await self._items.receive()
        except anyio.EndOfStream:
            return None

    async def _collect_tail(self, grace: float) -> None:
        """The agent has responded. Some agents still send text then, which belongs to the reply."""
        had_tail, heard_at = False, anyio.current_time()
        while (item := await self._next_tail(heard_at, grace)) is not None:
            if isinstance(item, IncomingPermission):
                self._reject(item)
            elif not isinstance(item, IncomingCancel) and await self._update(item):
                had_tail, heard_at = True, anyio.current_time()
        self._grace.note_end(had_tail=had_tail)

    async def _next_tail(self, heard_at: float, grace: float) -> Item | None:
        """The next item of the grace period. None after ``grace`` seconds of silence, if the pipe is empty and no message is
        incomplete."""
        until = heard_at + grace
        while self._connection.lost is None:
            with anyio.CancelScope(deadline=until):
                return await self._items_behind.receive()
            is_drained, newest = await self._connection.is_drained(), self._connection.mid_message_since
            if (is_drained and newest == -math.inf) or anyio.current_time() >= max(heard_at, newest) + GRACE_SECONDS:
                break
            until = anyio.current_time() + _LOOK_AGAIN_SECONDS
        try:
            return self._items_behind.receive_nowait()
        except anyio.WouldBlock:
            return None

    async def _stop(self) -> None:
        """Cancel as the protocol says: every open request is answered with cancelled, then the response to the prompt comes. The
        text until then is only logged: nobody waits for the turn any more."""
        was_asking = self._cancel_pending()
        if not (was_asking and self._no_cancel_while_asking):
            self._connection.notify("session/cancel", {"sessionId": self._session_id})
        unsaid = ReplyText()
        with anyio.move_on_after(self._limits.cancel_seconds) as scope:
            while (item := await self._receive()) is not None:
                self._discard(item, unsaid)
        if not scope.cancelled_caught:
            self.still_runs = False
            heard_at = anyio.current_time()
            while (item := await self._next_tail(heard_at, GRACE_SECONDS)) is not None:
                self._discard(item, unsaid)
        elif not self.still_runs:
            self._connection.lose(f"did not stop within {self._limits.cancel_seconds:g} s of being told to")
        if words := unsaid.finish():
            self._log.info("acp_text_after_stop", session=self._session_id, text=excerpt_of(words))

    def _discard(self, item: Item, unsaid: ReplyText) -> None:
        if isinstance(item, IncomingPermission):
            self._connection.answer(item.request_id, CANCELLED)
        elif not isinstance(item, IncomingCancel):
            with suppress(Malformed):
                if (chunk := text_chunk(item)) is not None:
                    unsaid.add(chunk)

    def _reject(self, asked: IncomingPermission) -> None:
        self._connection.answer(asked.request_id, CANCELLED)
        self._log.warning("acp_permission_without_turn", session=self._session_id, tool=asked.request.tool_call.title)

    def _cancel_pending(self) -> bool:
        pending, self._pending = self._pending, {}
        for request_id in pending:
            self._connection.answer(request_id, CANCELLED)
        return bool(pending)

    async def _take(self, item: Item, group: anyio.abc.TaskGroup) -> None:
        match item:
            case IncomingPermission():
                self._accept(item, group)
            case IncomingCancel(request_id):
                if (scope := self._pending.pop(request_id, None)) is not None:
                    # The approval is withdrawn at the end of the turn only: earlier would need an id that is unique for ever.
                    scope.cancel()
                    self._connection.answer_error(request_id, REQUEST_CANCELLED, "Request cancelled")
            case _:
                await self._update(item)

    def _accept(self, asked: IncomingPermission, group: anyio.abc.TaskGroup) -> None:
        self.acted = True
        self._reply_text.use_tool()
        if asked.request_id in self._pending or len(self._pending) >= _PENDING_MAX:
            self._connection.answer_error(asked.request_id, INVALID_PARAMS, "the id is in use, or too many requests are open")
            return
        scope = self._pending[asked.request_id] = anyio.CancelScope()
        group.start_soon(self._decide, asked, scope)

    async def _decide(self, asked: IncomingPermission, scope: anyio.CancelScope) -> None:
        try:
            wanted = tool_request(self._calls.merged(asked.request.tool_call))
        except Malformed as error:
            self._pending.pop(asked.request_id, None)
            self._connection.answer_error(asked.request_id, INVALID_PARAMS, str(error))
            return
        with scope:
            decision = await self._ask(wanted, asked.request.options)
            self._heard_at = anyio.current_time()
            # Only who removes the request answers it. It may be gone by now, and another one may have its id.
            if self._pending.get(asked.request_id) is scope:
                del self._pending[asked.request_id]
                self._refused = None if decision.allowed else decision
                self._connection.answer(asked.request_id, answer(decision, asked.request.options))

    async def _ask(self, wanted: ToolRequest, options: Sequence[PermissionOption]) -> Decision:
        if can_be_allowed(options):
            return await self._turn.permission(wanted)
        self._log.warning("acp_permission_not_grantable", tool=wanted.tool, kinds=[option.kind for option in options])
        return Decision("undeliverable", note="the agent does not offer to run it once")

    async def _update(self, raw: Raw) -> bool:
        """Show an update. Returns whether it is text."""
        try:
            if (chunk := text_chunk(raw)) is not None:
                await self._add_text(chunk)
                return True
            if read(raw, UpdateKind).session_update in ("tool_call", "tool_call_update"):
                await self._show_call(read(raw, ToolCallFields))
        except Malformed as error:
            self._log.warning("acp_update_ignored", reason=str(error))
        return False

    async def _add_text(self, chunk: MessageChunk) -> None:
        text = self._reply_text.add(chunk)
        if self._reply_text.length > _TEXT_MAX:
            raise AgentFailed(f"the reply is longer than {_TEXT_MAX} characters")
        if self._reply_text.is_looping:
            raise AgentFailed(f"the agent wrote {LOOP_MESSAGES_MAX} messages without using a tool: it loops")
        if text:
            await self._turn.emit(TextDelta(text))

    async def _show_call(self, update: ToolCallFields) -> None:
        self.acted = True
        self._reply_text.use_tool()
        call, begins = self._calls.update(update)
        if begins:
            await self._turn.emit(call_event(call))
        if update.status in ("completed", "failed"):
            await self._turn.emit(result_event(call))
