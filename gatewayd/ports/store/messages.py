"""Messages and replies: the inbox and the outbox."""

from base64 import b32encode
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from typing import Literal, Protocol

from msgspec import Struct

from gatewayd.model.lifecycle import FAIL, EndState, InboundReason, InboundState, OutboundState, SendOutcome
from gatewayd.model.message.envelope import InboundEnvelope, Peer
from gatewayd.model.message.payload import OutboundPayload, Receipt
from gatewayd.model.message.report import DeliveryReport, ReportKind
from gatewayd.model.status import OutboxStatus

Account = tuple[str, str]
"""Channel and name."""
StateValue = tuple[str, str, str, str]
"""Channel, account, key and value."""
AccountReport = tuple[str, str, DeliveryReport]
"""Channel, account and report."""

WAITING_REPORT_SECONDS = 3600.0
WAITING_REPORTS = 1000
"""How long a delivery report waits for its message, and how many wait for each account. The oldest go first."""


class InboundRow(Struct, frozen=True):
    """One journaled envelope. ``reason`` is machine-readable and set in every end state; ``detail`` is the error in words.
    ``attempts`` counts the starts of its turn, the newest at ``started_at``. ``stops`` counts the attempts that an ordered stop
    of the process has cut. ``retries`` counts the retries of a dead letter, each with a new turn; ``closed_at`` is when it was
    dropped.
    """

    id: int
    envelope: InboundEnvelope
    state: InboundState
    attempts: int
    reason: str | None = None
    turn_id: str | None = None
    session_key: str | None = None
    ended_at: float | None = None
    started_at: float | None = None
    retries: int = 0
    closed_at: float | None = None
    detail: str | None = None
    stops: int = 0


class OutboundDraft(Struct, frozen=True):
    """A payload for the outbox. Rows of one ``conversation`` are sent in the order of their ids.

    ``subject`` is the id of the approval or question that the payload shows; others are in ``gatewayd.model.subject``.
    """

    channel: str
    account: str
    conversation: str
    payload: OutboundPayload
    turn_id: str | None = None
    subject: str | None = None


class OutboundRow(Struct, frozen=True):
    """One payload. ``queued_at`` is when it entered the queue, first (``created_at``) or by a retry: it is stale a time after
    that. ``sending_at`` is the time of the newest call to the platform; ``retries`` counts the
    retries of a dead letter; ``closed_at`` is when a person dropped the row. ``delivered_at`` and ``read_at`` are what its
    platform reported.

    ``doubt_since``: the row may have been seen. It is the start of the first send whose outcome is unknown, and has not been
    found out since. A row that is ``unknown`` has it, and a row that is ``sent``, ``parked`` or ``dead`` does not.
    """

    id: int
    channel: str
    account: str
    conversation: str
    payload: OutboundPayload
    state: OutboundState
    attempts: int
    created_at: float
    next_attempt_at: float | None = None
    turn_id: str | None = None
    reason: str | None = None
    receipt: Receipt | None = None
    settled_at: float | None = None
    subject: str | None = None
    queued_at: float = 0.0
    sending_at: float | None = None
    closed_at: float | None = None
    doubt_since: float | None = None
    retries: int = 0
    delivered_at: float | None = None
    read_at: float | None = None

    @property
    def doubt_after_cut(self) -> float:
        """Its doubt, if its newest send was cut."""
        return next((at for at in (self.doubt_since, self.sending_at) if at is not None), self.queued_at)

    @property
    def reports(self) -> list[DeliveryReport]:
        """What its platform has reported of its message, each kind once."""
        if self.receipt is None or self.receipt.message_id is None:
            return []
        times: dict[ReportKind, float | None] = {
            "delivered": self.delivered_at,
            "read": self.read_at,
            "failed": self.settled_at if self.state == FAIL.target else None,
        }
        reasons = {"failed": self.reason}
        return [
            DeliveryReport(self.receipt.message_id, kind, at, reasons.get(kind)) for kind, at in times.items() if at is not None
        ]

    @property
    def send_key(self) -> str:
        """The identity of its send (``ports.channel.Channel.send``): the same in each attempt. A store that was restored from a
        backup uses numbers again, at another time."""
        digest = sha256(f"{self.id} {self.created_at!r} {self.conversation}".encode("utf-8", "surrogatepass"))
        return b32encode(digest.digest()[:15]).decode().lower()


