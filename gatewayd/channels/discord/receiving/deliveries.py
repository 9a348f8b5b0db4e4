"""Takes what the gateway brings to ``deliver``, in the order of its numbers, with the place of the session where it stands.

The place is committed with the messages. So the next life resumes behind what is stored, and what was received and not stored
comes again.
"""

import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NoReturn

import anyio
import anyio.lowlevel
import msgspec
from msgspec import Raw, Struct

from gatewayd.actor.wakeup import Wakeup
from gatewayd.channels.discord.receiving.cursors import DiscordState
from gatewayd.channels.discord.receiving.inbound import Read, Receiver, Unknown
from gatewayd.channels.discord.wire.frames import Session
from gatewayd.kit.json import Malformed
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.ports.channel import NO_STATE, ChannelServices, Deliver, DeliveryReport

SESSION: Final = "session"
"""The key of the session in the account's state."""
WAITING: Final = 1_000
WAITING_BYTES: Final = 64 * 1024 * 1024
"""Events that wait for their commit. When there are more, the connection ends, and is resumed when they are stored."""
IN_ONE_COMMIT: Final = 100
PLACE_SECONDS: Final = 5.0
"""So often the place of the session is stored when nothing else is."""


def in_turn(deliver: Deliver) -> Deliver:
    """The same, one call after the other in the order in which they begin. What comes now and what is read back may be of one
    conversation, and of two calls at once the hub promises no order."""
    turn = anyio.Lock()

    async def deliver_in_turn(
        envelopes: Sequence[InboundEnvelope],
        *,
        state: Mapping[str, str] = NO_STATE,
        reports: Sequence[DeliveryReport] = (),
    ) -> None:
        async with turn:
            await deliver(envelopes, state=state, reports=reports)

    return deliver_in_turn


class Received(Struct, frozen=True):
    """One dispatch. ``session`` is where it stands with it."""

    name: str
    data: Raw
    session: Session
    size: int


class Deliveries:
    """A bounded queue, and the loop that commits what is in it. Adding to it never waits, so that heartbeats are read on.

    ``ask`` finds out what has to be known before an event can be read; ``stored`` is told of what was committed. While there is a
    gap, the place of the session stays at its beginning: so the next life is told once more of all guilds, where something may be
    missing. ``missing`` is called when they are about to be told of, after a gap.
    """

    def __init__(
        self,
        receiver: Receiver,
        services: ChannelServices,
        state: DiscordState,
        *,
        ask: Callable[[Unknown], Awaitable[None]],
        stored: Callable[[Sequence[InboundEnvelope]], None],
        missing: Callable[[], None],
    ) -> None:
        self._receiver = receiver
        self._services = services
        self._ask = ask
        self._stored = stored
        self._missing = missing
        self._seen = state.seen
        self._seen_key = state.seen_key
        self._begun: Session | None = None
        self._waiting: deque[Received] = deque()
        self._bytes = 0
        self._added = Wakeup()
        self._drained = Wakeup()
        self._placed_at = -math.inf
        self._done: Session | None = None

    def place(self, session: str) -> int | None:
        """The number of the last dispatch of this session that is stored, or needs no storing; None: there is none."""
        return self._done.seq if self._done is not None and self._done.id == session else None

    def restore(self, session: Session) -> None:
        """An earlier life's session is about to be resumed."""
        self._begun = self._done = session
        self._placed_at = anyio.current_time()
        if self._seen.has_gap:
            self._receiver.guilds.expect_replay()
            self._missing()

    @property
    def is_full(self) -> bool:
        """No more is taken."""
        return len(self._waiting) >= WAITING or self._bytes >= WAITING_BYTES

    def add(self, received: Received) -> None:
        """Let it wait for its commit. The caller looks at ``is_full`` first."""
        self._waiting.append(received)
        self._bytes += received.size
        self._added.notify()

    async def begin(self, received: Received) -> None:
        """READY. The session is stored before anything of it comes, and while other commits wait: a crash then resumes this one,
        and knows that something was missed before it.

        :raises StoreRefused: it cannot be stored.
        """
        with anyio.CancelScope(shield=True):  # a connection that ends now is resumed, and its guilds still tell what was missed
            self._seen.begin_session(self._services.now())
            await self._services.state.save(self._seen_key, self._seen.value())
            await self._services.state.save(SESSION, _stored(received.session))
            self.add(received)

    async def drained(self) -> None:
        """Wait until there is room for half of the bounds."""
        while len(self._waiting) > WAITING // 2 or self._bytes > WAITING_BYTES // 2:
            await self._drained.wait()

    async def run(self, deliver: Deliver) -> NoReturn:
        """Whatever ``deliver`` raises ends it."""
        while True:
            while not self._waiting:
                await self._added.wait()
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), IN_ONE_COMMIT))]
            await self._commit(batch, deliver)
            self._done = batch[-1].session
            self._bytes -= sum(received.size for received in batch)
            self._drained.notify()

    async def _commit(self, batch: Sequence[Received], deliver: Deliver) -> None:
        envelopes: list[InboundEnvelope] = []
        state: dict[str, str] = {}
        for received in batch:
            if (unknown := self._receiver.unknown(received.name, received.data)) is not None:
                await self._ask(unknown)
            read = self._read(received)
            if read is not None:
                envelopes += read.envelopes
                state.update(read.state)
            if received.name == "READY":
                self._begun = received.session
                self._placed_at = anyio.current_time()  # it is stored already
                if self._seen.has_gap:
                    self._missing()
            await anyio.lowlevel.checkpoint()  # a guild of thousands of channels takes some milliseconds
        now = anyio.current_time()
        if not envelopes and not state and now < self._placed_at + PLACE_SECONDS:
            return
        self._placed_at = now
        state[SESSION] = _stored(self._kept(batch[-1].session))
        await deliver(envelopes, state=state)
        self._stored(envelopes)

    def _kept(self, session: Session) -> Session:
        """The place that is stored."""
        begun = self._begun
        return begun if self._seen.has_gap and begun is not None and begun.id == session.id else session

    def _read(self, received: Received) -> Read | None:
        try:
            read = self._receiver.dispatch(received.name, received.data)
        except Malformed as malformed:
            self._services.log.warning("discord_event_skipped", type=received.name[:40], reason=str(malformed))
            return None
        if read.ignored is not None:
            self._services.log.debug("discord_event_ignored", reason=read.ignored)
        return read


def _stored(session: Session) -> str:
    return msgspec.json.encode(session).decode()
