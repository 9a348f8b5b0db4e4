"""The sends of one account: rows from its mailbox to ``Channel.send``, and every outcome to the outbox, which posts the next row.

A row is marked ``sending`` before the call and settled after it. A send that is cut may have had its effect. Then the row has a
doubt: its turn comes again where a second send is seen once, or where the platform can be asked (``Reconciles.find_sent``), which
is a turn of its own. Else it is ``unknown``. A row without a call is put back. Stopping takes no new rows and lets running calls
end.
"""

import math
from collections.abc import Awaitable, Callable

import anyio
import trio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream
from msgspec import Struct
from msgspec.structs import replace

from gatewayd.actor.backoff import Backoff
from gatewayd.actor.border import Bug, describe, redact_error, sole, third_party
from gatewayd.actor.life import Life
from gatewayd.actor.wakeup import Wakeup
from gatewayd.hub.accounts.pace import Held, Pace
from gatewayd.hub.outbox.doubt import Call
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.model.config import OutboxSection
from gatewayd.model.errors import AnswerExpired, GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, StoreRefused, TryAgain
from gatewayd.model.lifecycle import SendOutcome
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt, SendFile, SendText
from gatewayd.model.records.storable import why_unusable
from gatewayd.model.secret import Redactor, Secret
from gatewayd.ports.channel import Channel, Reconciles
from gatewayd.ports.store import OutboundRow

_SETTLE_SECONDS = 10.0
"""How long the store may take for one outcome, also while the account is being stopped."""


class SendResult(Struct, frozen=True):
    """The outcome of one call: how the row is settled, and the error with which the account fails, if it does.
    ``attempt_counts``: it counts for ``outbox.max_attempts``. ``instead`` is sent in place of an edit that cannot be made.
    ``in_doubt``: see ``ports.store.OutboxRows.settle_outbound``."""

    state: SendOutcome
    reason: str | None = None
    receipt: Receipt | None = None
    next_attempt_at: float | None = None
    failure: BaseException | None = None
    attempt_counts: bool = True
    instead: SendText | None = None
    in_doubt: bool | None = None


