"""A store in memory: all operations of the port, in the simplest way that keeps its promises. Nothing survives the process.

No operation waits for anything: so each is complete, and the operations of several tasks come one after the other. Where a rule
of the caller may raise after a change, ``_whole`` restores all tables.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from gatewayd.model import lifecycle as life
from gatewayd.model.errors import Conflict, NotFound
from gatewayd.model.message.envelope import InboundEnvelope, Peer
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt
from gatewayd.model.message.report import DeliveryReport, ReportKind, failure_in
from gatewayd.model.records.approval import Approval
from gatewayd.model.records.audit import BEGINNING, AuditDraft, AuditHead, AuditRow, chained
from gatewayd.model.records.dead_letter import (
    DeadLetter,
    DeadLetterCounts,
    DeadLetterCursor,
    DeadLetterFilter,
    NotADeadLetter,
    Skipped,
    parse_ref,
)
from gatewayd.model.records.event import Event
from gatewayd.model.records.pairing import PairingRow
from gatewayd.model.records.question import QuestionRow
from gatewayd.model.status import OutboxStatus
from gatewayd.model.subject import request_of
from gatewayd.ports import store as port
from gatewayd.ports.store import Account, DeadLetterRow, InboundRow, OutboundDraft, OutboundRow, StateValue

T = TypeVar("T")
Key = tuple[str, ...]
Place = tuple[float, int]
_Line = tuple[float, int, int, DeadLetterRow]
"""The time; 0 for an edit, 1 for a message, 2 for a reply; the number; the row."""


def _is_dead_letter(row: DeadLetterRow) -> bool:
    dead_letters = life.INBOUND_DEAD_LETTERS if isinstance(row, InboundRow) else life.OUTBOUND_DEAD_LETTERS
    return row.state in dead_letters and row.closed_at is None


def _is_unsettled(row: OutboundRow) -> bool:
    return row.state in life.OUTBOUND_OPEN or _is_dead_letter(row)


def _account(row: DeadLetterRow) -> Account:
    return (row.envelope.channel, row.envelope.account) if isinstance(row, InboundRow) else (row.channel, row.account)


def _key(envelope: InboundEnvelope) -> Key:
    return envelope.channel, envelope.account, envelope.event_key


def _shown_as(row: OutboundRow) -> str | None:
    """The platform's id of a reply; an edit has that of the reply that it edits."""
    return None if row.receipt is None or isinstance(row.payload, EditText) else row.receipt.message_id


def _order(line: _Line) -> tuple[float, int, int]:
    return line[:3]


def _content(row: DeadLetterRow) -> InboundEnvelope | OutboundPayload:
    return row.envelope if isinstance(row, InboundRow) else row.payload


def _sender(row: PairingRow) -> Key:
    return row.channel, row.account, row.sender_id


def _fits(dead_letter: DeadLetter, asked: dict[str, object], before: float) -> bool:
    return dead_letter.cursor.ended_at < before and all(getattr(dead_letter, key) == value for key, value in asked.items())


def _newest(rows: list[T], limit: int | None) -> list[T]:
    return rows if limit is None else rows[max(0, len(rows) - limit) :]


def _is_over(row: Any, *, dead_letters: bool) -> bool:
    """Whether retention may look at the row: it is over, or it is a dead letter, as asked for."""
    if isinstance(row, Approval | QuestionRow):
        return row.state not in life.APPROVAL_OPEN
    over = life.INBOUND_OVER if isinstance(row, InboundRow) else life.OUTBOUND_OVER
    return _is_dead_letter(row) if dead_letters else row.state in over or row.closed_at is not None


