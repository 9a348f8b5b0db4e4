"""The backlog: the messages that are journaled and have not ended, their limits, and the tasks that wait for the end of one."""

from collections.abc import Callable, Sequence

import anyio

from gatewayd.hub.configured import Configured
from gatewayd.hub.inbox.limits import Account, AdmissionControl, Person, SenderLimit
from gatewayd.model.config import GatewayConfig
from gatewayd.model.errors import NotFound
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.status import InboxStatus
from gatewayd.ports.store import InboundRow, Inbox


class Backlog:
    """A message waits here until it is dequeued: a turn has taken it, or it has ended. ``now`` gives Unix seconds."""

    def __init__(self, store: Inbox, configured: Configured, *, now: Callable[[], float]) -> None:
        limits = configured.config.limits
        self._store = store
        self._admission = AdmissionControl(limits.inbox_backlog, limits.account_backlog, now=now)
        self._senders = SenderLimit(limits.sender_backlog)
        self._waiting: dict[int, tuple[InboundEnvelope, Person | None]] = {}
        self._ended: dict[int, set[anyio.Event]] = {}
        configured.follow(self.reconfigure)

    def reconfigure(self, config: GatewayConfig) -> None:
        """Other limits from now on. Messages that wait already stay."""
        self._admission.resize(config.limits.inbox_backlog, config.limits.account_backlog)
        self._senders.resize(config.limits.sender_backlog)

    @property
    def waiting(self) -> int:
        """Rows that are journaled, or about to be, and neither in a turn nor ended."""
        return self._admission.used

    def why_full(self, channel: str, account: str) -> str | None:
        """Why a delivery of this account would have to wait; None if it would not."""
        return self._admission.why_full((channel, account))

    def status(self) -> InboxStatus:
        return InboxStatus(
            waiting=self._admission.used,
            limit=self._admission.limit,
            oldest_at=next((envelope.received_at for envelope, _ in self._waiting.values()), None),
            full_since=self._admission.full_since,
            limited_senders=self._senders.limited,
        )

    def waiting_of(self, channel: str, account: str) -> int:
        """``waiting`` of one account."""
        return self._admission.used_by((channel, account))

    def full_since(self, channel: str, account: str) -> float | None:
        """Since when the account has been at its limit; None: it is below."""
        return self._admission.account_full_since((channel, account))

    async def reserve(self, account: Account, count: int) -> None:
        """Reserve for messages that are about to be journaled; waits while a limit is reached."""
        await self._admission.acquire(account, count)

    def release(self, account: Account, count: int) -> None:
        """Release what was reserved for messages that did not come."""
        self._admission.release(account, count)

    def enter(self, row: InboundRow) -> None:
        """A message that was reserved for waits from now on."""
        self._waiting[row.id] = row.envelope, None

    def enter_again(self, row: InboundRow) -> None:
        """A message of an earlier life waits from now on, even above the limit: it is in the store already."""
        self._admission.acquire_nowait(_account_of(row), 1)
        self.enter(row)

    def may_wait(self, row: InboundRow) -> bool:
        """Whether its sender may have one more waiting message."""
        return self._senders.may_wait(_person_of(row))

    def should_notify(self, row: InboundRow) -> bool:
        """Whether to tell its sender about the limit: once for a while."""
        return self._senders.should_notify(_person_of(row))

    def count_for_sender(self, row: InboundRow) -> None:
        """The message waits for a turn, and counts against its sender's limit."""
        person = _person_of(row)
        self._senders.add(person)
        self._waiting[row.id] = row.envelope, person

    def dequeue(self, rows: Sequence[InboundRow]) -> None:
        """These rows do not wait any more: a turn has taken them, or they have ended."""
        for row in rows:
            envelope, person = self._waiting.pop(row.id, (None, None))
            if envelope is not None:
                self._admission.release((envelope.channel, envelope.account), 1)
            if person is not None:
                self._senders.remove(person)

    def requeue(self, rows: Sequence[InboundRow]) -> None:
        """These rows wait again, because their turn waits for its agent. Otherwise an outage would fill the memory with turns."""
        for row in rows:
            if row.id not in self._waiting:
                self.enter_again(row)

    def complete(self, rows: Sequence[InboundRow]) -> None:
        """These rows have ended: wake the tasks that wait for them."""
        for row in rows:
            for event in self._ended.pop(row.id, ()):
                event.set()

    async def wait_ended(self, inbound_id: int) -> InboundRow:
        """The row, after it has ended. :raises NotFound:"""
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


def _account_of(row: InboundRow) -> Account:
    return row.envelope.channel, row.envelope.account


def _person_of(row: InboundRow) -> Person:
    return row.envelope.channel, row.envelope.account, row.envelope.sender.id
