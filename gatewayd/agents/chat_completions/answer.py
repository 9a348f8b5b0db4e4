"""Parses an answer, whole or in part, from the bytes of its response. Pure.

Servers differ from the reference. Some end without [DONE], some without finish_reason, some send a finish_reason in every chunk,
some end the stream without the last blank line. Some do not stream although they were asked to, and many send a stream with
another content type. Hermes mixes in events of its own.
"""

import re
from codecs import BOM_UTF8
from typing import Final

from gatewayd.agents.chat_completions.errors import error_in_answer
from gatewayd.agents.chat_completions.wire import WHAT, Choice, Chunk, Delta, one_line, read_chunk, text_of, words_in, words_of
from gatewayd.kit.json import Joiner, Malformed, decode
from gatewayd.kit.sse import EventParser, EventTooLarge, ServerSentEvent
from gatewayd.model.errors import AgentFailed

REPLY_MAX: Final = 1_000_000
"""Characters of a reply, the hub's own limit."""
EVENT_BYTES: Final = 1024 * 1024
"""Of one event: a piece of a reply."""
WHOLE_BYTES: Final = 8 * 1024 * 1024
"""Of an answer that is not streamed."""

CUT_OFF: Final = "*(The answer ends here because it reached its length limit.)*"

_DONE = "[DONE]"
_LENGTH = ("length", "max_tokens", "model_context_window_exceeded")
_NO_REPLY = {
    "tool_calls": "wants to call a tool, but this core has none: use a core with tools, or a model that does not ask for them",
    "function_call": "wants to call a function, but this core has none",
    "content_filter": "stopped at the provider's content filter",
    "error": "ended with an error",
    "abort": "was aborted by its server",
}
_TEXT_IS_NO_ANSWER = frozenset(_NO_REPLY) - {"abort"}
"""With these, the text before is an announcement of a tool call, is withheld, or is the error."""
# A byte order mark and white space may stand before either.
_LEAD = re.compile(rb"(?:\xef\xbb\xbf|[ \t\r\n])*")
_STREAM_LINES = (b"data:", b"event:", b"id:", b"retry:", b":")
_LONGEST_LINE_NAME = max(map(len, _STREAM_LINES))


