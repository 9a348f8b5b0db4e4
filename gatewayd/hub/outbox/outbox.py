"""The outbox: each reply is a row of the store before it is sent, and each row ends in one state with a reason."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio
import structlog
from msgspec.structs import replace

from gatewayd.actor.wakeup import Wakeup
from gatewayd.hub.configured import Configured
from gatewayd.hub.events import EventLog
from gatewayd.hub.outbox.addressed import Addressed, addressed
from gatewayd.hub.outbox.doubt import Call, call_for, waits_for_turn
from gatewayd.hub.outbox.drafts import draft_replies, only_for
from gatewayd.hub.outbox.outcomes import ReplyOutcomes
from gatewayd.hub.outbox.queue import OutboundQueue
from gatewayd.model.errors import StoreRefused
from gatewayd.model.histogram import LONG, Histogram, Stopwatch
from gatewayd.model.lifecycle import (
    FOR_ITS_SENDER,
    NEVER_SEEN,
    OUTBOUND_DEAD_LETTERS,
    OUTBOUND_OPEN,
    DeadLetterState,
    EndState,
    InboundReason,
    OutboundState,
    SendOutcome,
)
from gatewayd.model.message.payload import EditText, Receipt, SendText
from gatewayd.model.message.report import ReportKind
from gatewayd.model.status import OutboxStatus
from gatewayd.ports.store import InboundRow, NoticeRule, OutboundDraft, OutboundRow, Reported, Store

_log = structlog.get_logger("gatewayd.outbox")
_STORE_RETRY_SECONDS = 1.0

T = TypeVar("T")


async def until_stored(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call of the store until the store takes it (its disk may be full): what has happened must not be lost."""
    while True:
        try:
            return await call()
        except StoreRefused:
            await anyio.sleep(_STORE_RETRY_SECONDS)


