"""The trace of one message, made from its rows: what happened, when and why, and how the message stands."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, assert_never, get_args

import msgspec
from msgspec import Struct

from gatewayd.hub.operations.dead_letters import AccountAvailability
from gatewayd.hub.operations.trace_rows import TraceRows, gather
from gatewayd.model.errors import NotFound
from gatewayd.model.lifecycle import (
    APPROVAL_OPEN,
    OUTBOUND_OPEN,
    QUESTION_OPEN,
    ApprovalState,
    InboundReason,
    OutboundReason,
    OutboundState,
    QuestionState,
)
from gatewayd.model.message.envelope import InboundEnvelope, InboundKind
from gatewayd.model.message.payload import EditText, SendFile, SendText
from gatewayd.model.records.approval import Approval
from gatewayd.model.records.audit import AuditRow
from gatewayd.model.records.dead_letter import excerpt_of
from gatewayd.model.records.question import QuestionRow
from gatewayd.model.records.trace import Trace, TraceEntry, TraceEvent
from gatewayd.model.subject import SIGN, is_about_reply, is_file, is_repetition
from gatewayd.ports.store import InboundRow, OutboundRow, Store, shown_text

MOST_MESSAGES: Final = 50
MOST_ENTRIES: Final = 1000
_ORDER: Final = {event: number for number, event in enumerate(get_args(TraceEvent))}
_WHY: Final[Mapping[InboundReason, str]] = {
    "account_removed": "its account is not configured any more",
    "agent_failed": "the agent failed",
    "answer": "it was the answer to a question of the agent",
    "answered": "the agent answered",
    "answered_cut": "the agent answered, and the end of its answer may be missing",
    "answered_nothing": "the agent chose not to answer",
    "approval_refused_again": "it was a second answer to an approval request",
    "approval_refused_elsewhere": "it answered an approval request that is not shown in its chat",
    "approval_refused_forged": "it was a button press that is not under the approval prompt",
    "approval_refused_late": "it answered an approval request that was over",
    "approval_refused_not_an_approver": "its sender may not answer the approval request",
    "approval_refused_not_offered": "it was an answer that the approval request does not offer",
    "approval_refused_unknown": "it answered an approval request that does not exist",
    "approval_vote": "it was the answer to an approval request",
    "attempts_exhausted": "its turn was tried too often",
    "command": "it was a command to gatewayd",
    "command_refused": "it was a command to gatewayd that its sender may not use there",
    "deleted": "the message was deleted on its platform before its turn had begun",
    "deleted_late": "the message that was deleted did not wait for a turn any more",
    "dm_disabled": "direct messages are disabled for this account",
    "edited_after_answer": "it changed a message that had been answered already",
    "for_another_bot": "it was a command to another bot in the group",
    "from_bot": "it came from a bot",
    "group_not_on_allow_list": "its group is not listed",
    "groups_disabled": "groups are disabled for this account",
    "interrupted": "a newer message interrupted its turn",
    "late_press": "its button was out of date",
    "membership": "it only reports a change of members",
    "not_addressed": "the bot was not addressed",
    "not_asked": "its question was for somebody else",
    "not_on_allow_list": "its sender is not on the allow list",
    "not_on_group_allow_list": "its sender may not talk in this group",
    "pairing_required": "its sender is not paired",
    "reaction": "it was only a reaction to a message",
    "reply_shown_again": "it asked for a reply to be shown again",
    "sender_limit": "its sender had too many messages waiting",
    "service_message": "it was a service message of the platform",
    "stopped": "its turn was stopped",
    "turn_lost": "its turn was cut by a restart, with an unknown outcome",
    "turn_timed_out": "its turn took too long",
}
_KINDS: Final[dict[InboundKind, str]] = {
    "message": "message",
    "command": "command of the platform",
    "edit": "edit",
    "button": "press of a button",
    "reaction": "reaction",
    "deleted": "deletion",
    "membership": "change of members",
    "service": "service message of the platform",
}
_WHY_OF_REPLY: Final[Mapping[OutboundReason, str]] = {
    "interrupted": "gatewayd ended while it was being sent",
    "stale": "it had waited too long",
}
"""The reasons from gatewayd itself. All others are answers of the platform."""
_REPLY: Final[Mapping[OutboundState, str]] = {
    "ready": "waits to be sent",
    "sending": "is being sent",
    "sent": "was sent",
    "unknown": "may or may not have been seen",
    "parked": "was not sent",
    "dead": "was given up",
}
_APPROVAL: Final[Mapping[ApprovalState, str]] = {
    "pending": "is asked for",
    "allowed": "was allowed",
    "denied": "was denied",
    "expired": "was expired",
    "withdrawn": "was withdrawn",
    "undeliverable": "was undeliverable",
}
_QUESTION: Final[Mapping[QuestionState, str]] = {
    "pending": "is open",
    "answered": "was answered",
    "dismissed": "was dismissed",
    "expired": "was expired",
    "withdrawn": "was withdrawn",
}


class Tracer:
    """Finds traces. ``accounts`` gives the configured accounts."""

    def __init__(self, store: Store, *, accounts: Callable[[], AccountAvailability]) -> None:
        self._store = store
        self._accounts = accounts

    async def trace(self, wanted: str) -> Trace:
        """The trace that an id leads to; see ``gather``. :raises NotFound: it leads to nothing that is kept."""
        rows = await gather(self._store, wanted, accounts=self._accounts().keys(), limit=MOST_MESSAGES)
        if not (rows.inbound or rows.outbound or rows.approvals or rows.questions):
            raise NotFound(f"{wanted[:200]!r} is not known, or its rows were deleted")
        return trace_of(wanted, rows)


def trace_of(wanted: str, rows: TraceRows) -> Trace:
    """The trace that these rows make."""
    entries = sorted(_entries(rows), key=lambda entry: (entry.at, _ORDER[entry.what]))
    found = [
        *(f"in-{row.id}" for row in rows.inbound),
        *(f"out-{row.id}" for row in rows.outbound),
        *(row.id for row in rows.approvals),
        *(row.id for row in rows.questions),
    ]
    more = rows.more or len(entries) > MOST_ENTRIES
    return Trace(wanted, tuple(found), tuple(entries[-MOST_ENTRIES:]), _verdict(rows), more)


def _entries(rows: TraceRows) -> Iterator[TraceEntry]:
    for message in rows.inbound:
        yield from _of_message(message)
    for approval in rows.approvals:
        yield from _of_approval(approval)
    for question in rows.questions:
        yield from _of_question(question)
    for reply in rows.outbound:
        yield from _of_reply(reply)
    for act in rows.audit:
        yield _of_operator(act)


def _of_message(row: InboundRow) -> Iterator[TraceEntry]:
    ref, envelope = f"in-{row.id}", row.envelope
    via = "" if envelope.via is None else f", brought by {envelope.via}"
    missed = ", fetched after a gap in the connection" if envelope.missed else ""
    said = f"{_KINDS[envelope.kind]} {_from(envelope)}{via}{missed}"
    yield TraceEntry(envelope.received_at, "received", ref, said, excerpt_of(envelope.text) or None)
    if row.started_at is not None:
        yield TraceEntry(row.started_at, "turn_started", ref, f"{row.turn_id}, attempt {row.attempts}", row.session_key)
    if row.ended_at is not None:
        yield TraceEntry(row.ended_at, "ended", ref, f"{row.state}: {_why(row.reason)}", row.detail or row.reason)


def _from(envelope: InboundEnvelope) -> str:
    name = f" ({envelope.sender.name})" if envelope.sender.name else ""
    return f"from {envelope.sender.id}{name} in {envelope.channel}/{envelope.account} {envelope.peer}"


def _of_approval(row: Approval) -> Iterator[TraceEntry]:
    """Without the input of the tool: readers of messages may not see that."""
    by_rule = row.decided_by is not None and row.decided_by.startswith(("policy:", "session:"))
    if not by_rule:
        yield TraceEntry(row.created_at, "approval_asked", row.id, f"{row.agent} asked to use {row.tool}", row.code or None)
    for vote in row.votes if row.quorum > 1 else ():
        yield TraceEntry(vote.at, "approval_vote", row.id, f"{vote.by} said {'yes' if vote.allow else 'no'}")
    if row.decided_at is not None:
        text = f"{row.tool} {_APPROVAL[row.state]} by {row.decided_by or 'nobody'}"
        yield TraceEntry(row.decided_at, "approval_decided", row.id, text)
    if row.consumed_at is not None:
        yield TraceEntry(row.consumed_at, "approval_used", row.id, f"{row.tool} was run")


def _of_question(row: QuestionRow) -> Iterator[TraceEntry]:
    text = "the agent asked its user a question"
    yield TraceEntry(row.created_at, "question_asked", row.id, text, excerpt_of(row.question.text) or None)
    if row.ended_at is not None:
        by = f" by {row.answered_by}" if row.answered_by else ""
        yield TraceEntry(row.ended_at, "question_ended", row.id, f"the question {_QUESTION[row.state]}{by}")


def _about(subject: str) -> str:
    if subject == SIGN:
        return " beside the answer"
    if is_repetition(subject):
        return ", shown once more because somebody asked for it,"
    return " that the one before may not have arrived," if is_about_reply(subject) else f" about {subject}"


def _of_reply(row: OutboundRow) -> Iterator[TraceEntry]:
    ref, payload = f"out-{row.id}", row.payload
    match payload:
        case EditText():
            what = f"edit of out-{payload.of}"
        case SendFile():
            what = f"file ({payload.size_bytes} bytes)"
        case SendText(grows=True):
            what = "beginning of a reply"
        case SendText():
            what = "reply" if payload.parts == 1 else f"reply (part {payload.part} of {payload.parts})"
        case never:
            assert_never(never)
    about = _about(row.subject) if row.subject and not is_file(row.subject) else ""
    text = f"{what}{about} to {row.channel}/{row.account} {payload.peer}"
    yield TraceEntry(row.created_at, "written", ref, text, excerpt_of(shown_text(row)) or None)
    if row.doubt_since is not None:
        yield TraceEntry(row.doubt_since, "in_doubt", ref, "sent to the platform, and may have been seen since")
    if row.sending_at is not None:
        yield TraceEntry(row.sending_at, "sending", ref, f"sent to the platform, attempt {max(1, row.attempts)}")
    if row.state == "ready" and row.next_attempt_at is not None:
        yield TraceEntry(row.next_attempt_at, "waits", ref, "waits for its next attempt at this time", row.reason)
    if row.settled_at is not None:
        yield from _end_of_reply(row, row.settled_at)
    if row.delivered_at is not None:
        yield TraceEntry(row.delivered_at, "delivered", ref, "was delivered, as its platform reports")
    if row.read_at is not None:
        yield TraceEntry(row.read_at, "read", ref, "was read, as its platform reports")


def _end_of_reply(row: OutboundRow, at: float) -> Iterator[TraceEntry]:
    ref = f"out-{row.id}"
    known = row.receipt.message_id if row.receipt is not None else None
    match row.state:
        case "sent":
            yield TraceEntry(at, "sent", ref, f"as message {known}" if known else "handed to the platform, which gave it no id")
        case "unknown":
            yield TraceEntry(
                at, "unknown", ref, "its user may or may not have seen it, so it is not sent again by itself", row.reason
            )
        case "parked":
            yield TraceEntry(at, "parked", ref, "not sent: it was too old to be sent by itself", row.reason)
        case "dead" if known is not None:
            yield TraceEntry(at, "dead", ref, f"the platform took it as message {known}, and could not deliver it", row.reason)
        case "dead":
            yield TraceEntry(at, "dead", ref, "given up", row.reason)
        case "ready" | "sending":
            pass  # it goes on
        case never:
            assert_never(never)


def _of_operator(act: AuditRow) -> TraceEntry:
    # Older entries of the audit log name the action without "dead_".
    said = {"letter.retried": "put it back", "letter.dropped": "dropped it"}.get(act.action.removeprefix("dead_"), act.action)
    return TraceEntry(act.at, "operator", act.subject, f"{act.actor} {said}", _note_of(act))


class _Detail(Struct, frozen=True):
    """The part of an entry's detail that a trace shows."""

    state: str | None = None
    reason: str | None = None
    detail: str | None = None
    note: str | None = None


