"""The socket for stores: small protocols per concern, one class per database.

Every write method returns after the commit (durable: a power cut after the return loses nothing the disk did not lie
about). Every method may raise StoreRefused when the disk is full or the file is damaged: the caller must then not
acknowledge. Times are Unix seconds.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from gatewayd.model.approval import Approval, Vote
from gatewayd.model.audit import AuditDraft, AuditRow
from gatewayd.model.envelope import InboundEnvelope, Peer
from gatewayd.model.event import Event
from gatewayd.model.histogram import Histogram
from gatewayd.model.lifecycle import (
    ApprovalState,
    EndState,
    InboundReason,
    InboundState,
    OutboundState,
    Outcome,
    PairingDecision,
    PairingState,
    QuestionEnd,
    SendOutcome,
)
from gatewayd.model.payload import Choice, OutboundPayload, Receipt
from gatewayd.model.question import QuestionRow
from gatewayd.model.status import OutboxStatus
from gatewayd.ports.sessions import Sessions


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

    ``subject`` is what it is about: the id of the approval or question whose card it is.
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


class EventDraft(Struct, frozen=True):
    """``data`` is the encoded JSON object."""

    at: float
    kind: str
    data: bytes


class PairingRow(Struct, frozen=True):
    """A stranger who asked. ``state`` is pending until an operator decides; it is void after ``expires_at``."""

    code: str
    channel: str
    account: str
    sender_id: str
    sender_name: str | None
    peer: Peer
    state: PairingState
    created_at: float
    expires_at: float
    decided_at: float | None = None
    decided_by: str | None = None


class TokenRow(Struct, frozen=True):
    """A bearer token or a webchat login. Only ``digest`` (SHA-256 hex) is stored. ``kind``: token, login_code, web_session."""

    digest: str
    kind: Literal["token", "login_code", "web_session"]
    name: str
    role: str
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float | None = None


class ChatLine(Struct, frozen=True):
    """One line of a conversation's transcript: from the inbox (``direction`` in) or the outbox (out).

    ``text`` and ``choices`` are those of its newest edit, whose row is ``edit``; 0: it was never edited. ``event_key`` is that of
    a line from the inbox.
    """

    direction: Literal["in", "out"]
    id: int
    at: float
    text: str
    state: str
    choices: tuple[tuple[Choice, ...], ...] = ()
    edit: int = 0
    event_key: str = ""


class Inbox(Protocol):
    async def add_inbound(
        self, envelopes: Sequence[InboundEnvelope], *, memo: tuple[str, str, str, str] | None = None
    ) -> list[InboundRow]:
        """Journal envelopes in order, in one transaction with ``memo`` (channel, account, key, value).

        Returns the rows that are new, in order; an envelope whose (channel, account, event_key) is known is skipped.
        """

    async def find_inbound(self, channel: str, account: str, event_key: str) -> InboundRow | None: ...

    async def get_inbound(self, inbound_id: int) -> InboundRow | None: ...

    async def start_turn(self, inbound_ids: Sequence[int], *, turn_id: str, session_key: str) -> None:
        """Mark rows running, add one to their attempts, note the time. A row that has ended stays ended."""

    async def note_stop(self, inbound_ids: Sequence[int]) -> None:
        """An ordered stop has cut the newest attempt of these running rows: it is held against nobody."""

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
        """End inbound rows and write their replies in one transaction. If every row has ended already, nothing is
        written and the result is empty; else the new outbox rows, in order."""

    async def pending_inbound(self, *, after_id: int, limit: int) -> list[InboundRow]:
        """Rows received or running, by id."""


class OutboxRows(Protocol):
    async def add_outbound(self, drafts: Sequence[OutboundDraft], *, now: float) -> list[OutboundRow]: ...

    async def mark_sending(self, outbound_id: int) -> bool:
        """ready -> sending, committed before the call to the platform; adds one to attempts. False if it is not ready."""

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
        notice: OutboundDraft | None = None,
    ) -> OutboundRow | None:
        """Put a row into ``state``, with these and no other reason, receipt and next_attempt_at. A row whose life-cycle does not
        lead there stays as it is: what was ``sent`` is not sent again, whatever comes later. ``attempt_counts``: or the attempt
        that ``mark_sending`` has counted is taken back. ``notice`` about its reply is written with it, and returned, unless its
        turn has one."""

    async def ready_outbound(self, channel: str, account: str, *, after_id: int, limit: int) -> list[OutboundRow]:
        """Rows ready (also those with a next_attempt_at in the future), by id."""

    async def recover_outbound(
        self,
        *,
        stale_before: float,
        now: float,
        resend: Collection[str] = (),
        notice: Callable[[OutboundRow], OutboundDraft | None] = lambda row: None,
    ) -> OutboxStatus:
        """At start: every ``sending`` row becomes ``unknown`` (reason interrupted), or ``ready`` again if its channel is in
        ``resend``; every ``ready`` row queued before ``stale_before`` becomes ``parked`` (reason stale), unless its next
        attempt is to come: its conversation waits for that. Of each that becomes unknown ``notice`` is asked for what is
        written about it, as in ``settle_outbound``. Returns the counts by state."""

    async def list_outbound(self, states: Sequence[OutboundState], *, limit: int) -> list[OutboundRow]:
        """The newest rows in these states, newest first."""

    async def get_outbound(self, outbound_id: int) -> OutboundRow | None: ...

    async def outbound_about(self, subject: str) -> list[OutboundRow]:
        """The rows with this subject, by id."""

    async def replies_of(self, turn_id: str) -> list[OutboundRow]:
        """By id."""

    async def transcript(self, channel: str, account: str, peer: Peer, *, limit: int) -> list[ChatLine]:
        """The newest ``limit`` lines of one conversation, oldest first. Presses of buttons are no lines, nor are edits."""


class Approvals(Protocol):
    """Every change takes the audit entry that is committed with it."""

    async def add_approval(self, approval: Approval, *, audit: AuditDraft | None = None) -> Approval:
        """Insert, or return the row with the same (turn_id, ordinal) if there is one. ``audit`` only if it is inserted."""

    async def get_approval(self, approval_id: str) -> Approval | None:
        """By id or, without regard to case, by code: of several rows with one code the newest."""

    async def approvals_of(self, turn_id: str) -> list[Approval]:
        """By ordinal."""

    async def list_approvals(self, state: ApprovalState | None, *, limit: int) -> list[Approval]:
        """Pending ones oldest first (they are a queue), all others, and None for every state, newest first."""

    async def vote_approval(
        self, approval_id: str, vote: Vote, *, person_of: Callable[[str], str], now: float, audit: AuditDraft
    ) -> Approval | None:
        """Add a vote to a pending row. One no denies it; the yes of as many people as its quorum allow it: ``person_of`` says
        whose identity one is. When every yes was for the session, the row's scope is that, and what was offered is granted.
        None: it is not pending, or this person has voted."""

    async def decide_approval(
        self, approval_id: str, state: Outcome, *, by: str, note: str | None, now: float, audit: AuditDraft | None = None
    ) -> Approval | None:
        """pending -> state. None if it is not pending (any more): the caller looks and says why."""

    async def consume_approval(self, approval_id: str, *, ref: str | None = None, now: float) -> bool:
        """Use an allowed row, once, for what the core knows as ``ref``. False if it is not allowed or was used."""

    async def find_grant(self, session_key: str, session_id: str, tool: str, input_hash: str, *, any_input: bool) -> str | None:
        """The id of the approval that allowed this for the session, for exactly this input or, if that counts, for any."""


class Questions(Protocol):
    async def add_question(self, row: QuestionRow) -> QuestionRow:
        """Insert, or return the row with the same (turn_id, ordinal) if there is one."""

    async def questions_of(self, turn_id: str) -> list[QuestionRow]:
        """By ordinal."""

    async def pending_questions(self, *, limit: int) -> list[QuestionRow]:
        """The oldest first."""

    async def end_question(
        self,
        question_id: str,
        state: QuestionEnd,
        *,
        now: float,
        answers: tuple[str, ...] = (),
        by: str | None = None,
        inbound_ids: Sequence[int] = (),
    ) -> QuestionRow | None:
        """pending -> state; in the same transaction the inbound rows that answered are done, reason ``answer``. None, and
        nothing is changed, when the question is not pending."""


class AuditRows(Protocol):
    async def add_audit(self, draft: AuditDraft) -> AuditRow: ...

    async def audit_after(self, seq: int, *, limit: int) -> list[AuditRow]: ...

    async def audit_head(self) -> AuditRow | None:
        """The newest entry."""


class EventRows(Protocol):
    async def add_events(self, drafts: Sequence[EventDraft]) -> list[Event]:
        """Number and store. Numbers grow by one, in the order of the drafts."""

    async def events_after(self, seq: int, *, limit: int) -> list[Event]: ...

    async def event_bounds(self) -> tuple[int, int]:
        """The oldest number still stored and the newest (0, 0 when none)."""

    async def prune_events(self, *, keep: int) -> int:
        """Delete all but the newest ``keep`` events; how many were deleted. Numbers are not used again."""


class MemoRows(Protocol):
    async def load_memo(self, channel: str, account: str, key: str) -> str | None: ...

    async def save_memo(self, channel: str, account: str, key: str, value: str) -> None: ...

    async def forget_memo(self, channel: str, account: str, key: str) -> None:
        """Delete; no error when there is none."""


class Pairings(Protocol):
    async def add_pairing(self, row: PairingRow) -> PairingRow:
        """Insert, or return the sender's pending row that is not expired at ``row.created_at``. Expired rows are deleted.

        :raises Conflict: another sender holds this code: draw another one.
        """

    async def decide_pairing(self, code: str, state: PairingDecision, *, by: str, now: float) -> PairingRow | None:
        """None when there is no such pending, unexpired code (codes compare without case).

        The decision replaces an earlier one about the same sender.
        """

    async def list_pairings(self, state: PairingState, *, limit: int) -> list[PairingRow]:
        """The oldest first; of the pending ones only those that are not expired."""

    async def is_paired(self, channel: str, account: str, sender_id: str) -> bool: ...

    async def revoke_pairing(self, channel: str, account: str, sender_id: str) -> bool:
        """Delete the sender's approval. False if there is none."""