class ModelAnswer:
    """Call ``feed`` with the body, ``close`` at its end, and ``text``; or ``text`` alone, if the answer counts as ended before.

    ``begun``: there is text or reasoning. ``steps`` counts the events, ``said`` those with text or reasoning.

    How far it is, from the weakest sign to the strongest: ``has_finish_reason``: text may still follow. ``whole_if_cut``: the
    answer counts as whole if the connection breaks now. ``ended``: [DONE] has come, or the whole of an answer that is not
    streamed: everything after it is ignored.

    ``feed`` and ``close`` raise AgentFailed: it is an error, no answer at all, or too long; and the errors of
    ``error_in_answer``.
    """

    def __init__(self, content_type: str = "text/event-stream", *, repeatable: bool = True) -> None:
        self._kind = content_type.partition(";")[0].strip().lower()
        self._repeatable = repeatable
        self.begun = False
        self.ended = False
        self.steps = 0
        self.said = 0
        self._lead = b""
        self._events: EventParser | None = None
        self._whole: bytearray | None = None
        self._joiner = Joiner()
        self._pieces: list[str] = []
        self._size = 0
        self._finish: str | None = None
        self._meaningless = False

    @property
    def has_finish_reason(self) -> bool:
        """A finish_reason has come, and some text: the answer is whole if nothing else comes."""
        return self._finish is not None and self._size > 0

    @property
    def pending(self) -> bool:
        """Whether an event is incomplete."""
        return self._events is not None and self._events.pending

    @property
    def whole_if_cut(self) -> bool:
        """The answer is whole if its connection breaks now: it has ended, or a finish_reason has come, and not one that stands
        in every chunk."""
        return self.ended or (self._finish is not None and not self._meaningless)

    @property
    def text_before_cut(self) -> str:
        """The text of an answer whose end is missing. Empty, where that text is no answer."""
        text = "".join(self._pieces)
        return text if text.strip() and self._size <= REPLY_MAX and self._finish not in _TEXT_IS_NO_ANSWER else ""

    def feed(self, data: bytes) -> str:
        """Take the next bytes of the body. Returns the new piece of the reply, perhaps ""."""
        try:
            if self._whole is not None:
                self._collect(data)
            elif self._events is not None:
                return "".join([self._take(event) for event in self._events.feed(data)])
            else:
                return self._begin(self._lead + data)
        except EventTooLarge as error:
            raise AgentFailed(f"{WHAT}: {error.reason}") from None
        return ""

    def close(self) -> str:
        """The body has ended properly. Returns the last piece."""
        if self._whole is not None:
            return self._take_whole(bytes(self._whole))
        if self._events is None:
            self._open_stream(self._lead)
        assert self._events is not None
        last = self._events.end()
        piece = self._take(last) if last is not None and _is_whole(last.data) else ""
        self.ended = self.ended or self._finish is not None
        return piece + self._add(self._joiner.rest())

    def text(self) -> str:
        """The whole reply. :raises AgentFailed: there is none, or it is not whole."""
        if not self.ended and self._finish is None:
            raise AgentFailed(f"{WHAT} ended its answer in the middle")
        self._add(self._joiner.rest())
        text = "".join(self._pieces)
        if self._finish in _NO_REPLY:
            said = f": {one_line(text)}" if self._finish == "error" and text else ""
            raise AgentFailed(f"the model {_NO_REPLY[self._finish]}{said}")
        if self._finish in _LENGTH:
            return f"{text}\n\n{CUT_OFF}".lstrip()
        if not text.strip():
            raise AgentFailed(f"the model {'thought, but said nothing' if self.begun else 'said nothing'}", kind="empty")
        return text

    def _begin(self, data: bytes) -> str:
        """The first bytes decide the kind of body: headers are wrong too often."""
        self._lead = data[match.end() :] if (match := _LEAD.match(data)) else data
        if self._lead[:1] in (b"{", b"["):
            self._whole = bytearray()
            self._collect(self._lead)
            return ""
        start = self._lead[:_LONGEST_LINE_NAME]
        if any(name.startswith(start) for name in (*_STREAM_LINES, BOM_UTF8) if len(start) < len(name)):
            return ""  # too few bytes to decide
        self._open_stream(start)
        return self.feed(self._lead)

    def _open_stream(self, start: bytes) -> None:
        if self._kind != "text/event-stream" and not start.startswith(_STREAM_LINES):
            kind = self._kind[:100] or "something"
            raise AgentFailed(f"{WHAT} does not stream an answer but sends {kind}: is url its API's base?")
        self._events = EventParser(at_most_bytes=EVENT_BYTES)

    def _collect(self, data: bytes) -> None:
        assert self._whole is not None
        if len(self._whole) + len(data) > WHOLE_BYTES:
            raise AgentFailed(f"{WHAT}: its answer is longer than {WHOLE_BYTES} bytes")
        self._whole += data

    def _take_whole(self, body: bytes) -> str:
        try:
            # Gemini puts its errors into a list.
            chunk = decode(body, tuple[Chunk, ...], lenient=True)[0] if body.startswith(b"[") else read_chunk(body)
        except (Malformed, IndexError):
            raise AgentFailed(f"{WHAT} sends what is no answer: {one_line(body[:1000].decode('utf-8', 'replace'))}") from None
        error_value = chunk.error_value(surely=True)
        if chunk.choices is None and error_value is None and words_in(body):
            error_value = decode(body, object)  # an error of another shape
        if chunk.choices is None and error_value is None:
            raise AgentFailed(f"{WHAT} sends {self._kind[:100] or 'something'} without an answer in it: is url its API's base?")
        piece = self._take_chunk(chunk, error_value, body.decode("utf-8", "replace"))
        self.ended = True
        return piece

    def _take(self, event: ServerSentEvent) -> str:
        self.steps += 1
        if event.data.strip() == _DONE:
            self.ended = True
        if self.ended or not event.data.strip() or event.event not in ("message", "error"):
            return ""
        is_error = event.event == "error"
        try:
            chunk = read_chunk(event.data)
        except Malformed:
            if not is_error:
                raise AgentFailed(f"{WHAT} sent what is no chunk of an answer: {one_line(event.data)}") from None
            chunk = Chunk(error=_plain(event.data))
        return self._take_chunk(chunk, chunk.error_value(surely=is_error), event.data)

    def _take_chunk(self, chunk: Chunk, error_value: object, text: str) -> str:
        if error_value is not None:
            if self.begun:
                raise AgentFailed(f"{WHAT} broke off: {words_of(error_value) or 'it did not say why'}")
            raise error_in_answer(error_value, text, repeatable=self._repeatable)
        return "".join([self._take_choice(choice) for choice in chunk.choices or () if choice.is_first])

    def _take_choice(self, choice: Choice) -> str:
        delta = choice.delta or (choice.message if not self._size else None) or Delta()
        try:
            said = text_of(delta.content) or delta.refusal or ""
        except Malformed:
            raise AgentFailed(f"{WHAT} sent what is no chunk of an answer: its content is neither a text nor parts") from None
        if isinstance(delta.tool_calls, list) and delta.tool_calls:
            self._finish = "tool_calls"
            raise AgentFailed(f"the model {_NO_REPLY['tool_calls']}")
        if said or delta.thinks:
            self.begun = True
            self.said += 1
            self._meaningless = self._finish is not None
        if said or not delta.thinks:  # a thought that says "stop" is the end of nothing
            self._finish = choice.finish or self._finish
        return self._add(self._joiner.take(said))

    def _add(self, piece: str) -> str:
        self._size += len(piece)
        if self._size > REPLY_MAX:
            raise AgentFailed(f"the reply is longer than {REPLY_MAX} characters")
        if piece:
            self._pieces.append(piece)
        return piece


def _is_whole(data: str) -> bool:
    """Whether the rest of a stream that ended without a blank line is a whole event."""
    return data.strip() == _DONE or _plain(data) is not data


def _plain(data: str) -> object:
    """The decoded JSON, or the text itself if it is none."""
    try:
        return decode(data, object)
    except Malformed:
        return data
