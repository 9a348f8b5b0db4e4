"""``GET /v1/events``: the event log as a stream of server-sent events (WHATWG HTML, section "Server-sent events").

Each event has its number as ``id``. A reader that lost its connection resumes with ``Last-Event-ID`` (or ``?after=``) and misses
no event that is still stored; deleted events are reported as ``event: gateway.gap``. Without either, the stream begins with the
next event.
"""

import re
from contextlib import AsyncExitStack
from typing import Annotated, Final

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream
from msgspec import Meta, Struct
from quart import Blueprint, Response, request

from gatewayd.hub.events import EventLog
from gatewayd.hub.gateway import Gateway
from gatewayd.model.errors import StoreRefused
from gatewayd.model.operator_api import EventGap
from gatewayd.model.records.event import Event
from gatewayd.web.access.auth import Auth, StreamAuthorization
from gatewayd.web.access.redaction import may_see_people, redacted_event
from gatewayd.web.http.bodies import read_query
from gatewayd.web.http.errors import HttpError
from gatewayd.web.http.streams import StreamedBody, event_stream
from gatewayd.web.http.waits import Waits

HEARTBEAT_SECONDS: Final = 15.0
MAX_READERS: Final = 64
_PAGE: Final = 500
_MAX_PATTERNS: Final = 32
_MAX_SEQ: Final = 2**63 - 1
# Reconnect after 2 s. The line also tells the reader that the stream is open.
_HELLO: Final = b"retry: 2000\n\n"
_HEARTBEAT: Final = b": heartbeat\n\n"
_PATTERN: Final = re.compile(r"\*|[a-z_]+(\.[a-z_]+)*(\.\*)?")


class EventsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``kinds``: separated by commas, each a kind or a prefix with ``.*``."""

    after: Annotated[int, Meta(ge=0, le=_MAX_SEQ)] | None = None
    kinds: Annotated[str, Meta(max_length=2000)] = "*"


class KindFilter:
    """The kinds that a reader wants. :raises HttpError: bad_request for a pattern that can never match."""

    def __init__(self, kinds: str) -> None:
        patterns = [pattern.strip() for pattern in kinds.split(",")]
        for pattern in patterns:
            if pattern.startswith("letter."):
                raise HttpError("bad_request", f"the kind {pattern} is dead_{pattern} now")
        wrong = [pattern for pattern in patterns if not _PATTERN.fullmatch(pattern)]
        if wrong or len(patterns) > _MAX_PATTERNS:
            found = repr(wrong[0]) if wrong else f"{len(patterns)} of them"
            raise HttpError(
                "bad_request", f"kinds has {found}: send at most {_MAX_PATTERNS} names like gateway.state or gateway.*"
            )
        self._all = "*" in patterns
        self._exact = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
        self._prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith(".*"))

    def wants(self, kind: str) -> bool:
        return self._all or kind in self._exact or kind.startswith(self._prefixes)


class EventFeed(StreamedBody):
    """The body of one event stream.

    A reader that is too slow for the live events reads the store until it has caught up. A reader that does not read at all is
    cut off by the limit on writes. The stream ends when its token is revoked. ``readers`` holds the open feeds. ``redacted``: the
    events name no people.
    """

    def __init__(
        self,
        log: EventLog,
        waits: Waits,
        kinds: KindFilter,
        after: int | None,
        readers: "set[EventFeed]",
        authorization: StreamAuthorization,
        *,
        redacted: bool,
    ) -> None:
        self._readers = readers
        self._authorization = authorization
        self._log = log
        self._waits = waits
        self._kinds = kinds
        self._redacted = redacted
        self._seq = log.last_seq if after is None else after
        self._live: MemoryObjectReceiveStream[Event] | None = None
        self._replaying = True
        self._greeted = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "EventFeed":
        self._readers.add(self)
        return self

    async def aclose(self) -> None:
        self._readers.discard(self)
        await self._stack.aclose()

    async def __anext__(self) -> bytes:
        if not self._greeted:
            self._greeted = True
            return _HELLO + self._ahead_of_log()
        while not self._waits.over:
            block = await self._next_block()
            if await self._authorization.has_ended():
                break
            if block:
                return block
        raise StopAsyncIteration

    async def _next_block(self) -> bytes:
        if self._replaying:
            return await self._replay()
        assert self._live is not None
        events: list[Event] = []
        with self._waits.until(HEARTBEAT_SECONDS) as scope:
            try:
                events.append(await self._live.receive())
                while len(events) < _PAGE:
                    events.append(self._live.receive_nowait())
            except anyio.WouldBlock:
                pass
            except anyio.EndOfStream:
                self._replaying = True
        if scope.cancelled_caught and not self._waits.over:
            return _HEARTBEAT
        if events and events[0].seq > self._seq + 1:
            self._replaying = True  # events were missed here, but they are in the store
            return b""
        return self._render(events)

    async def _replay(self) -> bytes:
        """Read from the store until it has nothing newer. The subscription comes before the last read, so no event is missed."""
        if self._live is None or self._live.statistics().open_send_streams == 0:
            await self._stack.aclose()
            self._live = await self._stack.enter_async_context(self._log.subscribe())
        try:
            events = await self._log.after(self._seq, limit=_PAGE)
        except StoreRefused:
            # The stream ends and the reader reconnects: no event is skipped.
            raise StopAsyncIteration from None
        self._replaying = bool(events)
        return self._render(events)

    def _render(self, events: list[Event]) -> bytes:
        before = self._seq
        parts = [self._render_one(event) for event in events if event.seq > self._seq]
        if self._seq > before and not parts[-1]:
            # The last event was filtered out: an id without data moves the reader's position and shows nothing.
            parts.append(b"id: %d\n\n" % self._seq)
        return b"".join(parts)

    def _render_one(self, event: Event) -> bytes:
        gap = b""
        if event.seq > self._seq + 1:
            gap = _render_gap(EventGap(after=self._seq, next=event.seq))
        self._seq = event.seq
        if not self._kinds.wants(event.kind):
            return gap
        event = redacted_event(event) if self._redacted else event
        return gap + b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.kind.encode(), msgspec.json.encode(event))

    def _ahead_of_log(self) -> bytes:
        """A reader that is ahead of the log has read another store: report a gap, and go on at the end of the log."""
        last = self._log.last_seq
        if self._seq <= last:
            return b""
        gap = EventGap(after=self._seq, next=last + 1)
        self._seq = last
        return _render_gap(gap)


def blueprint(gateway: Gateway, auth: Auth, waits: Waits) -> Blueprint:
    routes = Blueprint("events", __name__)
    readers: set[EventFeed] = set()

    @routes.get("/v1/events")
    async def stream() -> Response:
        identity = await auth.require("read")
        query = read_query(EventsQuery)
        resumed = _last_event_id()
        after, authorization = query.after if resumed is None else resumed, auth.stream_authorization("read")
        kinds, redacted = KindFilter(query.kinds), not may_see_people(identity)
        feed = EventFeed(gateway.events, waits, kinds, after, readers, authorization, redacted=redacted)
        if request.method == "GET" and len(readers) >= MAX_READERS:
            raise HttpError("overloaded", f"{MAX_READERS} readers of events are connected already: close one")
        return event_stream(feed)

    return routes


def _last_event_id() -> int | None:
    """The header that an EventSource sends when it reconnects; it is newer than the ``after`` in its URL."""
    given = request.headers.get("Last-Event-ID")
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal()) or int(given[:20]) > _MAX_SEQ or len(given) > 20:
        raise HttpError(
            "bad_request", "the header Last-Event-ID is not the number of an event: leave it out to begin with the next event"
        )
    return int(given)


def _render_gap(gap: EventGap) -> bytes:
    return b"id: %d\nevent: gateway.gap\ndata: %s\n\n" % (gap.next - 1, msgspec.json.encode(gap))