class Sender:
    """Outlives the lives of its account: it keeps the running calls and the outcomes that the store has not taken."""

    def __init__(
        self,
        channel: str,
        account: str,
        outbox: Outbox,
        backoff: Backoff,
        config: OutboxSection,
        *,
        now: Callable[[], float],
        redact: Callable[[str], str],
    ) -> None:
        self._channel = channel
        self._account = account
        self._outbox = outbox
        self._backoff = backoff
        self._config = config
        self._now = now
        self._redact = redact
        self._pace = Pace(backoff, now=now)
        self._busy: set[int] = set()
        self._changed = Wakeup()
        self._calls: dict[int, trio.CancelScope] = {}
        self._unsettled: dict[int, tuple[OutboundRow, SendResult]] = {}
        self._used_retries: dict[int, int] = {}
        self.last_sent_at: float | None = None

    def reconfigure(self, config: OutboxSection) -> None:
        """Send by these settings from now on. Running calls keep their time-out."""
        self._config = config
        self._note_change()

    @property
    def held(self) -> Held | None:
        """Why the account sends nothing for a while, although it is connected."""
        return self._pace.held

    @property
    def hold_seconds(self) -> float:
        """For how many seconds no send may be tried."""
        return self._pace.seconds_left

    def hold(self, error: TryAgain) -> None:
        """Send nothing for a while: something else than a send was too fast."""
        self._pace.hold(error, self._redact(error.reason))

    @property
    def seconds_left(self) -> float:
        """How long the running calls may still take, with the settling of their rows. 0 without running calls."""
        latest = max((scope.deadline for scope in self._calls.values()), default=-math.inf)
        return max(0.0, latest - trio.current_time() + _SETTLE_SECONDS) if self._calls else 0.0

    def cut_after(self, seconds: float) -> None:
        """Cut the calls that still run after so many seconds; then their outcome is unknown."""
        by = trio.current_time() + seconds
        for scope in self._calls.values():
            scope.deadline = min(scope.deadline, by)

    async def run(self, channel: Channel, life: Life) -> None:
        """Send until cancelled; then take no more rows, and return when the running calls have ended.

        :raises TryAgain: the whole account has to wait because of a failed send, or the store refuses to write.
        :raises NeedsOperator: a send said so.
        :raises Exception: a bug of the driver. Its row is a dead letter, so it happens once.
        """
        await self.record_results()
        queue = self._outbox.queue(self._channel, self._account)
        # A writer that was cancelled right after its commit has left a row that only the store has.
        await _reading(queue.load)
        async with anyio.create_task_group() as calls:
            try:
                with queue.open() as mailbox:
                    calls.start_soon(_reading, queue.feed)
                    await self._dispatch(channel, life, calls, mailbox)
            finally:
                life.closing(after=self.seconds_left)

    @property
    def has_unsettled(self) -> bool:
        """Whether outcomes of earlier lives are not recorded yet."""
        return bool(self._unsettled)

    async def record_results(self) -> None:
        """Record the outcomes of earlier lives. :raises TryAgain: the store still refuses, or does not answer."""
        while self._unsettled:
            row, outcome = self._unsettled.pop(next(iter(self._unsettled)))
            await self._settle(row, outcome)

    async def _dispatch(
        self, channel: Channel, life: Life, calls: TaskGroup, mailbox: MemoryObjectReceiveStream[OutboundRow]
    ) -> None:
        # Of this life only: abandoned calls of an earlier life may never end.
        busy = self._busy = set()
        while True:
            await self._wait_for_slot(life)
            row = await mailbox.receive()
            busy.add(row.id)
            calls.start_soon(self._send, channel, life, row, busy)

    async def _wait_for_slot(self, life: Life) -> None:
        """While the account is interrupted, nothing is sent. While it is too fast, one send is tried at a time."""
        while True:
            if not life.is_connected:
                await life.wait_connected()
            elif len(self._busy) >= (self._config.concurrency if self._pace.held is None else 1):
                await self._changed.wait()
            elif not self._pace.is_over:
                await self._pace.wait()
            else:
                return

    async def _send(self, channel: Channel, life: Life, row: OutboundRow, busy: set[int]) -> None:
        try:
            await self._send_one(channel, life, row)
        finally:
            busy.discard(row.id)
            self._note_change()

    def _note_change(self) -> None:
        self._changed.notify()

    async def _send_one(self, channel: Channel, life: Life, row: OutboundRow) -> None:
        if trio.current_effective_deadline() == -math.inf or not self._pace.is_over or not life.is_connected:
            # The account was stopped or interrupted, or has to wait, since the row was taken.
            self._outbox.queue(self._channel, self._account).put_back(row, changed=False)
            return
        outcome = await self._call(channel, life, row)
        if outcome is not None:
            await self._settle(row, outcome)
            if outcome.failure is not None:
                raise outcome.failure

    async def _call(self, channel: Channel, life: Life, row: OutboundRow) -> SendResult | None:
        """The one call. None: the row is not ready any more. Shielded: only its own deadline may end it."""
        seconds = self._config.send_timeout_seconds
        began_at, began = trio.current_time(), self._now()
        call: Call | None = None
        addressed, payload, receipt, error, answered = None, None, None, None, False
        scope = self._calls[row.id] = trio.CancelScope(shield=True, deadline=began_at + seconds)
        try:
            with life.must_end_within(seconds + _SETTLE_SECONDS), scope:
                call = await self._outbox.mark_sending(row)
                if call is None:
                    return None
                addressed = await self._outbox.addressed(row)
                if addressed.payload is None:
                    raise SendRejected("the message to edit was not sent")
                payload = addressed.payload
                if call == "look_up":
                    may_send = row.retries > self._used_retries.get(row.id, 0)
                    call, receipt = await _look_up(channel, row, payload, may_send=may_send)
                if call == "send":
                    receipt = await _send_row(channel, row, payload)
                answered = True
        except Exception as caught:
            _hide_answer(caught, payload)
            error = sole(caught)
        finally:
            del self._calls[row.id]
        if receipt is not None:
            self._pace.note_success()
            return SendResult("sent", receipt=receipt)
        if isinstance(error, SendRejected) and addressed is not None and addressed.instead is not None:
            reason = f"as a new message: {self._redact(error.reason)}"
            return SendResult("ready", reason, attempt_counts=False, instead=addressed.instead, in_doubt=False)
        if payload is None:
            return _not_called(error)
        if answered:
            return SendResult("ready", "the platform was asked: it did not arrive", attempt_counts=False, in_doubt=False)
        if error is None or (scope.cancel_called and not isinstance(error, GatewayError)):
            # An error that a driver raises while it cleans up is no answer either.
            cut = f"cut after {trio.current_time() - began_at:.3g} s without an answer"
            result = self._judge_no_answer(row, cut) if call == "look_up" else self._judge_doubt(row, began, cut)
            return replace(result, failure=error)
        return self._judge_look_up(row, error) if call == "look_up" else self._judge_error(row, began, error)

    def _judge_look_up(self, row: OutboundRow, error: BaseException) -> SendResult:
        match error:
            case TryAgain():
                return self._judge_outage(row, error)
            case NeedsOperator():
                return SendResult("ready", self._redact(error.reason), failure=error)
            case StoreRefused():
                return self._judge_no_answer(row, error.reason)
            case OutcomeUnknown():
                return SendResult("unknown", self._redact(error.reason))
            case _:
                return SendResult("unknown", f"bug: {describe(error, self._redact)}", failure=error)

    def _judge_no_answer(self, row: OutboundRow, reason: str) -> SendResult:
        """The platform could not be asked: later."""
        return self._judge_outage(row, TryAgain(reason, scope="conversation"))

    def _judge_doubt(self, row: OutboundRow, began: float, reason: str) -> SendResult:
        """A send that began at ``began`` may have had its effect."""
        if row.retries:
            self._used_retries[row.id] = row.retries
        attempts = row.attempts + 1
        next_attempt_at = self._now() + self._backoff.delay(attempts)
        since = began if row.doubt_since is None else row.doubt_since
        if not self._outbox.waits_for_turn(replace(row, doubt_since=since), at=next_attempt_at):
            return SendResult("unknown", reason)
        if attempts >= self._config.max_attempts:
            return SendResult("unknown", f"given up after {attempts} attempts: {reason}")
        return SendResult("ready", reason, next_attempt_at=next_attempt_at, in_doubt=True)

    def _judge_error(self, row: OutboundRow, began: float, error: BaseException) -> SendResult:
        match error:
            case TryAgain():
                return self._judge_outage(row, error)
            case NeedsOperator():
                return SendResult("ready", self._redact(error.reason), failure=error)
            case SendRejected():
                return SendResult("dead", self._redact(error.reason))
            case AnswerExpired() if row.doubt_since is not None:
                return SendResult("unknown", self._redact(error.reason))
            case OutcomeUnknown() | StoreRefused():
                # The driver stores something of its own with a send, before its call or after it.
                return self._judge_doubt(row, began, self._redact(error.reason))
            case _:
                return SendResult("dead", f"bug: {describe(error, self._redact)}", failure=error)

    def _judge_outage(self, row: OutboundRow, error: TryAgain) -> SendResult:
        reason = self._redact(error.reason)
        if error.scope == "sends":
            seconds = self._pace.hold(error, reason)
            return SendResult("ready", reason, next_attempt_at=self._now() + seconds, attempt_counts=False)
        attempts = row.attempts + 1
        failure = error if error.scope == "account" else None
        if attempts >= self._config.max_attempts:
            # The next rows of the conversation wait as long as the platform has asked.
            pause = None if error.after_seconds is None else self._now() + error.after_seconds
            return SendResult("dead", f"given up after {attempts} attempts: {reason}", next_attempt_at=pause, failure=failure)
        delay = self._backoff.delay(attempts, at_least=error.after_seconds)
        return SendResult("ready", reason, next_attempt_at=self._now() + delay, failure=failure)

    async def _settle(self, row: OutboundRow, outcome: SendResult) -> None:
        """Record the outcome. If that fails, keep it for ``record_results``.

        :raises TryAgain: the store refuses, or does not answer.
        """
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _SETTLE_SECONDS) as scope:
            try:
                await self._outbox.settle(
                    row,
                    outcome.state,
                    reason=outcome.reason,
                    receipt=outcome.receipt,
                    next_attempt_at=outcome.next_attempt_at,
                    attempt_counts=outcome.attempt_counts,
                    instead=outcome.instead,
                    in_doubt=outcome.in_doubt,
                )
            except StoreRefused as error:
                self._unsettled[row.id] = row, outcome
                raise TryAgain(f"the store cannot record what was sent: {error.reason}") from error
        if scope.cancelled_caught:
            self._unsettled[row.id] = row, outcome
            raise TryAgain(f"the store did not record what was sent within {_SETTLE_SECONDS:g} s")
        if outcome.state != "ready":
            self._used_retries.pop(row.id, None)
        if outcome.state == "sent":
            self.last_sent_at = self._now()