class Tokens(Protocol):
    async def put_token(self, row: TokenRow) -> None:
        """Insert, or replace the row with this digest."""

    async def get_token(self, digest: str) -> TokenRow | None: ...

    async def take_token(self, digest: str) -> TokenRow | None:
        """Return and delete, atomically: a one-time code. The caller looks at ``expires_at``."""

    async def exchange_token(self, digest: str, row: TokenRow) -> bool:
        """Put ``row`` in the place of the row with this digest, atomically. False: that one is gone, and nothing was put."""

    async def list_tokens(self, kind: str) -> list[TokenRow]: ...

    async def delete_token(self, digest: str) -> None: ...

    async def delete_expired_tokens(self, now: float) -> int:
        """How many were deleted: those whose ``expires_at`` is ``now`` or before."""


class StoreStatistics(Struct, frozen=True):
    """The store's writer since the start.

    ``queue_depth`` counts writes not yet committed, ``operations`` the write calls that were committed, ``rows`` the rows
    they changed. ``healthy`` is False from a commit that failed (disk full, I/O error) to the next one that succeeds;
    ``last_error`` keeps the reason in words, ``last_error_at`` and ``failing_since`` (the first failure since the last commit
    that succeeded) are Unix seconds. ``checked_whole``: the check at start read the whole file, not only its head.
    ``commit_seconds`` are the durations of all commits; ``committing_since`` is when the one under way began, Unix seconds.
    """

    queue_depth: int
    commits: int
    operations: int
    rows: int
    last_commit_seconds: float
    healthy: bool
    last_error: str | None
    last_error_at: float | None
    checked_whole: bool
    failing_since: float | None = None
    commit_seconds: Histogram = Histogram()
    committing_since: float | None = None


class Store(Inbox, OutboxRows, Sessions, Approvals, Questions, AuditRows, EventRows, MemoRows, Pairings, Tokens, Protocol):
    """All of it, one object."""

    def watch(self, call: Callable[[str | None], None]) -> None:
        """Have ``call`` called with the reason when the store begins to refuse, and with None when it writes again. One only."""

    def statistics(self) -> StoreStatistics:
        """No I/O."""
