"""The inbox: journal first, then decide, then hand on. What is acknowledged is in the store."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import anyio
import msgspec

from gatewayd.hub.access import AccessControl
from gatewayd.hub.events import EventLog
from gatewayd.hub.outbox import Outbox, draft_replies, insist
from gatewayd.hub.routing import resolve_route
from gatewayd.model.config import AccountSettings, GatewayConfig
from gatewayd.model.envelope import InboundEnvelope
from gatewayd.model.errors import NotFound
from gatewayd.model.route import Route
from gatewayd.ports.channel import ChannelPlugin
from gatewayd.ports.store import InboundRow, Store

_RECOVERY_PAGE = 1000
_REFUSED_AT_ONCE = 256


class Lanes(Protocol):
    """Where admitted messages go: hub/turns.py."""

    def add(self, row: InboundRow, route: Route) -> None: ...


class Presses(Protocol):
    """Where answers to requests go: hub/presses.py."""

    def take(self, row: InboundRow, *, admitted: bool) -> bool: ...

    def acknowledge(self, envelope: InboundEnvelope) -> None: ...


class InboxDesk:
    """Takes envelopes from accounts and connectors. ``run`` settles what is not admitted."""

    def __init__(
        self,
        store: Store,
        events: EventLog,
        access: AccessControl,
        outbox: Outbox,
        lanes: Lanes,
        presses: Presses,
        config: GatewayConfig,
        plugins: dict[str, ChannelPlugin],
        *,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._events = events
        self._access = access
        self._outbox = outbox
        self._lanes = lanes
        self._presses = presses
        self._config = config
        self._accounts: dict[tuple[str, str], AccountSettings] = {(a.channel, a.account): a for a in config.accounts}
        self._plugins = plugins
        self._now = now
        self._limit = config.limits.inbox_waiting
        self._waiting = 0
        self._door = anyio.Lock(fast_acquire=True)
        self._room = anyio.Event()
        self._refused: deque[tuple[InboundRow, str, bool]] = deque()
        self._wake = anyio.Event()
        self._ended: dict[int, set[anyio.Event]] = {}
        self.received = 0

    @property
    def waiting(self) -> int:
        """Rows that are journaled, or about to be, and not yet in a turn or ended."""
        return self._waiting

    def full(self) -> bool:
        """Whether a delivery would have to wait."""
        return self._waiting >= self._limit or self._door.locked()

    async def deliver(
        self, envelopes: Sequence[InboundEnvelope], *, memo: tuple[str, str, str, str] | None = None
    ) -> list[InboundRow]:
        """Journal and hand on. Returns after the commit, with the rows that are new. Waits while the inbox is full.

        :raises StoreRefused: nothing was stored; the platform must not be told.
        :raises NotFound: an envelope names an account that is not configured.
        """
        for envelope in envelopes:
            if (envelope.channel, envelope.account) not in self._accounts:
                raise NotFound(f"there is no account {envelope.channel}/{envelope.account} in the configuration")
        now = self._now()
        stamped = [e if e.received_at else msgspec.structs.replace(e, received_at=now) for e in envelopes]
        await self._take_room(len(stamped))
        rows: list[InboundRow] = []
        try:
            # A caller that goes away during the commit must not leave rows that nobody runs before the next start.
            with anyio.CancelScope(shield=True):
                rows = await self._store.add_inbound(stamped, memo=memo)
        finally:
            self.taken(len(stamped) - len(rows))
        self.received += len(rows)
        for row in rows:
            envelope = row.envelope
            self._events.emit(
                "inbound.received",
                id=row.id,
                channel=envelope.channel,
                account=envelope.account,
                peer=f"{envelope.peer.kind}:{envelope.peer.id}",
                event_kind=envelope.kind,
            )
            self._hand_on(row)
        return rows

    async def pending(self) -> list[InboundRow]:
        """At start: what was journaled and has not ended, in order. The bound of the inbox bounds this, too."""
        rows: list[InboundRow] = []
        while page := await self._store.pending_inbound(after_id=rows[-1].id if rows else 0, limit=_RECOVERY_PAGE):
            rows += page
        return rows

    def resume(self, rows: Sequence[InboundRow]) -> None:
        """Put back what :meth:`pending` found, before any account listens: nothing newer may overtake it."""
        self._waiting += len(rows)
        for row in rows:
            self._hand_on(row)

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Record what was not admitted, and answer strangers, until cancelled."""
        task_status.started()
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._refused:
                await self._refuse_some()

    def taken(self, count: int) -> None:
        """Rows have left the waiting room (into a turn, or ended)."""
        self._waiting -= count
        self._room.set()
        self._room = anyio.Event()

    def ended(self, rows: Sequence[InboundRow]) -> None:
        """Rows have ended: wake who waits for them."""
        for row in rows:
            for event in self._ended.pop(row.id, ()):
                event.set()

    async def wait_ended(self, inbound_id: int) -> InboundRow:
        """The row, once it has ended. :raises NotFound:"""
        event = anyio.Event()
        self._ended.setdefault(inbound_id, set()).add(event)
        try:
            row = await self._store.get_inbound(inbound_id)
            if row is not None and row.ended_at is None:
                await event.wait()
                row = await self._store.get_inbound(inbound_id)
        finally:
            self._forget_waiter(inbound_id, event)
        if row is None:
            raise NotFound(f"there is no message in-{inbound_id}")
        return row

    def _forget_waiter(self, inbound_id: int, event: anyio.Event) -> None:
        events = self._ended.get(inbound_id, set())
        events.discard(event)
        if not events:
            self._ended.pop(inbound_id, None)

    async def _take_room(self, count: int) -> None:
        """Wait for room for that many rows, first come, first served. A delivery larger than the whole room gets all of it."""
        async with self._door:
            while self._waiting and self._waiting + count > self._limit:
                await self._room.wait()
            self._waiting += count

    def _hand_on(self, row: InboundRow) -> None:
        envelope = row.envelope
        settings = self._accounts.get((envelope.channel, envelope.account))
        if settings is None:
            self._later(row, "account_removed", pair=False)
            return
        verdict = self._access.judge(envelope, settings.frame, self._plugins[envelope.channel])
        if self._presses.take(row, admitted=verdict.kind == "admit"):
            return
        self._presses.acknowledge(envelope)
        if verdict.kind == "admit" or row.state == "running":
            self._lanes.add(row, resolve_route(envelope, self._config))
        else:
            self._later(row, verdict.reason, pair=verdict.kind == "pair")

    def _later(self, row: InboundRow, reason: str, *, pair: bool) -> None:
        self._refused.append((row, reason, pair))
        self._wake.set()

    async def _refuse_some(self) -> None:
        """The oldest refused row, and those right behind it that are dropped for the same reason, in one commit: in a busy
        group most messages are not for the bot, and one at a time they would fill the inbox."""
        row, reason, pair = self._refused.popleft()
        rows = [row]
        while not pair and len(rows) < _REFUSED_AT_ONCE and self._refused and self._refused[0][1:] == (reason, False):
            rows.append(self._refused.popleft()[0])
        text = await insist(lambda: self._access.request_pairing(row.envelope)) if pair else None
        plugin = self._plugins.get(row.envelope.channel)
        replies = draft_replies(row.envelope, text, plugin) if text and plugin else []
        await insist(lambda: self._outbox.end_inbound(rows, state="dropped", reason=reason, replies=replies))
        for row in rows:
            self._events.emit(
                "inbound.dropped", id=row.id, channel=row.envelope.channel, account=row.envelope.account, reason=reason
            )
        self.taken(len(rows))
        self.ended(rows)
