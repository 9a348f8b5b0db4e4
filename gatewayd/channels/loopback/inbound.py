"""The inbound half of the loopback's platform: events that wait, and the driver's connection to them."""

from collections import deque
from collections.abc import Callable
from math import inf

import trio

from gatewayd.actor.wakeup import Wakeup
from gatewayd.model.errors import Overloaded
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.ports.channel import DeliveryReport

_MOST_WAITING = 10_000
_MOST_KEPT = 10_000


Event = InboundEnvelope | DeliveryReport


class Broken(Exception):
    """The connection was cut."""


class Connection:
    """The driver's end of one connection. ``on_ping`` is called for each ping, and answers it by ``pong``."""

    def __init__(self, inbound: "Inbound", on_ping: Callable[["Connection"], None]) -> None:
        self.is_broken = False
        self.on_ping = on_ping
        self.pongs = 0
        self._inbound = inbound

    async def next_event(self, *, beat_seconds: float = inf) -> Event | None:
        """The first event that is not acknowledged. None: for so long there was none, and the platform says that it is there.

        :raises Broken: the connection was cut.
        """
        return await self._inbound.next_event(self, beat_seconds)

    def acknowledge(self, event: Event) -> None:
        """The event need not come again. :raises Broken: the connection was cut."""
        if self.is_broken:
            raise Broken
        self._inbound.note_acknowledged(event)

    def pong(self) -> None:
        """Answer a ping."""
        self.pongs += 1
        self._inbound.changed.notify()


class Inbound:
    """An event that was not acknowledged comes again by the next connection, of which there is one at a time.

    ``acknowledged`` are the event keys that the driver has acknowledged.
    """

    def __init__(self, changed: Wakeup) -> None:
        self.acknowledged: deque[str] = deque(maxlen=_MOST_KEPT)
        self.changed = changed
        self._waiting: deque[tuple[Event, trio.Event]] = deque()
        self._wake = Wakeup()
        self._is_down = False
        self._is_silent = False
        self._connection: Connection | None = None

    def inject(self, event: Event) -> trio.Event:
        """See ``LoopbackPlatform.inject``."""
        if len(self._waiting) >= _MOST_WAITING:
            raise Overloaded("the loopback holds no more messages")
        acknowledged = trio.Event()
        self._waiting.append((event, acknowledged))
        self._wake.notify()
        return acknowledged

    async def connect(self, on_ping: Callable[[Connection], None]) -> Connection:
        """The driver connects. The connection before it is broken. :raises Broken: there is no connection now."""
        await trio.lowlevel.checkpoint()
        if self._is_down:
            raise Broken
        while self._is_silent:
            await self._wake.wait()
        self._break()
        self._connection = Connection(self, on_ping)
        return self._connection

    async def next_event(self, connection: Connection, beat_seconds: float) -> Event | None:
        """See ``Connection.next_event``."""
        await trio.lowlevel.checkpoint()
        while True:
            with trio.move_on_after(beat_seconds) as beat:
                while not connection.is_broken and (self._is_silent or not self._waiting):
                    await self._wake.wait()
            if connection.is_broken:
                raise Broken
            if self._waiting and not self._is_silent:
                return self._waiting[0][0]
            if beat.cancelled_caught and not self._is_silent:
                return None

    def note_acknowledged(self, event: Event) -> None:
        """See ``Connection.acknowledge``. An event that does not wait (any more) is no error."""
        for entry in self._waiting:
            if entry[0] is event:
                self._waiting.remove(entry)
                entry[1].set()
                break
        if isinstance(event, InboundEnvelope):
            self.acknowledged.append(event.event_key)
        self.changed.notify()

    def cut(self) -> None:
        """The connection breaks, and there is none until ``heal``."""
        self._is_down = True
        self._break()

    def heal(self) -> None:
        self._is_down = False

    def go_silent(self) -> None:
        """From now on nothing comes, and no new connection is answered."""
        self._is_silent = True

    async def ping(self) -> None:
        """Returns when the driver has answered. :raises Broken: there is no connection."""
        connection = self._connection
        if connection is None or connection.is_broken:
            raise Broken
        before = connection.pongs
        connection.on_ping(connection)
        while connection.pongs == before:
            await self.changed.wait()

    def _break(self) -> None:
        if self._connection is not None:
            self._connection.is_broken = True
        self._wake.notify()