class Outbox:
    """Writes rows, queues them for the accounts, settles and counts them. ``outcomes`` gets the outcome of rows with a subject.
    ``notice`` makes the notice for the chat of a row that becomes unknown.

    In memory are the number and time of each unsettled row, some 200 bytes, the text of ``limits.mailbox`` of them, and the end
    of the pause of each conversation that has one. The number of rows is bounded by the turns that admitted messages start.
    """

    def __init__(
        self,
        store: Store,
        events: EventLog,
        configured: Configured,
        outcomes: ReplyOutcomes,
        *,
        notice: NoticeRule,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._events = events
        self._configured = configured
        self._outcomes = outcomes
        self._notice = notice
        self._now = now
        self._counts: dict[OutboundState, int] = {}
        self._queues: dict[tuple[str, str], OutboundQueue] = {}
        self._delivery = Stopwatch(LONG)
        self._settled = Wakeup()

    async def recover(self, accounts: Sequence[tuple[str, str]]) -> None:
        """At the start, before any account: settle or requeue the rows that the last process was sending.

        ``accounts`` are all accounts of this gateway, also removed ones. Waiting rows are counted of configured ones only.
        """
        now = self._now()
        status = await self._store.recover_outbound(
            accounts,
            stale_before=now - self._configured.config.outbox.stale_after_seconds,
            now=now,
            resend=lambda row: self.waits_for_turn(row, at=now),
            notice=self._notice,
        )
        self._counts = {"unknown": status.unknown, "parked": status.parked, "dead": status.dead}
        await self.adopt(list(self._configured.accounts))

    async def adopt(self, accounts: Sequence[tuple[str, str]]) -> None:
        """Load the waiting rows of these accounts, before any of them sends.

        :raises StoreRefused: the store cannot be read.
        """
        for channel, account in accounts:
            await self.queue(channel, account).load()

    def queue(self, channel: str, account: str) -> OutboundQueue:
        """The queue of this account."""
        queue = self._queues.get((channel, account))
        if queue is None:

            async def numbers(after: int, limit: int) -> list[int]:
                return await self._store.ready_numbers(channel, account, after_id=after, limit=limit)

            queue = self._queues[channel, account] = OutboundQueue(
                numbers, self._store.ready_among, self._configured, now=self._now
            )
        return queue

    def forget(self, channel: str, account: str) -> None:
        """Drop the queue of a removed account. Its rows stay in the store and are not counted."""
        self._queues.pop((channel, account), None)

    async def write(self, drafts: Sequence[OutboundDraft]) -> list[OutboundRow]:
        """Commit rows that answer no inbound row, such as notices, and queue them."""
        # Shielded, here and below: a committed row that is not queued would lie there until the next start.
        with anyio.CancelScope(shield=True):
            rows = await self._store.add_outbound(drafts, now=self._now())
        self._enqueue(rows)
        return rows

    async def end_inbound(
        self,
        rows: Sequence[InboundRow],
        state: EndState,
        reason: InboundReason,
        *,
        text: str = "",
        replies: Sequence[OutboundDraft] = (),
        detail: str | None = None,
        turn_id: str | None = None,
        **about: str | None,
    ) -> None:
        """End inbound rows and commit their replies in one transaction, repeated until stored. Then queue the replies,
        and emit an event for each row, with ``about``. ``text`` becomes the reply to the last row, if its channel is configured.
        """
        envelope = rows[-1].envelope
        drafts = replies
        if text and envelope.channel in self._configured.plugins:
            plugin = self._configured.plugin_for(envelope.channel, envelope.account, envelope.peer)
            drafts = draft_replies(envelope, text, plugin, turn_id=turn_id)
            if plugin.ephemeral and reason in FOR_ITS_SENDER and envelope.peer.kind != "dm":
                drafts = [only_for(envelope.sender.id, draft) for draft in drafts]
        written: list[OutboundRow] = []

        async def end() -> None:
            with anyio.CancelScope(shield=True):
                written[:] = await self._store.end_inbound(
                    [row.id for row in rows], state=state, reason=reason, now=self._now(), detail=detail, replies=drafts
                )

        await until_stored(end)
        self._enqueue(written, asked_at=min(row.envelope.received_at for row in rows))
        for row in rows:
            account = {"channel": row.envelope.channel, "account": row.envelope.account}
            self._events.emit(f"inbound.{state}", id=row.id, reason=reason, detail=detail, turn_id=turn_id, **account, **about)

    async def mark_sending(self, row: OutboundRow) -> Call | None:
        """Commit ``sending`` before the call of the platform. Returns which call; None: none, because the row was settled
        elsewhere, is too old, or has a doubt that no call can end."""
        queue = self._queue_of(row)
        # By the timer: its age at the start of the process and the time since. The wall clock may have been set meanwhile.
        if queue is not None and anyio.current_time() - queue.since(row.id) > self._configured.config.outbox.stale_after_seconds:
            await self.settle(row, "parked", reason="stale")
            return None
        plugin, takes = self._configured.plugins.get(row.channel), self._configured.config.outbox.send_timeout_seconds
        call = call_for(row, plugin, at=self._now(), takes=takes)
        if call is None:
            await self.settle(row, "unknown", reason=row.reason)
            return None
        marked = await self._store.mark_sending(row.id)
        if queue is not None:
            queue.note_marked(row.id, marked)
        return call if marked else None

    def waits_for_turn(self, row: OutboundRow, *, at: float) -> bool:
        """Whether a row with a doubt, whose newest send was cut, gets another turn. It comes ``at`` the earliest."""
        plugin, takes = self._configured.plugins.get(row.channel), self._configured.config.outbox.send_timeout_seconds
        return waits_for_turn(row, plugin, at=at, takes=takes)

    async def addressed(self, row: OutboundRow) -> Addressed:
        """What to send for a row. An edit gets the platform's id of its message."""
        edit = row.payload
        return addressed(edit, await self._store.get_outbound(edit.of)) if isinstance(edit, EditText) else Addressed(edit)

    async def settle(
        self,
        row: OutboundRow,
        state: SendOutcome,
        *,
        reason: str | None = None,
        receipt: Receipt | None = None,
        next_attempt_at: float | None = None,
        attempt_counts: bool = True,
        instead: SendText | None = None,
        in_doubt: bool | None = None,
    ) -> None:
        """Record the outcome of a send, see ``ports.store``. A row with a doubt may have been seen, whatever became of its newest
        send: it ends ``unknown``. The notice about that is committed with it, and queued."""
        if row.doubt_since is not None and state in NEVER_SEEN:
            state = "unknown"
        settled = await self._store.settle_outbound(
            row.id,
            state,
            now=self._now(),
            reason=reason,
            receipt=receipt,
            next_attempt_at=next_attempt_at,
            attempt_counts=attempt_counts,
            instead=instead,
            in_doubt=in_doubt,
            notice=self._notice if state == "unknown" else None,
        )
        if state in OUTBOUND_DEAD_LETTERS:
            _warn(row, state, reason)
        self._requeue(row, state, next_attempt_at)
        self._emit(row, state, reason, receipt)
        self._tell(row, state, receipt)
        if settled.notice is not None:
            self._enqueue([settled.notice])
        self.note_reported(settled.reported)
        self._settled.notify()

    def note_reported(self, reported: Sequence[Reported]) -> None:
        """Count and tell what delivery reports have changed. The caller has just committed that."""
        for row, kind in ((each.row, each.kind) for each in reported):
            if kind == "failed":
                _warn(row, row.state, row.reason)
                self._counts[row.state] = self._counts.get(row.state, 0) + 1
                self._tell(row, row.state, None)
            self._emit(row, row.state if kind == "failed" else kind, row.reason, row.receipt)

    def _emit(self, row: OutboundRow, what: OutboundState | ReportKind, reason: str | None, receipt: Receipt | None) -> None:
        self._events.emit(
            f"outbound.{what}",
            id=row.id,
            channel=row.channel,
            account=row.account,
            turn_id=row.turn_id,
            reason=reason,
            message_id=receipt.message_id if receipt else None,
        )

    def _requeue(self, row: OutboundRow, state: OutboundState, next_attempt_at: float | None) -> None:
        """Take a settled row out of its queue, or put it back for another attempt."""
        queue, again = self._queue_of(row), replace(row, next_attempt_at=next_attempt_at, sending_at=None)
        if queue is not None and state in OUTBOUND_OPEN:
            queue.add(again)  # if unknown: its account may have been removed and added again during the send
        if queue is not None and next_attempt_at is not None and row.id in queue:
            queue.hold(again)
        if state in OUTBOUND_OPEN:
            if queue is not None:
                queue.put_back(row)
            return
        self._counts[state] = self._counts.get(state, 0) + 1
        ended = None if queue is None else queue.end(row.id)
        if state == "sent" and ended is not None and ended.asked_at is not None:
            self._delivery.observe(self._now() - ended.asked_at)

    def _tell(self, row: OutboundRow, state: OutboundState, receipt: Receipt | None) -> None:
        if row.subject is None:
            return
        if state in NEVER_SEEN:
            self._outcomes.tell_lost(row.subject)
        if receipt is not None and receipt.message_id is not None:
            self._outcomes.tell_sent(row.subject, receipt.message_id)

    def is_unsettled(self, outbound_id: int) -> bool:
        """Whether a row waits, is being sent, or has an outcome that is not recorded everywhere."""
        return any(outbound_id in queue for queue in self._queues.values())

    def requeue(self, row: OutboundRow, was: DeadLetterState) -> None:
        """Queue a row that an operator has retried and that was settled as ``was``. The caller has just committed that."""
        self._counts[was] = self._counts.get(was, 0) - 1
        self._enqueue([row])

    def note_dropped(self, was: DeadLetterState) -> None:
        """An operator has dropped a row that was settled as ``was``: take it out of the counts."""
        self._counts[was] = self._counts.get(was, 0) - 1

    async def wait_settled(self) -> None:
        """Wait until the next outcome is recorded."""
        await self._settled.wait()

    def status(self) -> OutboxStatus:
        """Counts by state."""
        return OutboxStatus(
            ready=sum(len(queue) - queue.sending for queue in self._queues.values()),
            sending=sum(queue.sending for queue in self._queues.values()),
            unknown=self._counts.get("unknown", 0),
            parked=self._counts.get("parked", 0),
            dead=self._counts.get("dead", 0),
        )

    def sent(self) -> int:
        """Rows sent since the start."""
        return self._counts.get("sent", 0)

    def delivery_times(self) -> Histogram:
        """Durations since the start, from the receipt of a message to the delivery of its whole answer."""
        return self._delivery.histogram

    def due(self, channel: str, account: str) -> int:
        """How many rows of an account can be sent now, without conversations in a pause."""
        queue = self._queues.get((channel, account))
        return 0 if queue is None else queue.due

    def depth(self, channel: str, account: str) -> int:
        """How many rows of an account are unsettled."""
        return len(self._queues.get((channel, account), ()))

    def _enqueue(self, rows: Sequence[OutboundRow], *, asked_at: float | None = None) -> None:
        for row in rows:
            # Before the account gets the row, so that its events are in the right order.
            self._events.emit("outbound.ready", id=row.id, channel=row.channel, account=row.account, turn_id=row.turn_id)
            queue = self._queue_of(row)
            # None: its account is not configured, so nobody sends it.
            if queue is not None:
                # The answer is complete with its last part.
                queue.add(row, asked_at=asked_at if row is rows[-1] else None)

    def _queue_of(self, row: OutboundRow) -> OutboundQueue | None:
        return self._queues.get((row.channel, row.account))


def _warn(row: OutboundRow, state: OutboundState, reason: str | None) -> None:
    _log.warning(
        "reply_not_delivered",
        outcome=state,
        reason=reason,
        channel=row.channel,
        account=row.account,
        conversation=row.conversation,
        turn_id=row.turn_id,
        outbound_id=row.id,
    )
