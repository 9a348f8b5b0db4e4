"""One request and its answer, read in a task of its own: an answer that counts as ended may still go on.

[DONE] and the end of the body end an answer at once, as the protocol says. A finish_reason alone ends it after
``SILENCE_SECONDS`` without more text, because some servers send one in every chunk. Text that still comes then is late text: a
message of its own.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Final

import anyio
import httpx2
from msgspec import Struct

from gatewayd.agents.chat_completions.answer import ModelAnswer
from gatewayd.agents.chat_completions.errors import error_of_status
from gatewayd.agents.chat_completions.wire import WHAT
from gatewayd.kit.body import Body, CannotUnpack
from gatewayd.kit.http import AnswerTooLarge, open_stream, read_body, retry_after_seconds
from gatewayd.model.errors import AgentFailed, OutcomeUnknown, TryAgain
from gatewayd.ports import agent as port

SILENCE_SECONDS: Final = 1.0
_AFTER_DONE_SECONDS: Final = 2.0
"""So long the stream may take to end after [DONE], so that its connection can be used again."""
_LATE_SECONDS: Final = 60.0
"""So long, at most, a stream that has not ended is read on after its last text."""
_LATE_SILENCE_SECONDS: Final = 5.0
"""So much silence ends a late message. It is more than the pauses of a slow model: else every word would be a message."""
_BEHIND_REPLY_SECONDS: Final = 0.5
"""The reply has to be committed before the late text."""
_SAY_SECONDS: Final = 5.0
_REFUSAL_BYTES: Final = 65_536

BROKEN_OFF: Final = "*(The answer breaks off here.)*"


class CompletionRequest(Struct, frozen=True):
    """A request. ``repeatable``: to send it twice does no harm."""

    url: str
    headers: Mapping[str, str]
    content: bytes
    repeatable: bool
    first_token_seconds: float
    between_tokens_seconds: float


class AnswerReader:
    """``run`` is a task of its own; the turn calls ``wait``. ``show`` gets the pieces of the reply up to its end."""

    def __init__(
        self, request: CompletionRequest, *, show: Callable[[str], Awaitable[None]], say_late: Callable[[str], Awaitable[None]]
    ) -> None:
        self._request = request
        self._show = show
        self._say_late = say_late
        self._answer = ModelAnswer(repeatable=request.repeatable)
        self._scope = anyio.CancelScope()
        self._over = anyio.Event()
        self._silence = anyio.CancelScope()
        self._error: Exception | None = None
        self._believed = False
        self._believed_at = 0.0
        self._late: list[str] = []
        self._closed = anyio.Event()

    async def wait(self) -> port.Final:
        """The reply, as soon as the answer counts as ended. It is cut, if there is text and the end does not come.

        :raises TryAgain: the server cannot be reached or breaks off, and a retry does no harm: nothing was shown.
        :raises AgentFailed, NeedsOperator: the server refuses, or sends no answer.
        """
        with self._silence:
            await self._over.wait()
        self._believed, self._believed_at = True, anyio.current_time()
        try:
            if self._error is not None:
                self._raise(self._error)
            return port.Final(self._answer.text())
        except AgentFailed as error:
            if not (text := self._answer.text_before_cut):
                raise
            return port.Final(text, cut=error.reason)

    @property
    def stream_is_open(self) -> bool:
        """Whether late text may still come."""
        return not self._closed.is_set() and not self._answer.ended

    async def listen_on(self) -> None:
        """After ``wait``, a task of its own: sends late text at each silence. ``run`` sends the rest at the end."""
        while self.stream_is_open:
            silent_at = anyio.current_time() + _LATE_SILENCE_SECONDS if self._late else math.inf
            with anyio.CancelScope(deadline=silent_at) as self._silence:
                await self._closed.wait()
            if self.stream_is_open:
                await self._tell_late(is_whole=True)

    def give_up(self) -> None:
        """Neither the answer nor late text is wanted: close the connection, and the server stops generating."""
        self._late.clear()
        self._believed = False
        self._scope.cancel()

    def stop_listening(self) -> None:
        """End the late text here."""
        self._scope.cancel()

    async def run(self, http: httpx2.AsyncClient) -> None:
        """Never raises but for cancellation."""
        is_whole = True
        try:
            with self._scope:
                await self._read(http)
        except Exception as error:
            is_whole = False
            self._error = error
        finally:
            self._over.set()
            self._closed.set()
            await self._tell_late(is_whole=is_whole)

    async def _read(self, http: httpx2.AsyncClient) -> None:
        request = self._request
        with anyio.move_on_after(request.first_token_seconds) as patience:
            async with open_stream(
                http,
                "POST",
                request.url,
                what=WHAT,
                repeatable=request.repeatable,
                content=request.content,
                headers=request.headers,
            ) as response:
                await self._check(response)
                self._answer = ModelAnswer(response.headers.get("content-type", ""), repeatable=request.repeatable)
                try:
                    await self._read_body(response, patience)
                except CannotUnpack as error:
                    raise AgentFailed(f"{WHAT}: {error}") from None
        if patience.cancelled_caught and not self._believed and not self._answer.whole_if_cut:
            reason = f"{WHAT} fell silent"
            raise TryAgain(reason) if request.repeatable else OutcomeUnknown(reason)

    async def _check(self, response: httpx2.Response) -> None:
        if response.status_code != 200:
            body = b""
            with suppress(AnswerTooLarge, httpx2.RequestError):  # the status says enough
                body = await read_body(response, what=WHAT, at_most_bytes=_REFUSAL_BYTES)
            after = retry_after_seconds(response)
            raise error_of_status(response.status_code, body, after_seconds=after, repeatable=self._request.repeatable)

    async def _read_body(self, response: httpx2.Response, patience: anyio.CancelScope) -> None:
        answer = self._answer
        async with aclosing(Body(response)) as body:
            async for data in body:
                steps, said, had_finish_reason = answer.steps, answer.said, answer.has_finish_reason
                if piece := answer.feed(data):
                    await self._take(piece)
                if answer.ended:
                    self._over.set()
                    patience.deadline = min(patience.deadline, anyio.current_time() + _AFTER_DONE_SECONDS)
                elif answer.said > said or (answer.begun and not had_finish_reason and answer.steps > steps):
                    self._heard(patience)
                elif answer.has_finish_reason and answer.pending:
                    self._silence.deadline = anyio.current_time() + SILENCE_SECONDS
        if not self._over.is_set() and (piece := answer.close()):
            await self._take(piece)

    async def _take(self, piece: str) -> None:
        if self._believed:
            self._late.append(piece)
        else:
            await self._show(piece)

    def _heard(self, patience: anyio.CancelScope) -> None:
        """New text came, or before a finish_reason any event: the time limits begin again."""
        now, patient = anyio.current_time(), self._request.between_tokens_seconds
        if self._answer.has_finish_reason:
            patient = min(patient, _LATE_SECONDS)
            self._silence.deadline = now + (_LATE_SILENCE_SECONDS if self._believed else SILENCE_SECONDS)
        patience.deadline = now + patient

    def _raise(self, error: Exception) -> None:
        broke = isinstance(error, TryAgain | OutcomeUnknown)
        if broke and self._answer.whole_if_cut:
            return
        if broke and self._answer.begun:
            raise AgentFailed(f"{error}, in the middle of the answer")
        raise AgentFailed(str(error)) if isinstance(error, OutcomeUnknown) else error

    async def _tell_late(self, *, is_whole: bool) -> None:
        text, self._late = "".join(self._late).strip(), []
        if not text:
            return
        with anyio.move_on_after(_SAY_SECONDS, shield=True):
            await anyio.sleep_until(self._believed_at + _BEHIND_REPLY_SECONDS)
            await self._say_late(text if is_whole else f"{text}\n\n{BROKEN_OFF}")
