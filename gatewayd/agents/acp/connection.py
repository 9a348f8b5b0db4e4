"""JSON-RPC 2.0 over two byte streams, one object per line, requests in both directions (ids of the two are independent).

All lines go through a bounded queue and one writer. So a cancelled caller leaves no half line behind, lines are in the order of
the calls, and the reader never waits for an agent that does not read.
"""

import math
from collections.abc import Callable
from typing import Final, Protocol

import anyio
import anyio.abc
from msgspec import UNSET, Raw

from gatewayd.agents.acp.framing import LINE_MAX, messages_in
from gatewayd.agents.acp.wire import (
    INVALID_REQUEST,
    OURS,
    Message,
    RequestId,
    RpcError,
    error_text,
    given,
    read_error,
    write,
)
from gatewayd.kit.network.lines import Lines, LineTooLong

_CHUNK: Final = 65_536
_UNWRITTEN_MAX: Final = 256
_UNWRITTEN_BYTES_MAX: Final = 32 * 1024 * 1024
_ID_MAX: Final = 200
_WRITE_SECONDS: Final = 30.0
_NOISE_MAX: Final = 4000
_ROUNDS: Final = 3


class RequestFailed(Exception):
    """The agent answered a request with an error."""

    def __init__(self, method: str, error: RpcError) -> None:
        super().__init__(f"{method}: {error_text(error)}")
        self.code = error.code
        self.message = error.message


class ConnectionLost(Exception):
    """The connection is over, and with it every request. The text is the reason, as the end of a sentence: "the agent …"."""


class AgentReply:
    """The future answer to a request of ours. ``sent``: the agent has the whole request, or may have it."""

    def __init__(self, method: str, on_done: Callable[[], None]) -> None:
        self.method = method
        self.sent = False
        self._on_done = on_done
        self._done = anyio.Event()
        self._outcome: Raw | Exception = Raw()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def settle(self, outcome: Raw | Exception) -> None:
        self._outcome = outcome
        self._done.set()
        self._on_done()

    async def wait(self) -> Raw:
        """Wait for the result. Cancelling ends only the waiting. :raises RequestFailed: :raises ConnectionLost:"""
        await self._done.wait()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class MessageHandler(Protocol):
    """Handles the agent's messages. The reader calls both, one after the other: they must not wait for long."""

    async def on_request(self, request_id: RequestId, method: str, params: Raw) -> None: ...

    async def on_notification(self, method: str, params: Raw) -> None: ...


