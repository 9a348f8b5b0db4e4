"""The trace as it is told: from real turns, and from rows as they may be."""

from pathlib import Path

import pytest
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewayd.hub.operations.dead_letter_queue import DeadLetterQueue
from gatewayd.hub.operations.trace import MOST_ENTRIES, Tracer, trace_of
from gatewayd.hub.operations.trace_rows import TraceRows
from gatewayd.model.errors import AgentFailed, NotFound
from gatewayd.model.lifecycle import ApprovalState, InboundState, OutboundState
from gatewayd.model.message.envelope import Sender
from gatewayd.model.message.payload import EditText, Receipt, RichText, SendText
from gatewayd.model.records.approval import Approval, Decision, ToolRequest, Vote
from gatewayd.model.records.audit import AuditRow
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.model.records.trace import Trace
from gatewayd.ports.agent import Turn
from gatewayd.ports.store import InboundRow, OutboundRow
from tests.hub.house import House, configuration, message, now, open_house

ENVELOPE = replace(message("hello"), received_at=10.0, sender=Sender("7", "Bob"))


def tracer(house: House) -> Tracer:
    return Tracer(house.store, accounts=house.inbox.availability)


def told(trace: Trace) -> list[tuple[str, str]]:
    return [(entry.what, entry.ref) for entry in trace.entries]


def inbound(state: InboundState, *, reason: str | None = None, number: int = 1, **changes: object) -> InboundRow:
    ended_at = None if state in ("received", "running") else 30.0
    row = InboundRow(number, ENVELOPE, state, 1, reason=reason, turn_id=f"turn-{number}", started_at=20.0, ended_at=ended_at)
    return replace(row, **changes)


def outbound(state: OutboundState, *, number: int = 1, **changes: object) -> OutboundRow:
    row = OutboundRow(number, "chat", "main", "c", SendText(ENVELOPE.peer, RichText("re: hello")), state, 1, 30.0)
    settled_at = None if state in ("ready", "sending") else 32.0
    return replace(row, **({"queued_at": 30.0, "sending_at": 31.0, "settled_at": settled_at, "reason": "cut"} | changes))


def asked(state: ApprovalState, **changes: object) -> Approval:
    row = Approval("ap_1", "assistant", "key", "turn-1", 0, "bash", '{"command":"secret"}', "h", state, 21.0, 900.0, "origin")
    decided: dict[str, object] = {} if state == "pending" else {"decided_at": 22.0, "decided_by": "operator:ann"}
    return replace(row, code="BCDFGH", **(decided | changes))


def rows(
    *messages: InboundRow,
    replies: tuple[OutboundRow, ...] = (),
    approvals: tuple[Approval, ...] = (),
    questions: tuple[QuestionRow, ...] = (),
    audit: tuple[AuditRow, ...] = (),
) -> TraceRows:
    return TraceRows(list(messages), list(replies), list(approvals), list(questions), list(audit))