async def _send_row(channel: Channel, row: OutboundRow, payload: OutboundPayload) -> Receipt:
    """Send a payload. An answer to an event that has expired was not sent, and is sent the plain way. Not with a doubt: the send
    before may be what has used it up."""
    if not isinstance(payload, EditText) and payload.answer_with is not None:
        try:
            return await _send(channel, payload, row.send_key)
        except Exception as error:
            if not isinstance(sole(error), AnswerExpired) or (row.doubt_since is not None and not row.retries):
                raise
        payload = replace(payload, answer_with=None)
    return await _send(channel, payload, row.send_key)


async def _send(channel: Channel, payload: OutboundPayload, key: str) -> Receipt:
    with third_party():
        return _receipt(await channel.send(payload, key=key))


async def _look_up(
    channel: Channel, row: OutboundRow, payload: OutboundPayload, *, may_send: bool
) -> tuple[Call, Receipt | None]:
    """Look a row up. With "send", it must be sent now: it ``may_send``, once for each retry, and the platform can never tell.

    :raises Exception: as ``find_sent``, or a bug of the driver.
    """
    assert row.doubt_since is not None, "nothing is looked up without a doubt"
    try:
        with third_party():
            if not isinstance(channel, Reconciles):
                raise Bug("the manifest says that the channel reconciles, and it has no find_sent")
            found: object = await channel.find_sent(payload, key=row.send_key, since=row.doubt_since)
            receipt = None if found is None else _usable(found)
            if found is not None and receipt is None:
                raise Bug("find_sent returned neither None nor a Receipt with the message's id as a text")
    except Exception as error:
        if may_send and isinstance(sole(error), OutcomeUnknown):
            return "send", None
        raise
    return "look_up", receipt