class Connection:
    """One connection to one agent. ``note`` gets the lines of its standard output that are no messages."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._pending: dict[int, AgentReply] = {}
        self._last_id = 0
        self._send, self._unwritten = anyio.create_memory_object_stream[tuple[bytes, AgentReply | None]](_UNWRITTEN_MAX)
        self._unwritten_bytes = 0
        self._lost: str | None = None
        self._lost_event = anyio.Event()
        self._scope = anyio.CancelScope()
        self._is_receiving = False
        self._received = 0
        self._lines = Lines(LINE_MAX)
        self._received_at = -math.inf

    async def run(self, stdin: anyio.abc.ByteSendStream, stdout: anyio.abc.ByteReceiveStream, handler: MessageHandler) -> None:
        """Carry messages until the connection is lost. Closes nothing: the streams are the caller's."""
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._write, stdin)
                    await self._read(stdout, handler)
                    group.cancel_scope.cancel()
        finally:
            self.lose("was closed by gatewayd")
            self._unwritten.close()

    @property
    def lost(self) -> str | None:
        return self._lost

    async def wait_lost(self) -> str:
        """Wait for the end of the connection. Returns the reason."""
        await self._lost_event.wait()
        assert self._lost is not None
        return self._lost

    def lose(self, why: str) -> None:
        """End the connection: every open request fails. Only the first reason counts."""
        if self._lost is not None:
            return
        self._lost = why
        self._lost_event.set()
        pending, self._pending = self._pending, {}
        for reply in pending.values():
            reply.settle(ConnectionLost(why))
        self._scope.cancel()
        self._send.close()

    @property
    def mid_message_since(self) -> float:
        """When the newest bytes of an incomplete message came; -inf if there is no such message."""
        return self._received_at if b"{" in self._lines.rest() else -math.inf

    async def is_drained(self) -> bool:
        """Whether all bytes that the agent had written when this was called are read and handled, as far as can be seen."""
        received = self._received
        # Readable bytes wake the reader in the next round of the event loop; it needs one more to read, and one to dispatch.
        for _ in range(_ROUNDS):
            await anyio.lowlevel.checkpoint()
        return self._lost is not None or (self._is_receiving and self._received == received)

    def ask(self, method: str, params: object, *, on_done: Callable[[], None] = lambda: None) -> AgentReply:
        """Send a request. ``on_done`` is called once, synchronously, after everything that the agent sent before its answer."""
        reply = AgentReply(method, on_done)
        if self._lost is not None:
            reply.settle(ConnectionLost(self._lost))
            return reply
        self._last_id += 1
        self._pending[self._last_id] = reply
        self._post(write(id=self._last_id, method=method, params=params), reply)
        return reply

    def notify(self, method: str, params: object) -> None:
        """Send a notification."""
        self._post(write(method=method, params=params))

    def answer(self, request_id: RequestId, result: object) -> None:
        """Answer a request of the agent."""
        self._post(write(id=request_id, result=result))

    def answer_error(self, request_id: RequestId, code: int, message: str) -> None:
        """Answer a request of the agent with an error."""
        self._post(write(id=request_id, error={"code": code, "message": message}))

    def _post(self, line: bytes, reply: AgentReply | None = None) -> None:
        if self._lost is not None:
            return
        self._unwritten_bytes += len(line)
        try:
            self._send.send_nowait((line, reply))
        except anyio.WouldBlock:
            self.lose("does not read its input")
        if self._unwritten_bytes > _UNWRITTEN_BYTES_MAX:
            self.lose("does not read its input")

    async def _write(self, stdin: anyio.abc.ByteSendStream) -> None:
        async for line, reply in self._unwritten:
            try:
                with anyio.fail_after(_WRITE_SECONDS):
                    await stdin.send(line)
            except TimeoutError:
                self.lose("does not read its input")
                return
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                # Its output says more about the reason, and is still to be read.
                return
            self._unwritten_bytes -= len(line)
            if reply is not None:
                reply.sent = True

    async def _read(self, stdout: anyio.abc.ByteReceiveStream, handler: MessageHandler) -> None:
        while True:
            try:
                found = self._lines.feed(await self._receive(stdout))
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                break
            for line in found:
                if isinstance(line, LineTooLong):
                    self.lose(f"sent a line of more than {LINE_MAX // 1024 // 1024} MiB")
                    return
                await self._take(line, handler)
        await self._take(self._lines.rest(), handler)
        self.lose("closed its output")

    async def _receive(self, stdout: anyio.abc.ByteReceiveStream) -> bytes:
        self._is_receiving = True
        try:
            return await stdout.receive(_CHUNK)
        finally:
            self._is_receiving = False
            self._received += 1
            self._received_at = anyio.current_time()

    async def _take(self, line: bytes, handler: MessageHandler) -> None:
        messages = tuple(messages_in(line))
        for message in messages:
            if isinstance(message, bytes):
                self._note(f"stdout: {message[:_NOISE_MAX].decode(errors='replace')}")
            elif message.method in OURS and len(messages) > 1:
                # The agent logs its own input: this is no message of the agent, and gets no answer.
                self._note(f"stdout: its own input, {message.method}")
            else:
                await self._handle(message, handler)

    async def _handle(self, message: Message, handler: MessageHandler) -> None:
        if message.method is UNSET:
            self._settle(message)
        elif message.id is UNSET:
            await handler.on_notification(message.method, message.params)
        elif isinstance(message.id, str) and len(message.id) > _ID_MAX:
            # An answer would repeat the id. For an id that cannot be given, JSON-RPC has null (section 5).
            why = f"the id of a request is longer than {_ID_MAX} characters"
            self._note(f"stdout: {why}: {message.method[:_NOISE_MAX]}")
            self.answer_error(None, INVALID_REQUEST, why)
        else:
            await handler.on_request(message.id, message.method, message.params)

    def _settle(self, message: Message) -> None:
        number = message.answers
        reply = None if number is None else self._pending.pop(number, None)
        if reply is None:
            self._note(f"stdout: an answer to request {str(message.id)[:_NOISE_MAX]}, which was never sent")
        elif given(message.error):
            reply.settle(RequestFailed(reply.method, read_error(message.error)))
        else:
            reply.settle(message.result)
