"""What can be done with a dead letter, as a pure function of its row and what stands around it."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewayd.hub.operations.dead_letters import AccountAvailability, check_dead_letter, drop, put_back, why_not
from gatewayd.model.errors import Conflict
from gatewayd.model.lifecycle import (
    INBOUND,
    INBOUND_DEAD_LETTERS,
    OUTBOUND,
    OUTBOUND_DEAD_LETTERS,
    InboundState,
    OutboundState,
)
from gatewayd.model.message.payload import EditText, Receipt, RichText, SendText
from gatewayd.model.records.approval import Approval
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.ports.store import DeadLetterFacts, DeadLetterRow, InboundRow, OutboundRow, Repair, ref_of
from gatewayd.testing.store_contract.rows import ALICE, approval, draft, edit_of, numbered

HERE: Final[AccountAvailability] = {("telegram", "main"): None}
FULL: Final[AccountAvailability] = {("telegram", "main"): "the inbox is full"}
ELSEWHERE: Final[AccountAvailability] = {("telegram", "other"): None}


def message(number: int = 1, state: InboundState = "dead", *, message_id: str = "77", edits: bool = False) -> InboundRow:
    written = numbered(message_id)
    envelope = edit_of(written, f"edit {number}") if edits else written
    return InboundRow(number, envelope, state, attempts=1, reason="agent_failed", turn_id="turn-1", ended_at=100.0)


def reply(
    number: int = 1,
    state: OutboundState = "unknown",
    *,
    edits: int | None = None,
    subject: str | None = None,
    written_at: float = 20.0,
) -> OutboundRow:
    payload = draft("hi").payload if edits is None else EditText(ALICE, RichText("edited"), of=edits)
    receipt = Receipt(f"m{number}") if state == "sent" else None
    return OutboundRow(
        number, "telegram", "main", "dm:42", payload, state, 1, written_at, subject=subject, receipt=receipt, reason="cut"
    )


def retried(facts: DeadLetterFacts, accounts: AccountAvailability = HERE) -> list[DeadLetterRow] | str:
    """What is put back, or why nothing is: the same is said by who only looks."""
    shown = why_not(facts, accounts)
    said: str | None = None
    repairs = list[Repair]()
    try:
        repairs = put_back(facts, accounts=accounts, by="operator:ann", note=None, now=500.0)
    except Conflict as conflict:
        said = conflict.reason
    assert said == shown
    return [repair.row for repair in repairs] if said is None else said


@pytest.mark.parametrize("state", INBOUND.stages)
def test_a_message_is_a_dead_letter_where_its_life_cycle_says_so(state: InboundState) -> None:
    if state in INBOUND_DEAD_LETTERS:
        check_dead_letter(message(state=state))
    else:
        with pytest.raises(Conflict, match=rf"in-1 is no dead letter \(any more\): it is {state} \(agent_failed\)"):
            check_dead_letter(message(state=state))


@pytest.mark.parametrize("state", OUTBOUND.stages)
def test_a_reply_is_a_dead_letter_where_its_life_cycle_says_so(state: OutboundState) -> None:
    row = replace(reply(state=state), reason=None)
    if state in OUTBOUND_DEAD_LETTERS:
        check_dead_letter(row)
        with pytest.raises(Conflict, match="out-1 was dropped"):
            check_dead_letter(replace(row, closed_at=7.0))
    else:
        with pytest.raises(Conflict, match=rf"out-1 is no dead letter \(any more\): it is {state}$"):
            check_dead_letter(row)


def test_what_is_no_dead_letter_is_neither_retried_nor_dropped() -> None:
    for row in (message(state="done"), reply(state="sent"), replace(reply(), closed_at=7.0)):
        with pytest.raises(Conflict):
            put_back(DeadLetterFacts(row), accounts=HERE, by="x", note=None, now=1.0)
        with pytest.raises(Conflict):
            drop(row, by="x", note=None, now=1.0)


def test_an_account_that_is_gone_or_full_takes_nothing() -> None:
    gone = "the account telegram/main is not configured"
    assert (retried(DeadLetterFacts(message()), ELSEWHERE), retried(DeadLetterFacts(reply()), ELSEWHERE)) == (gone, gone)
    assert retried(DeadLetterFacts(message()), FULL) == "the inbox is full"
    assert retried(DeadLetterFacts(reply()), FULL) == [reply()], "only messages are taken by an inbox"
    for row in (message(), reply()):
        assert drop(row, by="x", note=None, now=1.0).row == row


def test_an_edit_is_sent_again_only_where_it_is_the_newest_of_a_message_that_is_there() -> None:
    edit, sent = reply(3, edits=1), reply(1, "sent")
    for unsent in (None, reply(1, "dead"), replace(sent, receipt=None), replace(sent, receipt=Receipt(None))):
        assert retried(DeadLetterFacts(edit, edited=unsent)) == "it edits out-1, which was not sent"
    assert retried(DeadLetterFacts(edit, edited=sent, newer_edit=4)) == "out-4 is a newer edit of the same message"
    assert retried(DeadLetterFacts(edit, edited=sent)) == [edit]


@pytest.mark.parametrize(
    ("subject", "request_of_it"),
    [
        ("ap_1", replace(approval(1), id="ap_1")),
        ("ap_1/notice", replace(approval(1), id="ap_1")),
        ("qu_1", QuestionRow("qu_1", "turn-1", 0, "key", Question("which?"), "pending", 10.0, 900.0)),
    ],
)
def test_a_request_that_is_over_is_not_asked_again(subject: str, request_of_it: Approval | QuestionRow) -> None:
    """Before its end a prompt asks; what is written after it tells what became of it, and may be sent late."""
    prompt, outcome = reply(subject=subject, written_at=30.0), reply(subject=subject, written_at=31.0)
    assert retried(DeadLetterFacts(prompt, request=request_of_it)) == [prompt]
    over = (
        replace(request_of_it, state="denied", decided_at=30.0)
        if isinstance(request_of_it, Approval)
        else replace(request_of_it, state="expired", ended_at=30.0)
    )
    why = f"what it asks is over: {request_of_it.id} waits for no answer"
    assert retried(DeadLetterFacts(prompt, request=over)) == why
    assert retried(DeadLetterFacts(outcome, request=over)) == [outcome]
    assert retried(DeadLetterFacts(outcome, request=None)) == why, "it is not kept any more"


def test_what_is_about_a_reply_asks_for_nothing() -> None:
    for subject in (None, "re_BCDFGH", "re_BCDFGH/again"):
        assert retried(DeadLetterFacts(reply(subject=subject))) == [reply(subject=subject)]


def test_an_edit_whose_message_is_over_runs_alone() -> None:
    edit = message(2, edits=True)
    for others in ((edit,), (edit, message(3, message_id="78")), (edit, message(3, edits=True))):
        assert retried(DeadLetterFacts(edit, dead_of_turn=others)) == [edit]


TURNS = st.lists(st.tuples(st.sampled_from(["77", "78"]), st.booleans()), min_size=1, max_size=6)


@given(TURNS)
def test_whichever_dead_letters_of_a_turn_are_retried_each_edit_goes_with_its_message(turn: list[tuple[str, bool]]) -> None:
    rows = tuple(message(number, message_id=of, edits=edits) for number, (of, edits) in enumerate(turn, 1))
    written = {row.envelope.message_id for row in rows if row.envelope.kind == "message"}
    for row in rows:
        found = retried(DeadLetterFacts(row, dead_of_turn=rows))
        edits = [each for each in rows if each.envelope.kind == "edit" and each.envelope.message_id == row.envelope.message_id]
        if row.envelope.kind == "message":
            assert found == [row, *edits]
        elif row.envelope.message_id in written:
            assert isinstance(found, str)
            assert "it is an edit of in-" in found
        else:
            assert found == [row]


def test_an_entry_says_what_the_dead_letter_was_and_who_did_it() -> None:
    row = replace(message(), detail="no key", reason="r" * 300)
    [repair] = put_back(DeadLetterFacts(row), accounts=HERE, by="operator:ann", note="again", now=500.0)
    entry = repair.audit
    assert (entry.at, entry.actor, entry.action, entry.subject) == (500.0, "operator:ann", "dead_letter.retried", "in-1")
    reason = "r" * 200
    assert entry.detail == (
        f'{{"attempts":1,"detail":"no key","note":"again","reason":"{reason}","state":"dead","turn_id":"turn-1"}}'
    )
    entry = drop(reply(7), by="operator:bob", note=None, now=501.0).audit
    assert (entry.at, entry.actor, entry.action, entry.subject) == (
        501.0,
        "operator:bob",
        "dead_letter.dropped",
        ref_of(reply(7)),
    )
    assert entry.detail == '{"attempts":1,"reason":"cut","state":"unknown"}'


def test_the_beginning_of_a_growing_reply_is_not_sent_again_and_its_end_is() -> None:
    begun = reply(1, "dead")
    assert isinstance(begun.payload, SendText)
    begun = replace(begun, payload=replace(begun.payload, grows=True))
    assert retried(DeadLetterFacts(begun)) == "it is the beginning of a reply, which comes whole with its end"
    end = reply(2, edits=1)
    assert retried(DeadLetterFacts(end, edited=begun)) == "it edits out-1, which was not sent"
    end = replace(end, payload=replace(end.payload, or_send=True))
    assert retried(DeadLetterFacts(end, edited=begun)) == [end]