def _hide_answer(error: Exception, payload: OutboundPayload | None) -> None:
    """What a message is answered with may be in an error, for example as the URL of a request that has failed."""
    if isinstance(payload, SendText | SendFile) and payload.answer_with is not None:
        redact_error(error, Redactor([Secret(payload.answer_with)]))


async def _reading(work: Callable[[], Awaitable[None]]) -> None:
    """:raises TryAgain: the store cannot be read."""
    try:
        await work()
    except StoreRefused as error:
        raise TryAgain(f"the store cannot be read: {error.reason}") from error


def _receipt(found: object) -> Receipt:
    """:raises OutcomeUnknown: it is no receipt, although ``send`` returned."""
    receipt = _usable(found)
    if receipt is None:
        raise OutcomeUnknown("bug: send returned no Receipt with the message's id as a text")
    return receipt


def _usable(found: object) -> Receipt | None:
    """What a driver gave as the receipt; None: it is none."""
    if type(found) is not Receipt or not isinstance(found.message_id, str | None):
        return None
    if found.message_id is not None and why_unusable(found.message_id) is not None:
        return Receipt()  # it was sent all the same; it cannot be edited, that is all
    return found


def _not_called(error: BaseException | None) -> SendResult:
    """The row could not be marked, so it was not sent, whatever state the store has."""
    if isinstance(error, StoreRefused):
        refused = TryAgain(f"the store cannot record what is sent: {error.reason}")
        return SendResult("ready", failure=refused, attempt_counts=False)
    if isinstance(error, SendRejected):
        return SendResult("dead", error.reason)
    return SendResult("ready", failure=error or TryAgain("the store did not answer in time"), attempt_counts=False)