def _note_of(act: AuditRow) -> str | None:
    try:
        detail = msgspec.json.decode(act.detail, type=_Detail)
    except msgspec.DecodeError:
        return None
    why = ": ".join(part for part in (detail.reason, detail.detail) if part)
    was = f"it was {detail.state}" + (f" ({why})" if why else "") if detail.state else None
    return "; ".join(part for part in (was, detail.note) if part) or None


def _verdict(rows: TraceRows) -> str:
    messages = [row for row in rows.inbound if row.envelope.kind != "edit"] or rows.inbound
    if len(messages) == 1:
        return _verdict_of_message(messages[0], rows)
    if messages:
        said = f"{len(messages)} messages: {_counted(row.state for row in messages)}"
        return f"{said}; {_replies(rows.outbound)}." if rows.outbound else f"{said}."
    if rows.outbound:
        return f"{_replies(rows.outbound)}."
    return "The messages that it belongs to are not kept any more."


def _verdict_of_message(row: InboundRow, rows: TraceRows) -> str:
    ref = f"in-{row.id}"
    match row.state:
        case "received":
            return f"{ref} waits for a turn."
        case "running":
            return f"{ref} is being worked on, attempt {row.attempts}{_waits_for(rows)}."
        case "dead" if row.closed_at is not None:
            return f"{ref} is dead ({_why(row.reason)}), and an operator has dropped it."
        case "dead":
            return f"{ref} is dead: {_why(row.reason)}{_in_words(row)}. `gatewayctl dead-letters retry {ref}` runs it again."
        case "dropped":
            return f"{ref} was dropped: {_why(row.reason)}."
        case "done":
            return f"{ref} is done: {_why(row.reason)}" + (f"; {_replies(rows.outbound)}." if rows.outbound else ".")
        case never:
            assert_never(never)