InboundKey = Literal["turn_id", "session_key", "message_id", "given_key"]
OutboundKey = Literal["turn_id", "subject", "message_id"]
"""``message_id`` is that of the receipt."""
NoticeRule = Callable[[OutboundRow, Sequence[OutboundRow]], OutboundDraft | None]
"""Called with a reply as it is now, and with all replies of its turn by number, itself among them (none: it has no turn). Returns
the notice about it, or None."""
ResendRule = Callable[[OutboundRow], bool]
"""Called with a row that was being sent, with its doubt. Returns whether its turn comes again, or it becomes unknown."""


class TranscriptRow(Struct, frozen=True):
    """A message or reply of a conversation. ``at`` is when a message was received (by gatewayd's clock, where the platform gives
    no time), or a reply was written."""

    id: int
    at: float
    state: InboundState | OutboundState
    content: InboundEnvelope | OutboundPayload


class Reported(Struct, frozen=True):
    """What a delivery report has changed: its ``kind``, and the row as it is now."""

    row: OutboundRow
    kind: ReportKind


class Journaled(Struct, frozen=True):
    """``rows`` are the new rows, numbered in the order of the envelopes. ``reported`` has the reports that changed a reply, in
    their order."""

    rows: list[InboundRow]
    reported: list[Reported]


class Settled(Struct, frozen=True):
    """``notice`` is the row that the rule wanted. ``reported``: as in ``Journaled``, of reports that had waited."""

    notice: OutboundRow | None = None
    reported: list[Reported] = []


class Inbox(Protocol):
    async def add_inbound(
        self,
        envelopes: Sequence[InboundEnvelope],
        *,
        state: Sequence[StateValue] = (),
        reports: Sequence[AccountReport] = (),
    ) -> Journaled:
        """Journal envelopes, save these values of the state, and apply these reports, one after the other, in the same
        transaction, also when nothing is new.

        Idempotent by (channel, account, event_key), also within one call: a known envelope is skipped.

        A report belongs to the newest reply of its account, edits apart, whose receipt has its message id. ``delivered`` and
        ``read`` are stored once, with their time, in a row that is ``sent`` or ``dead``. ``failed`` makes a ``sent`` row
        ``dead``, with the reason of the report, unless it was delivered or read. A report without a reply waits for it
        (``settle_outbound``), for ``WAITING_REPORT_SECONDS``, and at most ``WAITING_REPORTS`` of each account.
        """

    async def find_inbound(self, channel: str, account: str, event_key: str) -> InboundRow | None: ...

    async def get_inbound(self, inbound_id: int) -> InboundRow | None: ...

    async def inbound_by(
        self, key: InboundKey, value: str, *, account: Account | None = None, limit: int | None = None
    ) -> list[InboundRow]:
        """The newest ``limit`` rows with this value, by number; None: all. ``account``: only rows of this account."""

    async def start_turn(self, inbound_ids: Sequence[int], *, turn_id: str, session_key: str) -> None:
        """Mark all rows as running, add one to their attempts, and store the time, the turn and the session key. A row that has
        ended stays ended. Not idempotent: each call is one more attempt."""

    async def note_stop(self, inbound_ids: Sequence[int]) -> None:
        """Add one to the ``stops`` of those of these rows that are running: an ordered stop of the process has cut their newest
        attempt, which is not counted as a failure. Not idempotent."""

    async def end_inbound(
        self,
        inbound_ids: Sequence[int],
        *,
        state: EndState,
        reason: InboundReason,
        now: float,
        detail: str | None = None,
        replies: Sequence[OutboundDraft] = (),
    ) -> list[OutboundRow]:
        """End those of these rows that have not ended, and write their replies in the same transaction.

        Idempotent by the rows: if all have ended already, nothing is written and the result is empty. Otherwise the result is the
        new rows of the outbox, numbered in the order of the drafts.
        """

    async def pending_inbound(self, accounts: Collection[Account], *, after_id: int, limit: int) -> list[InboundRow]:
        """At most ``limit`` rows of these accounts that are received or running, by number, from behind ``after_id``."""