class MemoryStore:
    """Rows by their numbers or keys, in the order in which they were added. ``now`` gives Unix seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._numbers = Counter[str]()
        self._inbound: dict[int, InboundRow] = {}
        self._received: dict[int, float] = {}
        self._outbound: dict[int, OutboundRow] = {}
        self._approvals: dict[int, Approval] = {}
        self._grants: dict[Key, str] = {}
        self._questions: dict[int, QuestionRow] = {}
        self._audit: dict[int, AuditRow] = {}
        self._events: dict[int, Event] = {}
        self._state: dict[Key, str] = {}
        self._pairings: dict[int, PairingRow] = {}
        self._tokens: dict[str, port.TokenRow] = {}
        self._sessions: dict[str, port.SessionRow] = {}
        self._accounts: dict[Account, str] = {}
        self._reports: dict[tuple[Account, str, ReportKind], tuple[float, DeliveryReport]] = {}

    @contextmanager
    def _whole(self) -> Iterator[None]:
        before = {name: copy(table) for name, table in vars(self).items() if isinstance(table, dict)}
        try:
            yield
        except BaseException:
            vars(self).update(before)
            raise

    def _next(self, table: str) -> int:
        self._numbers[table] += 1
        return self._numbers[table]

    def watch(self, call: Callable[[str | None], None]) -> None:
        """This store never refuses, so it never calls."""

    def statistics(self) -> port.StoreStatistics:
        return port.StoreStatistics(0, 0, 0, 0, 0.0, True, None, None, True)

    # State and sessions.

    async def claim_accounts(self, gateway: str, accounts: Collection[Account]) -> list[Account]:
        self._accounts.update((account, gateway) for account in accounts)
        return sorted(account for account, owner in self._accounts.items() if owner == gateway)

    async def load_state(self, channel: str, account: str, key: str) -> str | None:
        return self._state.get((channel, account, key))

    async def save_state(self, channel: str, account: str, key: str, value: str) -> None:
        self._state[channel, account, key] = value

    async def forget_state(self, channel: str, account: str, key: str) -> None:
        self._state.pop((channel, account, key), None)

    async def get_session(self, session_key: str) -> port.SessionRow | None:
        return self._sessions.get(session_key)

    async def put_session(self, row: port.SessionRow) -> None:
        self._sessions[row.session_key] = row

    async def find_session(self, agent_id: str, session_id: str) -> tuple[port.SessionRow, str | None] | None:
        for row in self._sessions.values():
            if (row.agent_id, row.session_id) == (agent_id, session_id):
                messages = (each for each in reversed(self._inbound.values()) if each.session_key == row.session_key)
                return row, next((each.turn_id for each in messages if each.turn_id is not None), None)
        return None

    # The inbox.

    async def add_inbound(
        self,
        envelopes: Sequence[InboundEnvelope],
        *,
        state: Sequence[StateValue] = (),
        reports: Sequence[port.AccountReport] = (),
    ) -> port.Journaled:
        known, rows = {_key(row.envelope) for row in self._inbound.values()}, []
        for envelope in envelopes:
            if _key(envelope) not in known:
                known.add(_key(envelope))
                rows.append(InboundRow(self._next("inbound"), envelope, "received", 0))
                self._received[rows[-1].id] = envelope.received_at or self._now()
        self._inbound.update((row.id, row) for row in rows)
        for *place, value in state:
            self._state[place[0], place[1], place[2]] = value
        reported = [self._report((channel, account), report, self._now()) for channel, account, report in reports]
        return port.Journaled(rows, [each for each in reported if each is not None])

    def _report(self, account: Account, report: DeliveryReport, now: float) -> port.Reported | None:
        """Apply a report, or let it wait for its reply."""
        shown = [row for row in self._outbound.values() if _account(row) == account and _shown_as(row) == report.message_id]
        if shown:
            return self._apply(shown[-1].id, report, now)
        self._let_wait(account, report, now)
        return None

    def _let_wait(self, account: Account, report: DeliveryReport, now: float) -> None:
        at = now if report.at is None else report.at
        self._reports.setdefault((account, report.message_id, report.kind), (now, replace(report, at=at)))
        self._drop_reports(now)
        for key in [key for key in self._reports if key[0] == account][: -port.WAITING_REPORTS]:
            del self._reports[key]

    def _apply(self, number: int, report: DeliveryReport, now: float) -> port.Reported | None:
        row, at = self._outbound[number], now if report.at is None else report.at
        may_mark = row.state in life.OUTBOUND.marked["add_inbound"]
        unseen = row.delivered_at is None and row.read_at is None
        if report.kind == "delivered" and may_mark and row.delivered_at is None:
            self._put(row, delivered_at=at)
        elif report.kind == "read" and may_mark and row.read_at is None:
            self._put(row, read_at=at)
        elif report.kind == "failed" and row.state in life.FAIL.sources and unseen:
            self._put(row, state=life.FAIL.target, reason=report.reason, settled_at=now)
        else:
            return None
        return port.Reported(self._outbound[number], report.kind)

    def _drop_reports(self, now: float) -> int:
        old = [key for key, (received_at, _) in self._reports.items() if received_at < now - port.WAITING_REPORT_SECONDS]
        for key in old:
            del self._reports[key]
        return len(old)

    async def prune_reports(self) -> int:
        return self._drop_reports(self._now())

    async def find_inbound(self, channel: str, account: str, event_key: str) -> InboundRow | None:
        wanted = (channel, account, event_key)
        return next((row for row in self._inbound.values() if _key(row.envelope) == wanted), None)

    async def get_inbound(self, inbound_id: int) -> InboundRow | None:
        return self._inbound.get(inbound_id)

    async def inbound_by(
        self, key: port.InboundKey, value: str, *, account: Account | None = None, limit: int | None = None
    ) -> list[InboundRow]:
        rows = [row for row in self._inbound.values() if account in (None, _account(row))]
        return _newest([row for row in rows if value in (getattr(row, key, None), getattr(row.envelope, key, None))], limit)

    def _of_inbound(self, ids: Sequence[int], states: Sequence[life.InboundState]) -> list[InboundRow]:
        return [row for number in ids if (row := self._inbound.get(number)) is not None and row.state in states]

    def _put(self, row: DeadLetterRow, **changes: Any) -> None:
        if isinstance(row, InboundRow):
            self._inbound[row.id] = replace(row, **changes)
        else:
            self._outbound[row.id] = replace(row, **changes)

    async def start_turn(self, inbound_ids: Sequence[int], *, turn_id: str, session_key: str) -> None:
        told = {"state": "running", "turn_id": turn_id, "session_key": session_key, "started_at": self._now()}
        for row in self._of_inbound(inbound_ids, life.START_TURN.sources):
            self._put(row, attempts=row.attempts + 1, **told)

    async def note_stop(self, inbound_ids: Sequence[int]) -> None:
        for row in self._of_inbound(inbound_ids, life.INBOUND.marked["note_stop"]):
            self._put(row, stops=row.stops + 1)

    async def end_inbound(
        self,
        inbound_ids: Sequence[int],
        *,
        state: life.EndState,
        reason: life.InboundReason,
        now: float,
        detail: str | None = None,
        replies: Sequence[OutboundDraft] = (),
    ) -> list[OutboundRow]:
        rows = self._of_inbound(inbound_ids, life.END_INBOUND.sources)
        for row in rows:
            self._put(row, state=state, reason=reason, detail=detail, ended_at=now)
        return [self._add_outbound(draft, now) for draft in replies] if rows else []

    async def pending_inbound(self, accounts: Collection[Account], *, after_id: int, limit: int) -> list[InboundRow]:
        rows = (row for row in self._inbound.values() if row.id > after_id and row.state in life.INBOUND_OPEN)
        return [row for row in rows if _account(row) in accounts][:limit]

    # The outbox.

    def _add_outbound(self, draft: OutboundDraft, now: float) -> OutboundRow:
        values: dict[str, Any] = msgspec.structs.asdict(draft)
        row = OutboundRow(self._next("outbound"), state="ready", attempts=0, created_at=now, queued_at=now, **values)
        self._outbound[row.id] = row
        return row

    def _add_notice(self, rule: port.NoticeRule | None, row: OutboundRow, now: float) -> OutboundRow | None:
        of_turn = [each for each in self._outbound.values() if each.turn_id == row.turn_id is not None]
        draft = None if rule is None else rule(row, of_turn)
        return None if draft is None else self._add_outbound(draft, now)

    async def add_outbound(self, drafts: Sequence[OutboundDraft], *, now: float) -> list[OutboundRow]:
        return [self._add_outbound(draft, now) for draft in drafts]

    async def mark_sending(self, outbound_id: int) -> bool:
        row = self._outbound.get(outbound_id)
        if row is None or row.state not in life.SEND.sources:
            return False
        self._put(row, state="sending", attempts=row.attempts + 1, sending_at=self._now())
        return True

    async def settle_outbound(
        self,
        outbound_id: int,
        state: life.SendOutcome,
        *,
        now: float,
        reason: str | None = None,
        receipt: Receipt | None = None,
        next_attempt_at: float | None = None,
        attempt_counts: bool = True,
        instead: OutboundPayload | None = None,
        in_doubt: bool | None = None,
        notice: port.NoticeRule | None = None,
    ) -> port.Settled:
        row = self._outbound.get(outbound_id)
        if row is None or row.state not in life.OUTBOUND.sources("settle_outbound", state):
            return port.Settled()
        if state in life.NEVER_SEEN and row.doubt_since is not None:
            return port.Settled()
        if state == "unknown" and row.state not in life.SETTLE.sources and row.doubt_since is None:
            return port.Settled()
        message_id = None if receipt is None or state != "sent" or isinstance(row.payload, EditText) else receipt.message_id
        waiting = [key for key in self._reports if key[:2] == (_account(row), message_id)]
        reports = [self._reports[key][1] for key in waiting]
        failure = failure_in(reports)
        attempts = row.attempts - (row.state == "sending" and not attempt_counts)
        settled_at = None if state in life.OUTBOUND_OPEN else now
        told: dict[str, Any] = {"state": state, "reason": reason, "receipt": receipt, "next_attempt_at": next_attempt_at}
        doubt_since = row.doubt_since
        if state == "sent" or (state == "ready" and in_doubt is False):
            doubt_since = None
        elif state == "unknown" or (state == "ready" and in_doubt):
            doubt_since = row.doubt_after_cut
        with self._whole():
            told |= {"payload": instead or row.payload, "doubt_since": doubt_since}
            if failure is not None:
                told |= {"state": life.FAIL.target, "reason": failure.reason}
            self._put(row, attempts=attempts, settled_at=settled_at, **told)
            reported: list[port.Reported] = []
            for key, report in zip(waiting, reports, strict=True):
                if report is failure:
                    reported.append(port.Reported(self._outbound[row.id], report.kind))
                elif report.kind != "failed" and (changed := self._apply(row.id, report, now)) is not None:
                    reported.append(changed)
                del self._reports[key]
            return port.Settled(self._add_notice(notice, self._outbound[row.id], now), reported)

    async def ready_numbers(self, channel: str, account: str, *, after_id: int, limit: int) -> list[int]:
        rows = (row for row in self._outbound.values() if row.id > after_id and row.state in life.SEND.sources)
        return [row.id for row in rows if _account(row) == (channel, account)][:limit]

    async def ready_among(self, outbound_ids: Sequence[int]) -> list[OutboundRow]:
        rows = (self._outbound.get(outbound_id) for outbound_id in sorted(set(outbound_ids)))
        return [row for row in rows if row is not None and row.state in life.SEND.sources]

    async def recover_outbound(
        self,
        accounts: Collection[Account],
        *,
        stale_before: float,
        now: float,
        resend: port.ResendRule | None = None,
        notice: port.NoticeRule | None = None,
    ) -> OutboxStatus:
        with self._whole():
            open_rows = [row for row in self._outbound.values() if _account(row) in accounts and row.state in life.OUTBOUND_OPEN]
            ended = {"state": "unknown", "reason": life.CUT.reason, "settled_at": now}
            for row in open_rows:
                if row.state in life.CUT.sources:
                    again = resend is not None and resend(replace(row, doubt_since=row.doubt_after_cut))
                    told = {"state": "ready", "reason": life.RESEND.reason} if again else ended
                    self._put(row, doubt_since=row.doubt_after_cut, **told)
            for row in [self._outbound[row.id] for row in open_rows]:
                waits = row.next_attempt_at is not None and row.next_attempt_at > now
                if row.state == "ready" and row.queued_at < stale_before and not waits:
                    state = "parked" if row.doubt_since is None else "unknown"
                    self._put(row, state=state, reason=life.PARK_AT_START.reason, settled_at=now)
            for row in open_rows:
                if self._outbound[row.id].state == "unknown":
                    self._add_notice(notice, self._outbound[row.id], now)
            return OutboxStatus(**Counter(str(row.state) for row in self._outbound.values() if _is_unsettled(row)))

    async def get_outbound(self, outbound_id: int) -> OutboundRow | None:
        return self._outbound.get(outbound_id)

    async def outbound_by(
        self, key: port.OutboundKey, value: str, *, account: Account | None = None, limit: int | None = None
    ) -> list[OutboundRow]:
        rows = [row for row in self._outbound.values() if account in (None, _account(row))]
        return _newest([row for row in rows if getattr(row.receipt if key == "message_id" else row, key, None) == value], limit)

    async def transcript(self, channel: str, account: str, peer: Peer, *, limit: int) -> list[port.TranscriptRow]:
        here = (channel, account, peer)
        heard = [row for row in self._inbound.values() if (*_account(row), row.envelope.peer) == here]
        said = [row for row in self._outbound.values() if (*_account(row), row.payload.peer) == here]
        lines: list[_Line] = []
        unsaid = ("button", "reaction", "deleted")
        lines += [(self._received[row.id], 1, row.id, row) for row in heard if row.envelope.kind not in unsaid][-limit:]
        lines += [(row.created_at, 2, row.id, row) for row in said if not isinstance(row.payload, EditText)][-limit:]
        lines = sorted(lines, key=_order)[-limit:]
        oldest = min((row.id for *_, row in lines if isinstance(row, OutboundRow)), default=self._numbers["outbound"])
        edits = (row for row in said if isinstance(row.payload, EditText) and row.id > oldest)
        lines += [(row.created_at, 0, row.id, row) for row in edits if row.state not in life.NEVER_SEEN]
        return [port.TranscriptRow(row.id, at, row.state, _content(row)) for at, *_, row in sorted(lines, key=_order)]

    # The logs.

    def _add_audit(self, draft: AuditDraft | None) -> None:
        if draft is not None:
            newest = self._audit.get(self._numbers["audit"])
            head = BEGINNING if newest is None else AuditHead(newest.seq, newest.hash)
            self._audit[self._next("audit")] = chained(draft, head)

    async def add_audit(self, draft: AuditDraft) -> AuditRow:
        self._add_audit(draft)
        return self._audit[self._numbers["audit"]]

    async def audit_after(self, seq: int, *, limit: int) -> list[AuditRow]:
        return [row for row in self._audit.values() if row.seq > seq][:limit]

    async def audit_head(self) -> AuditRow | None:
        return self._audit.get(self._numbers["audit"])

    async def audit_about(self, subjects: Collection[str], *, limit: int) -> list[AuditRow]:
        return _newest([row for row in self._audit.values() if row.subject in subjects], limit)

    async def add_events(self, drafts: Sequence[port.EventDraft]) -> list[Event]:
        events = [Event(self._next("event"), draft.at, draft.kind, msgspec.Raw(draft.data)) for draft in drafts]
        self._events.update((event.seq, event) for event in events)
        return events

    async def events_after(self, seq: int, *, limit: int) -> list[Event]:
        return [event for event in self._events.values() if event.seq > seq][:limit]

    async def event_bounds(self) -> tuple[int, int]:
        return next(iter(self._events), 0), next(reversed(self._events), 0)

    async def prune_events(self, *, keep: int) -> int:
        old = list(self._events)[: len(self._events) - keep] if keep < len(self._events) else []
        for seq in old:
            del self._events[seq]
        return len(old)

    # Approvals and questions.

    def _is_turn_of(self, turn_id: str, accounts: Collection[Account] | None) -> bool:
        of_turn = (row for row in self._inbound.values() if row.turn_id == turn_id)
        return accounts is None or all(_account(row) in accounts for row in of_turn)

    def _find_approval(self, approval_id: str) -> tuple[int, Approval] | None:
        return next(((seq, row) for seq, row in self._approvals.items() if row.id == approval_id), None)

    async def add_approval(self, approval: Approval, *, audit: AuditDraft | None = None) -> Approval:
        key = (approval.turn_id, approval.ordinal)
        known = next((row for row in self._approvals.values() if (row.turn_id, row.ordinal) == key), None)
        if known is None:
            self._approvals[self._next("approval")] = approval
            self._add_audit(audit)
        return known or approval

    async def get_approval(self, approval_id: str) -> Approval | None:
        of_code = (row for row in reversed(self._approvals.values()) if row.code.lower() == approval_id.lower())
        found = self._find_approval(approval_id)
        return next(of_code, None) if found is None else found[1]

    async def approvals_of(self, turn_id: str) -> list[Approval]:
        return sorted((row for row in self._approvals.values() if row.turn_id == turn_id), key=lambda row: row.ordinal)

    async def list_approvals(
        self, state: life.ApprovalState | None, *, limit: int, accounts: Collection[Account] | None = None
    ) -> list[Approval]:
        rows = [row for row in self._approvals.values() if state in (None, row.state)]
        found = [row for row in rows if self._is_turn_of(row.turn_id, accounts)]
        return (found if state in life.APPROVAL_OPEN else found[::-1])[:limit]

    async def vote_approval(self, approval_id: str, rule: port.VoteRule, *, audit: AuditDraft) -> Approval | None:
        seq, row = self._find_approval(approval_id) or (0, None)
        voted = None if row is None or row.state not in life.VOTE.sources else rule(row)
        if voted is None:
            return None
        assert voted.row.state in life.VOTE.targets, f"no vote makes a request {voted.row.state}"
        row = self._approvals[seq] = voted.row
        if voted.grants:
            self._grants = {key: by for key, by in self._grants.items() if key[0] != row.session_key or key[1] == row.session_id}
            self._grants.update(((row.session_key, row.session_id, row.tool, each), row.id) for each in voted.grants)
        self._add_audit(audit)
        return row

    async def decide_approval(
        self, approval_id: str, state: life.Outcome, *, by: str, note: str | None, now: float, audit: AuditDraft | None = None
    ) -> Approval | None:
        seq, row = self._find_approval(approval_id) or (0, None)
        if row is None or row.state not in life.DECIDE.sources:
            return None
        self._approvals[seq] = replace(row, state=state, decided_by=by, note=note, decided_at=now)
        self._add_audit(audit)
        return self._approvals[seq]

    async def consume_approval(self, approval_id: str, *, ref: str | None = None, now: float) -> bool:
        seq, row = self._find_approval(approval_id) or (0, None)
        if row is None or row.state not in life.APPROVAL_USABLE or row.consumed_at is not None:
            return False
        self._approvals[seq] = replace(row, consumed_at=now, ref=ref)
        return True

    async def find_grant(self, session_key: str, session_id: str, tool: str, inputs: Collection[str]) -> str | None:
        return next((by for each in inputs if (by := self._grants.get((session_key, session_id, tool, each)))), None)

    async def add_question(self, row: QuestionRow) -> QuestionRow:
        known = [each for each in self._questions.values() if (each.turn_id, each.ordinal) == (row.turn_id, row.ordinal)]
        if not known:
            self._questions[self._next("question")] = row
        return known[0] if known else row

    async def get_question(self, question_id: str) -> QuestionRow | None:
        return next((row for row in self._questions.values() if row.id == question_id), None)

    async def questions_of(self, turn_id: str) -> list[QuestionRow]:
        return sorted((row for row in self._questions.values() if row.turn_id == turn_id), key=lambda row: row.ordinal)

    async def pending_questions(self, *, limit: int, accounts: Collection[Account] | None = None) -> list[QuestionRow]:
        rows = (row for row in self._questions.values() if row.state in life.QUESTION_OPEN)
        return [row for row in rows if self._is_turn_of(row.turn_id, accounts)][:limit]

    async def end_question(
        self,
        question_id: str,
        state: life.QuestionEnd,
        *,
        now: float,
        answers: tuple[str, ...] = (),
        by: str | None = None,
        inbound_ids: Sequence[int] = (),
    ) -> QuestionRow | None:
        for seq, row in self._questions.items():
            if row.id == question_id and row.state in life.END_QUESTION.sources:
                self._questions[seq] = replace(row, state=state, answers=answers, answered_by=by, ended_at=now)
                for each in self._of_inbound(inbound_ids, life.TAKE_AS_ANSWER.sources):
                    self._put(each, state="done", reason=life.TAKE_AS_ANSWER.reason, ended_at=now)
                return self._questions[seq]
        return None

    # Dead letters.

    def _dead_letters(self, wanted: DeadLetterFilter) -> list[DeadLetterRow]:
        """In the order of their cursors."""
        asked = {key: value for key, value in msgspec.structs.asdict(wanted).items() if value is not None}
        before = asked.pop("ended_before", float("inf"))
        rows: list[DeadLetterRow] = [*self._inbound.values(), *self._outbound.values()]
        found = [
            (dead_letter.cursor, row)
            for row in rows
            if _is_dead_letter(row) and _fits(dead_letter := port.dead_letter_of(row), asked, before)
        ]
        return [row for _, row in sorted(found, key=lambda each: each[0])]

    async def list_dead_letters(
        self, wanted: DeadLetterFilter, *, before: DeadLetterCursor | None, limit: int
    ) -> list[DeadLetter]:
        dead_letters = [port.dead_letter_of(row) for row in reversed(self._dead_letters(wanted))]
        return [dead_letter for dead_letter in dead_letters if before is None or dead_letter.cursor < before][:limit]

    async def oldest_dead_letters(
        self, wanted: DeadLetterFilter, *, after: DeadLetterCursor | None, limit: int
    ) -> list[DeadLetterCursor]:
        cursors = [port.dead_letter_of(row).cursor for row in self._dead_letters(wanted)]
        return [cursor for cursor in cursors if after is None or cursor > after][:limit]

    async def count_dead_letters(self) -> DeadLetterCounts:
        counts: dict[str, Any] = {}
        for dead_letter in map(port.dead_letter_of, self._dead_letters(DeadLetterFilter())):
            name = f"{dead_letter.direction}_{dead_letter.state}"
            counts[name] = counts.get(name, 0) + 1
            counts.setdefault(f"oldest_{dead_letter.state}_at", dead_letter.ended_at)
        return DeadLetterCounts(**counts)

    def _row(self, ref: str) -> DeadLetterRow:
        direction, number = parse_ref(ref)
        row = self._inbound.get(number) if direction == "in" else self._outbound.get(number)
        if row is None:
            raise NotFound(f"there is no {ref} (any more)")
        return row

    def _facts(self, row: DeadLetterRow) -> port.DeadLetterFacts:
        if isinstance(row, InboundRow):
            of_turn = [each for each in self._inbound.values() if row.turn_id is not None and each.turn_id == row.turn_id]
            return port.DeadLetterFacts(row, tuple(each for each in of_turn if _is_dead_letter(each)))
        of = row.payload.of if isinstance(row.payload, EditText) else 0
        newer = [each.id for each in self._edits(of) if each.id > row.id and each.state not in life.NEVER_SEEN]
        asked = None if row.subject is None else request_of(row.subject)
        requests = [each for each in self._requests() if each.id == asked]
        return port.DeadLetterFacts(row, (), self._outbound.get(of), min(newer, default=None), next(iter(requests), None))

    def _requests(self) -> list[Approval | QuestionRow]:
        return [*self._approvals.values(), *self._questions.values()]

    def _edits(self, of: int) -> list[OutboundRow]:
        return [row for row in self._outbound.values() if isinstance(row.payload, EditText) and row.payload.of == of]

    async def get_dead_letter(self, ref: str) -> port.DeadLetterFacts:
        return self._facts(self._row(ref))

    async def retry_dead_letters(self, refs: Sequence[str], rule: port.RetryRule, *, now: float) -> port.Repairs:
        def retry(row: DeadLetterRow) -> None:
            anew = {"attempts": 0, "reason": None, "retries": row.retries + 1}
            if isinstance(row, InboundRow):
                forgotten = dict.fromkeys(("detail", "turn_id", "started_at", "ended_at"))
                self._put(row, state="received", stops=0, **anew, **forgotten)
            else:
                later = row.next_attempt_at if row.next_attempt_at is not None and row.next_attempt_at > now else None
                forgotten = dict.fromkeys(("settled_at", "receipt", "delivered_at", "read_at"))
                self._put(row, state="ready", queued_at=now, next_attempt_at=later, **anew, **forgotten)
                for report in row.reports:
                    self._let_wait(_account(row), report, now)

        return self._repair(refs, lambda row: rule(self._facts(row)), retry)

    async def drop_dead_letters(self, refs: Sequence[str], rule: port.DropRule, *, now: float) -> port.Repairs:
        return self._repair(refs, lambda row: [rule(row)], lambda row: self._put(row, closed_at=now))

    def _repair(
        self, refs: Sequence[str], rule: Callable[[DeadLetterRow], Sequence[port.Repair]], act: Callable[[DeadLetterRow], None]
    ) -> port.Repairs:
        repairs, done = port.Repairs([], []), set[str]()
        with self._whole():
            for ref in refs:
                try:
                    wanted = [] if ref in done else rule(self._row(ref))
                except (NotADeadLetter, NotFound, Conflict) as error:
                    repairs.skipped.append(Skipped(ref, error.reason))
                    continue
                for each in wanted:
                    row = self._row(port.ref_of(each.row))
                    if _is_dead_letter(row):
                        act(row)
                        self._add_audit(each.audit)
                        repairs.done.append(
                            port.Repaired(msgspec.convert(row.state, life.DeadLetterState), self._row(port.ref_of(row)))
                        )
                        done.add(port.ref_of(row))
        return repairs

    # Retention.

    async def sweep(
        self, kind: port.RetentionKind, keeps: port.KeepRule, *, before: float, after: Place | None, limit: int
    ) -> port.RetentionResult:
        name = kind.removesuffix("_dead_letter")
        table: dict[int, Any] = getattr(self, f"_{name}" if name in ("inbound", "outbound") else f"_{name}s")
        end = {"inbound": "ended_at", "outbound": "settled_at", "approval": "decided_at", "question": "ended_at"}[name]
        rows = {number: row for number, row in table.items() if _is_over(row, dead_letters=kind != name)}
        places = sorted((getattr(row, end), number) for number, row in rows.items() if getattr(row, end) is not None)
        looked_at = [place for place in places if place[0] < before and place > (after or (float("-inf"), 0))][:limit]
        deleted = Counter[str]()
        with self._whole():
            for _, number in looked_at:
                received = self._received[number] if name == "inbound" else None
                old = port.OldRow(received, getattr(table[number], "closed_at", None), frozenset(self._referrers(rows[number])))
                if not keeps(old):
                    deleted[table.pop(number).state] += 1
        return port.RetentionResult(dict(deleted), looked_at[-1] if len(looked_at) == limit else None)

    def _referrers(self, row: Any) -> Iterator[port.Referrer]:
        """The kinds of rows that refer to this one and are not over."""
        replies = [reply for reply in self._outbound.values() if _is_unsettled(reply)]
        asked = [each for each in self._requests() if each.state in life.APPROVAL_OPEN]
        ours: list[Approval | QuestionRow] = []
        if isinstance(row, OutboundRow):
            ours = [each for each in asked if row.subject and each.id == request_of(row.subject)]
            if any(_is_unsettled(edit) for edit in self._edits(row.id)):
                yield "edit"
        elif isinstance(row, InboundRow):
            ours = [each for each in asked if row.turn_id is not None and each.turn_id == row.turn_id]
            if any(row.turn_id is not None and reply.turn_id == row.turn_id for reply in replies):
                yield "reply"
        else:
            if any(each.turn_id == row.turn_id and each.state in life.INBOUND_OPEN for each in self._inbound.values()):
                yield "message"
            if any(reply.subject in (row.id, f"{row.id}/notice") for reply in replies):
                yield "reply"
        for each in ours:
            yield "approval" if isinstance(each, Approval) else "question"

    async def bytes_used(self) -> int:
        return sum(len(msgspec.msgpack.encode(list(table.values()))) for table in vars(self).values() if isinstance(table, dict))

    # People and logins.

    async def add_pairing(self, row: PairingRow) -> PairingRow:
        pending = {n: each for n, each in self._pairings.items() if each.state in life.PAIRING_OPEN}
        valid = [each for each in pending.values() if each.expires_at > row.created_at]
        known = [each for each in valid if _sender(each) == _sender(row)]
        if not known and any(each.code.lower() == row.code.lower() for each in valid):
            raise Conflict("another sender holds this pairing code")
        self._pairings = {n: each for n, each in self._pairings.items() if n not in pending or each in valid}
        if not known:
            self._pairings[self._next("pairing")] = row
        return known[0] if known else row

    async def decide_pairing(self, code: str, state: life.PairingDecision, *, by: str, now: float) -> PairingRow | None:
        for row in self._pending_pairings(now):
            if row.code.lower() == code.lower():
                self._pairings = {n: each for n, each in self._pairings.items() if _sender(each) != _sender(row)}
                decided = replace(row, state=state, decided_at=now, decided_by=by)
                self._pairings[self._next("pairing")] = decided
                return decided
        return None

    def _pending_pairings(self, now: float) -> list[PairingRow]:
        return [row for row in self._pairings.values() if row.state in life.PAIRING_OPEN and row.expires_at > now]

    async def list_pairings(self, state: life.PairingState, *, limit: int) -> list[PairingRow]:
        if state in life.PAIRING_OPEN:
            return self._pending_pairings(self._now())[:limit]
        return [row for row in self._pairings.values() if row.state == state][:limit]

    async def revoke_pairing(self, channel: str, account: str, sender_id: str) -> bool:
        sender, before = (channel, account, sender_id), len(self._pairings)
        self._pairings = {n: row for n, row in self._pairings.items() if row.state not in life.PAIRED or _sender(row) != sender}
        return len(self._pairings) < before

    async def put_token(self, row: port.TokenRow) -> None:
        self._tokens[row.digest] = row

    async def get_token(self, digest: str) -> port.TokenRow | None:
        return self._tokens.get(digest)

    async def take_token(self, digest: str) -> port.TokenRow | None:
        return self._tokens.pop(digest, None)

    async def exchange_token(self, digest: str, row: port.TokenRow) -> bool:
        if self._tokens.pop(digest, None) is None:
            return False
        self._tokens[row.digest] = row
        return True

    async def list_tokens(self, kind: str) -> list[port.TokenRow]:
        return sorted((row for row in self._tokens.values() if row.kind == kind), key=lambda row: (row.created_at, row.digest))

    async def delete_token(self, digest: str) -> None:
        self._tokens.pop(digest, None)

    async def delete_expired_tokens(self, now: float) -> int:
        expired = [row.digest for row in self._tokens.values() if row.expires_at is not None and row.expires_at <= now]
        return len([self._tokens.pop(digest) for digest in expired])
