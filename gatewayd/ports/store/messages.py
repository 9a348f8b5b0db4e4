"""Messages and replies: the inbox and the outbox."""

from collections.abc import Callable, Collection, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from gatewayd.model.lifecycle import EndState, InboundReason, InboundState, OutboundState, SendOutcome
from gatewayd.model.message.envelope import InboundEnvelope, Peer
from gatewayd.model.message.payload import OutboundPayload, Receipt
from gatewayd.model.status import OutboxStatus

Account = tuple[str, str]
"""Channel and name."""


class InboundRow(Struct, frozen=True):
    """One journaled envelope. ``reason`` is machine-readable, set on every end state; ``attempts`` counts turn starts, the newest
    of them at ``started_at``. ``retries`` counts how often a person had a dead letter run again, each time as a new turn;
    ``closed_at`` is when one dropped it. ``detail`` says in words what went wrong. ``stops`` counts the attempts
    that an ordered stop has cut."""

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
    """A payload to be written to the outbox. Rows of one ``conversation`` are sent in the order of their ids.

    ``subject`` is what it is about: the id of the approval or question whose prompt it is.
    """

    channel: str
    account: str
    conversation: str
    payload: OutboundPayload
    turn_id: str | None = None
    subject: str | None = None


class OutboundRow(Struct, frozen=True):
    """One payload. ``queued_at`` is when it was put in the queue, first (``created_at``) or again by a person: its age for being
    stale. ``sending_at`` is the newest call to the platform; ``closed_at`` is when a person dropped it."""

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


InboundKey = Literal["turn_id", "session_key", "message_id", "given_key"]
OutboundKey = Literal["turn_id", "subject", "message_id"]
"""``message_id`` is that of the receipt."""
NoticeRule = Callable[[OutboundRow, Sequence[OutboundRow]], OutboundDraft | None]
"""Called with a reply as it is now, and with all replies of its turn by number, itself among them (none where it has no turn).
Gives what is written about it, or None."""


class TranscriptRow(Struct, frozen=True):
    """A message or reply of a conversation. ``at`` is when it was received (by our clock, where its platform does not say) or
    written."""

    id: int
    at: float
    state: InboundState | OutboundState
    content: InboundEnvelope | OutboundPayload


class Inbox(Protocol):
    async def add_inbound(
        self, envelopes: Sequence[InboundEnvelope], *, save_state: tuple[str, str, str, str] | None = None
    ) -> list[InboundRow]:
        """Journal envelopes, and save a value of the state (channel, account, key, value) in the same transaction, also when
        nothing is new.

        Idempotent by (channel, account, event_key), within one call, too: an envelope that is known is skipped. Returns the rows
        that are new, numbered in the order of the envelopes.
        """

    async def find_inbound(self, channel: str, account: str, event_key: str) -> InboundRow | None: ...

    async def get_inbound(self, inbound_id: int) -> InboundRow | None: ...

    async def inbound_by(
        self, key: InboundKey, value: str, *, account: Account | None = None, limit: int | None = None
    ) -> list[InboundRow]:
        """The newest ``limit`` rows with this value, by number; None: all. ``account``: only rows of this account."""

    async def start_turn(self, inbound_ids: Sequence[int], *, turn_id: str, session_key: str) -> None:
        """Mark rows running, add one to their attempts, and note the time, the turn and the session key. All rows at once; one
        that has ended stays ended. Not idempotent: each call is one attempt more."""

    async def note_stop(self, inbound_ids: Sequence[int]) -> None:
        """Add one to the ``stops`` of those of these rows that run: an ordered stop has cut their newest attempt, and it is held
        against nobody. Not idempotent."""

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
        """End rows, and write their replies in the same transaction. Of several rows those are ended that have not ended yet.

        Idempotent by the rows: if all of them have ended already, nothing is written and the result is empty. Else it is the new
        rows of the outbox, numbered in the order of the drafts.
        """

    async def pending_inbound(self, accounts: Collection[Account], *, after_id: int, limit: int) -> list[InboundRow]:
        """At most ``limit`` rows of these accounts that are received or running, with a larger number than ``after_id``, by
        number."""


class OutboxRows(Protocol):
    async def add_outbound(self, drafts: Sequence[OutboundDraft], *, now: float) -> list[OutboundRow]:
        """Add rows that are ready, all at once, numbered in the order of the drafts. Not idempotent."""

    async def mark_sending(self, outbound_id: int) -> bool:
        """ready -> sending, before the call to the platform; adds one to attempts and notes the time. False, and nothing is
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
        notice: NoticeRule | None = None,
    ) -> OutboundRow | None:
        """Put a row into ``state``, with these and no other reason, receipt and next_attempt_at. A row whose life-cycle does not
        lead there stays as it is: what was ``sent`` is not sent again, whatever comes later. ``attempt_counts``: or the attempt
        that ``mark_sending`` has counted is taken back.

        What ``notice`` gives for the row is added in the same transaction, and returned. It is not called for a row that stays as
        it was. Of two calls at once the second one sees the notice of the first.
        """

    async def ready_numbers(self, channel: str, account: str, *, after_id: int, limit: int) -> list[int]:
        """The numbers of at most ``limit`` rows of an account that are ready, those larger than ``after_id``, in order; also of
        those with a next_attempt_at in the future."""

    async def ready_among(self, outbound_ids: Sequence[int]) -> list[OutboundRow]:
        """Those of these rows that are ready, by number."""

    async def recover_outbound(
        self,
        accounts: Collection[Account],
        *,
        stale_before: float,
        now: float,
        resend: Collection[str] = (),
        notice: NoticeRule | None = None,
    ) -> OutboxStatus:
        """At start, for the rows of these accounts and no others: every ``sending`` row becomes ``unknown`` (reason interrupted),
        or ``ready`` again if its channel is in ``resend``; every ``ready`` row queued before ``stale_before`` becomes ``parked``
        (reason stale), unless its next attempt is to come: its conversation waits for that. For each that becomes unknown, by
        number, what ``notice`` gives is added, as in ``settle_outbound``. All in one transaction.
        Returns the counts by state, of all accounts, without what a person has dropped."""

    async def get_outbound(self, outbound_id: int) -> OutboundRow | None: ...

    async def outbound_by(
        self, key: OutboundKey, value: str, *, account: Account | None = None, limit: int | None = None
    ) -> list[OutboundRow]:
        """As ``inbound_by``."""

    async def transcript(self, channel: str, account: str, peer: Peer, *, limit: int) -> list[TranscriptRow]:
        """The newest ``limit`` messages and replies of one conversation, without presses of buttons and edits of replies, and of
        such edits those that were written after the oldest reply among them and that somebody has seen or may see. By ``at``; of
        the same instant, edits before messages before replies, each by number."""
