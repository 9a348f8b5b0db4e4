"""Server-sent events (WHATWG HTML, section 9.2), as agent servers and models stream them: a pure parser, and a reader.

The event source of httpx2 is not used: it unpacks bodies without a bound, and leaving its loop early abandons generators, which
Trio reports.
"""

import re
from collections import deque

import httpx2
from msgspec import Struct

from gatewayd.kit.body import Body
from gatewayd.model.errors import GatewayError

EVENT_BYTES = 8 * 1024 * 1024
"""The default bound of one event: an agent's event can hold the whole output of a tool."""

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventTooLarge(GatewayError):
    """One event, or one line, is longer than the bound. The stream cannot be read on."""


class ServerSentEvent(Struct, frozen=True, omit_defaults=True):
    """``id`` is the stream's last event id, "" when it has none."""

    data: str
    event: str = "message"
    id: str = ""


class EventParser:
    """Parses bytes into events. The events do not depend on the chunks in which the bytes come."""

    def __init__(self, *, at_most_bytes: int = EVENT_BYTES) -> None:
        self._at_most = at_most_bytes
        self._line = bytearray()
        self._after_cr = False
        self._at_start = True
        self._event = ""
        self._data: list[bytes] = []
        self._size = 0
        self._id = ""

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """:raises EventTooLarge: see ``at_most_bytes``; its events before are lost with it."""
        if not chunk:
            return []
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        *lines, rest = _LINE_END.split(chunk)
        events: list[ServerSentEvent] = []
        for line in lines:
            self._grow(line)
            whole = bytes(self._line)
            self._line.clear()
            if (event := self._take(whole)) is not None:
                events.append(event)
        self._grow(rest)
        return events

    @property
    def pending(self) -> bool:
        """Whether a line, or an event, has begun and not ended."""
        return bool(self._line or self._data)

    def end(self) -> ServerSentEvent | None:
        """The event at the end of a stream without a blank line or a line end: none by the standard (section 9.2.6), but the last
        event of many servers."""
        whole = bytes(self._line)
        self._line.clear()
        return (self._take(whole) if whole else None) or self._complete()

    def _grow(self, piece: bytes) -> None:
        if self._size + len(self._line) + len(piece) > self._at_most:
            raise EventTooLarge(f"an event of the stream is longer than {self._at_most} bytes")
        self._line += piece

    def _take(self, line: bytes) -> ServerSentEvent | None:
        """One line without its end. An empty one completes the event."""
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._complete()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value)
                self._size += len(value) + 1
            case b"event":
                self._event = _text(value)
            case b"id" if b"\0" not in value:
                self._id = _text(value)
        return None

    def _complete(self) -> ServerSentEvent | None:
        event = ServerSentEvent(_text(b"\n".join(self._data)), self._event or "message", self._id) if self._data else None
        self._event = ""
        self._data = []
        self._size = 0
        return event


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


class EventStream:
    """The events of one response that was opened with ``stream=True``. Ends when the body does.

    Use it with ``contextlib.aclosing`` and close the response after it::

        async with client.stream("GET", url, headers={"accept-encoding": "identity"}) as response:
            async with aclosing(EventStream(response)) as events:
                async for event in events: ...

    Iterating raises httpx2.RequestError as the library does (see ``kit.http.describe``), and EventTooLarge. There is no time
    limit: the caller knows how much silence is normal.
    """

    def __init__(self, response: httpx2.Response, *, at_most_bytes: int = EVENT_BYTES) -> None:
        self._body = Body(response)
        self._parser = EventParser(at_most_bytes=at_most_bytes)
        self._ready: deque[ServerSentEvent] = deque()

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> ServerSentEvent:
        while not self._ready:
            self._ready.extend(self._parser.feed(await anext(self._body)))
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Stop reading. The connection is not kept when the body was not read to its end."""
        await self._body.aclose()
