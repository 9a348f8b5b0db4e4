"""The event log: numbered, durable, resumable.

``emit`` never waits. Rows are the truth, and an event only reports their changes. The store numbers events when it commits them,
and readers get them after that, so no reader has seen a number that a crash takes back.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import islice

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from gatewayd.actor.wakeup import Wakeup
from gatewayd.kit.text import sanitise
from gatewayd.model.errors import StoreRefused
from gatewayd.model.records.event import Event, EventValue
from gatewayd.ports.store import EventDraft, EventRows

_BATCH = 500
_BUFFER = 10_000
_READER_BUFFER = 256
_RETRY_SECONDS = 1.0


class EventLog:
    """The events of the daemon. ``run`` writes and publishes them; until it runs, they wait in a bounded buffer. ``counts`` has
    the number of events since the start, by kind. ``keep`` gives the number of events to keep in the store."""

    def __init__(self, store: EventRows, *, now: Callable[[], float], keep: Callable[[], int]) -> None:
        self._store = store
        self._now = now
        self._keep = keep
        self._buffer: deque[EventDraft] = deque()
        self._readers: set[MemoryObjectSendStream[Event]] = set()
        self._wake = Wakeup()
        self._flushed = anyio.Event()
        self._flushed.set()
        self._encode = msgspec.json.Encoder().encode
        self._since_prune = 0
        self.counts: dict[str, int] = {}
        self._watchers: list[tuple[frozenset[str], Callable[[], None]]] = []
        self.dropped = 0
        self.first_seq = 0
        self.last_seq = 0

    def emit(self, kind: str, **data: EventValue) -> None:
        """Report an event. ``data`` holds ids, states and reasons, but no secret and no text of a message.

        If the store refuses for so long that the buffer is full, the oldest unwritten event is dropped, and ``dropped`` counts
        it.
        """
        self.counts[kind] = self.counts.get(kind, 0) + 1
        for kinds, call in self._watchers:
            if kind in kinds:
                call()
        if len(self._buffer) >= _BUFFER:
            self._buffer.popleft()
            self.dropped += 1
        self._buffer.append(EventDraft(at=self._now(), kind=kind, data=self._encoded(data)))
        if self._flushed.is_set():
            self._flushed = anyio.Event()
        self._wake.notify()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Write and publish until cancelled."""
        self.first_seq, self.last_seq = await self._store.event_bounds()
        task_status.started()
        while True:
            await self._wake.take()
            while self._buffer:
                await self._write_batch()
            self._flushed.set()

    def watch(self, kinds: frozenset[str], call: Callable[[], None]) -> None:
        """Call ``call`` from now on for each event of these kinds, when it is emitted and not yet stored."""
        self._watchers.append((kinds, call))

    @property
    def readers(self) -> int:
        """How many subscriptions are open."""
        return len(self._readers)

    async def wait_flushed(self) -> None:
        """Wait until all events so far are committed and published."""
        await self._flushed.wait()

    async def after(self, seq: int, *, limit: int) -> list[Event]:
        """Stored events with a greater number, in order."""
        return await self._store.events_after(seq, limit=limit)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[MemoryObjectReceiveStream[Event]]:
        """Events from now on. A reader that lags by more than a few hundred events is closed, and must resume with ``after``."""
        send, receive = anyio.create_memory_object_stream[Event](_READER_BUFFER)
        self._readers.add(send)
        try:
            yield receive
        finally:
            self._readers.discard(send)
            send.close()
            receive.close()

    def _encoded(self, data: dict[str, EventValue]) -> bytes:
        try:
            return self._encode(data)
        except UnicodeEncodeError:
            # Foreign names and reasons may hold half a surrogate pair.
            return self._encode({key: sanitise(value) if isinstance(value, str) else value for key, value in data.items()})

    async def _write_batch(self) -> None:
        batch = list(islice(self._buffer, _BATCH))
        dropped = self.dropped
        try:
            events = await self._store.add_events(batch)
        except StoreRefused:
            await anyio.sleep(_RETRY_SECONDS)
            return
        # Events that were dropped during the write were the oldest, so they are of this batch.
        for _ in range(len(batch) - (self.dropped - dropped)):
            self._buffer.popleft()
        self.first_seq = self.first_seq or events[0].seq
        self.last_seq = events[-1].seq
        self._publish(events)
        await self._prune(len(events))

    def _publish(self, events: list[Event]) -> None:
        for reader in list(self._readers):
            try:
                for event in events:
                    reader.send_nowait(event)
            except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
                self._readers.discard(reader)
                reader.close()

    async def _prune(self, added: int) -> None:
        self._since_prune += added
        if self._since_prune < max(1, self._keep() // 10):
            return
        self._since_prune = 0
        try:
            await self._store.prune_events(keep=self._keep())
        except StoreRefused:
            return
        self.first_seq, _ = await self._store.event_bounds()