def _waits_for(rows: TraceRows) -> str:
    pending = [row.id for row in rows.approvals if row.state in APPROVAL_OPEN]
    pending += [row.id for row in rows.questions if row.state in QUESTION_OPEN]
    return f"; it waits for an answer to {' and '.join(pending)}" if pending else ""


def _replies(rows: Sequence[OutboundRow]) -> str:
    """The state of one reply, or the number of replies in each state."""
    if len(rows) > 1:
        return f"{len(rows)} replies and edits: {_counted(_state(row) for row in rows)}"
    [row] = rows
    words = dict[str, str](_WHY_OF_REPLY.items())
    reason = f" ({words.get(row.reason, row.reason)})" if row.reason else ""
    doubt = ", and may have been seen," if row.doubt_since is not None and row.state in OUTBOUND_OPEN else ""
    seen = " and read" if row.read_at is not None else " and delivered" if row.delivered_at is not None else ""
    dropped = ", and an operator has dropped it" if row.closed_at else ""
    return f"out-{row.id} {_REPLY[row.state]}{seen}{doubt}{reason}{dropped}"


def _state(row: OutboundRow) -> str:
    return f"{row.state} and dropped" if row.closed_at is not None else row.state


def _counted(states: Iterator[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in Counter(states).most_common())


def _in_words(row: InboundRow) -> str:
    return f" ({row.detail})" if row.detail else ""


def _why(reason: str | None) -> str:
    words = dict[str, str](_WHY.items())  # a row of another release may have an unknown reason
    return words.get(reason or "", reason or "no reason is known")