class OutboxRows(Protocol):
    async def add_outbound(self, drafts: Sequence[OutboundDraft], *, now: float) -> list[OutboundRow]:
        """Add rows in the state ``ready``, numbered in the order of the drafts. Not idempotent."""

    async def mark_sending(self, outbound_id: int) -> bool:
        """ready -> sending, before the call to the platform. Adds one to the attempts and stores the time. False, and nothing is
        changed: the row is not ready. Of two calls at once one gets True."""

    async def settle_outbound(
        self,
        outbound_id: int,
        state: SendOutcome,
        *,
        now: float,
        reason: str | None = None,
        receipt: Receipt | None = None,
        next_attempt_at: float | None = None,
        attempt_counts: bool = True,
        instead: OutboundPayload | None = None,
        in_doubt: bool | None = None,
        notice: NoticeRule | None = None,
    ) -> Settled:
        """Store the outcome of a send: the state, and reason, receipt and next_attempt_at as given, also where they are None. A
        row whose life-cycle does not allow the move stays as it is: a row that was ``sent`` is never sent again, one with a
        doubt does not become ``parked`` or ``dead``, and one that waits without a doubt does not become ``unknown``.
        ``attempt_counts`` False: the attempt that ``mark_sending`` has counted is taken back. ``instead``: if the row has
        changed, this is its payload from now on.

        The doubt of a row that becomes ``unknown`` begins with its newest send, if it has none yet. The doubt of a row that
        becomes ``sent`` ends. Of a row that becomes ``ready`` it begins likewise (``in_doubt`` True), ends (False), or stays as
        it is (None): the send surely had no effect.

        ``notice`` is called if the row has changed. What it returns is added in the same transaction. Of two calls at once the
        second one sees the notice of the first.

        Of a row that becomes ``sent`` and is no edit, the reports that wait for its message id are applied in the same
        transaction, as in ``add_inbound``. With a ``failed`` one, and none that says that it was delivered or read, the row
        becomes ``dead``.
        """

    async def ready_numbers(self, channel: str, account: str, *, after_id: int, limit: int) -> list[int]:
        """The numbers of at most ``limit`` ready rows of an account, in order, from behind ``after_id``; also of rows with a
        next_attempt_at in the future."""

    async def ready_among(self, outbound_ids: Sequence[int]) -> list[OutboundRow]:
        """The ready ones of these rows, by number."""

    async def recover_outbound(
        self,
        accounts: Collection[Account],
        *,
        stale_before: float,
        now: float,
        resend: ResendRule | None = None,
        notice: NoticeRule | None = None,
    ) -> OutboxStatus:
        """Recover the rows of these accounts after a start, in one transaction.

        The doubt of a ``sending`` row begins with its send, if it has none yet. Then it becomes ``ready`` where ``resend`` says
        so, else ``unknown`` (both with the reason interrupted). A ``ready`` row that was queued before ``stale_before`` becomes
        ``parked``, or ``unknown`` if it has a doubt (reason stale), unless its next attempt is in the future. For each row that
        becomes unknown, by number, ``notice`` is called as in ``settle_outbound``. Returns the counts of the rows of all
        accounts by state, without dropped ones.
        """

    async def get_outbound(self, outbound_id: int) -> OutboundRow | None: ...

    async def outbound_by(
        self, key: OutboundKey, value: str, *, account: Account | None = None, limit: int | None = None
    ) -> list[OutboundRow]:
        """As ``inbound_by``."""

    async def transcript(self, channel: str, account: str, peer: Peer, *, limit: int) -> list[TranscriptRow]:
        """The newest ``limit`` messages and replies of a conversation, without button presses, reactions, deletions and edits of
        replies; and beside them the edits that are newer than the oldest of these replies and that somebody has seen or may
        see. By ``at``; at the same time, edits come before messages, and messages before replies, each by number."""