async def test_a_turn_with_a_request_is_told_from_receipt_to_reply(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    decisions: list[Decision] = []

    async def script(turn: Turn) -> str:
        decisions.append(await turn.permission(ToolRequest("bash", '{"command":"ls"}')))
        return "done"

    async with open_house(tmp_path, script) as house:
        row = await house.say("list the files")
        await trio.testing.wait_all_tasks_blocked()
        [pending] = await house.desk.list()
        trace = await tracer(house).trace(pending.code)
        assert trace.verdict == f"in-1 is being worked on, attempt 1; it waits for an answer to {pending.id}."
        await house.desk.decide(pending.id, allow=True, by="operator:ann")
        await house.ended(row)
        await house.send_all()
        trace = await tracer(house).trace("in-1")
        assert [what for what, ref in told(trace) if not ref.startswith("out-")] == [
            "received",
            "turn_started",
            "approval_asked",
            "approval_decided",
            "approval_used",
            "ended",
        ]
        assert trace.verdict.startswith("in-1 is done: the agent answered; ")
        assert "list the files" in str(trace.entries[0].detail)
        assert pending.id in house.texts[0]
        assert house.texts[0] not in str(trace.entries)  # what is written about a request may show the tool's input
        assert f"gatewayctl approvals show {pending.id}" in str(trace.entries)
        assert [decision.allowed for decision in decisions] == [True]


async def test_what_an_operator_did_is_in_it(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async def script(turn: Turn) -> str:
        raise AgentFailed("no key")

    async with open_house(tmp_path, script) as house:
        row = await house.say("hello")
        await house.ended(row)
        desk = DeadLetterQueue(house.store, house.inbox, house.outbox, house.events, now=now)
        await desk.act("in-1", "retry", by="operator:ann", note="the key is there")
        await house.ended(row)
        await desk.act("in-1", "drop", by="operator:bob")
        trace = await tracer(house).trace("in-1")
        said = [(entry.text, entry.detail) for entry in trace.entries if entry.what == "operator"]
        assert said == [
            ("operator:ann put it back", "it was dead (agent_failed: no key); the key is there"),
            ("operator:bob dropped it", "it was dead (agent_failed: no key)"),
        ]
        assert trace.verdict == "in-1 is dead (the agent failed), and an operator has dropped it."
        assert trace.found == ("in-1", "out-1", "out-2")  # both turns told their user


async def test_who_is_not_let_in_is_told_why(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    config = configuration()
    async with open_house(tmp_path, config=config) as house:
        row = await house.say("hello", sender=Sender("7", is_bot=True))
        await house.backlog.wait_ended(row.id)
        assert (await tracer(house).trace("in-1")).verdict == "in-1 was dropped: it came from a bot."
        with pytest.raises(NotFound, match="'in-2' is not known, or its rows were deleted"):
            await tracer(house).trace("in-2")


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (rows(inbound("received", turn_id=None)), "in-1 waits for a turn."),
        (rows(inbound("running", attempts=3)), "in-1 is being worked on, attempt 3."),
        (
            rows(inbound("dead", reason="turn_timed_out")),
            "in-1 is dead: its turn took too long. `gatewayctl dead-letters retry in-1` runs it again.",
        ),
        (rows(inbound("dropped", reason="brand_new")), "in-1 was dropped: brand_new."),
        (rows(inbound("done", reason="answered_nothing")), "in-1 is done: the agent chose not to answer."),
        (
            rows(inbound("done", reason="answered"), replies=(outbound("unknown"),)),
            "in-1 is done: the agent answered; out-1 may or may not have been seen (cut).",
        ),
        (
            rows(replies=(outbound("unknown", reason="interrupted"),)),
            "out-1 may or may not have been seen (gatewayd ended while it was being sent).",
        ),
        (
            rows(inbound("done", reason="answered"), replies=(outbound("sent"), outbound("sent"), outbound("dead"))),
            "in-1 is done: the agent answered; 3 replies and edits: 2 sent, 1 dead.",
        ),
        (rows(replies=(outbound("parked", closed_at=40.0),)), "out-1 was not sent (cut), and an operator has dropped it."),
        (rows(replies=(outbound("ready", reason=None),)), "out-1 waits to be sent."),
        (
            rows(inbound("done", reason="answered"), inbound("dead", number=2, reason="agent_failed"), inbound("done", number=3)),
            "3 messages: 2 done, 1 dead.",
        ),
        (rows(approvals=(asked("denied"),)), "The messages that it belongs to are not kept any more."),
    ],
)
def test_the_verdict_is_one_sentence(found: TraceRows, verdict: str) -> None:
    assert trace_of("x", found).verdict == verdict


def test_every_end_of_a_reply_is_told() -> None:
    replies = (
        outbound("sent", number=1, receipt=Receipt("m1")),
        outbound("unknown", number=2, settled_at=33.0),
        outbound("parked", number=3, sending_at=None, settled_at=34.0),
        outbound("dead", number=4, settled_at=35.0, payload=EditText(ENVELOPE.peer, RichText("edited"), of=1)),
        outbound("ready", number=5, next_attempt_at=99.0),
    )
    trace = trace_of("x", rows(replies=replies))
    ends = [(entry.what, entry.ref, entry.at, entry.detail) for entry in trace.entries if entry.at >= 32]
    assert ends == [
        ("sent", "out-1", 32.0, None),
        ("unknown", "out-2", 33.0, "cut"),
        ("parked", "out-3", 34.0, "cut"),
        ("dead", "out-4", 35.0, "cut"),
        ("waits", "out-5", 99.0, "cut"),
    ]
    assert any(entry.text.startswith("edit of out-1 to chat/main dm:7") for entry in trace.entries)


def test_a_quorum_is_told_vote_by_vote_and_a_rule_is_not_asked() -> None:
    votes = (Vote("telegram:1", True, 21.5), Vote("telegram:2", False, 22.0))
    trace = trace_of("x", rows(approvals=(asked("denied", quorum=2, votes=votes),)))
    assert [entry.text for entry in trace.entries] == [
        "assistant asked to use bash",
        "telegram:1 said yes",
        "telegram:2 said no",
        "bash was denied by operator:ann",
    ]
    ruled = trace_of("x", rows(approvals=(asked("allowed", decided_by="policy:1", decided_at=21.0, consumed_at=21.0),)))
    assert [entry.text for entry in ruled.entries] == ["bash was allowed by policy:1", "bash was run"]


def test_a_question_is_told_with_its_end() -> None:
    row = QuestionRow("qu_1", "turn-1", 0, "key", Question("Which colour?"), "pending", 5.0, 900.0)
    answered = replace(row, state="answered", answered_by="telegram:7", ended_at=6.0)
    assert [(entry.text, entry.detail) for entry in trace_of("x", rows(questions=(answered,))).entries] == [
        ("the agent asked its user a question", "Which colour?"),
        ("the question was answered by telegram:7", None),
    ]
    waits = trace_of("x", rows(inbound("running"), questions=(row,)))
    assert waits.verdict == "in-1 is being worked on, attempt 1; it waits for an answer to qu_1."


@given(
    details=st.lists(st.one_of(st.text(max_size=30), st.just('{"state":1}'), st.just("[]"), st.just('{"note":"n"}')), max_size=4),
    times=st.lists(st.floats(0, 1e10), min_size=4, max_size=4),
)
def test_it_is_in_the_order_of_time_whatever_stands_in_the_rows(details: list[str], times: list[float]) -> None:
    audit = tuple(
        AuditRow(number, at, "x", "dead_letter.retried", "in-1", detail, "", "")
        for number, (detail, at) in enumerate(zip(details, times, strict=False))
    )
    first, second, third, fourth = times
    message_row = inbound("done", reason="answered", started_at=first, ended_at=second)
    reply = outbound("sent", created_at=third, sending_at=fourth, settled_at=first)
    trace = trace_of("x", rows(message_row, replies=(reply,), audit=audit))
    assert [entry.at for entry in trace.entries] == sorted(entry.at for entry in trace.entries)
    assert len(trace.entries) == 6 + len(audit)


def test_a_trace_without_end_is_cut_at_its_beginning() -> None:
    trace = trace_of("x", rows(*(inbound("done", number=number, ended_at=float(number)) for number in range(1, 400))))
    assert (len(trace.entries), trace.more) == (MOST_ENTRIES, True)
    assert trace.entries[-1].ref == "in-399"
