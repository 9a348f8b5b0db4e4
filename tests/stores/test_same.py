"""Whatever is done with them, and in whichever order: SQLite's store and the one of the guide answer the same."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, get_args

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from contrib.examples.memory_store import MemoryStore
from gatewayd.model.errors import GatewayError
from gatewayd.model.lifecycle import Outcome, PairingDecision, PairingState, QuestionEnd, SendOutcome
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import EditText, Receipt, RichText
from gatewayd.model.message.report import DeliveryReport, ReportKind
from gatewayd.model.records.approval import Approval
from gatewayd.model.records.audit import AuditDraft
from gatewayd.model.records.dead_letter import DeadLetterFilter
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.ports.store import EventDraft, OutboundDraft, OutboundRow, RetentionKind, SessionRow, Store, TokenRow
from gatewayd.testing.store_contract.rows import Clock, approval, draft, dropping, envelope, fresh_key, pairing, retrying, voting
from tests.examples import examples
from tests.stores.sqlite.test_contract import open_somewhere

pytestmark = pytest.mark.slow

NUMBERS = st.integers(1, 6)
NAMES = st.sampled_from("abc")
TIMES = st.integers(1, 60).map(float)
ACCOUNTS = st.sampled_from(["main", "other"])
TURNS = NUMBERS.map("turn-{}".format)


def noticed(made: OutboundDraft, row: OutboundRow, of_turn: Sequence[OutboundRow]) -> OutboundDraft | None:
    """A notice that shows what the rule was called with; none for a second reply of a turn."""
    seen = [(each.id, each.state, each.reason) for each in of_turn]
    return None if any(each.state == "unknown" for each in of_turn if each != row) else replace(made, subject=f"re_{seen}")


SUBJECTS = st.sampled_from([None, "approval-1", "approval-2/notice", "qu_1", "re_X", "sign"])
AUDIT = AuditDraft(1.0, "operator:me", "approval.allow", "approval-1")
SEVERAL = st.lists(NUMBERS, max_size=3)
REFS = st.lists(st.builds("{}-{}".format, st.sampled_from(["in", "out"]), NUMBERS), max_size=4)
OF_GATEWAY = st.lists(ACCOUNTS.map(lambda name: ("telegram", name)), max_size=2, unique=True)
PEERS = st.sampled_from([Peer("dm", "42"), Peer("group", "g:1", "t")])

Step = Callable[[Store], Awaitable[Any]]


def is_even(row: OutboundRow) -> bool:
    return row.id % 2 == 0


def call(name: str, /, *values: st.SearchStrategy[Any], **named: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    """Call an operation of a store with such arguments."""

    def step(given: tuple[tuple[Any, ...], dict[str, Any]]) -> Step:
        async def run(store: Store) -> Any:
            return await getattr(store, name)(*given[0], **given[1])

        run.__qualname__ = f"{name}{given}"
        return run

    return st.tuples(st.tuples(*values), st.fixed_dictionaries(named)).map(step)


def some_draft(text: str, account: str, turn_id: str, subject: str | None, peer: Peer, edits: int | None) -> Any:
    made = draft(text, account=account, turn_id=turn_id, peer=peer)
    payload = made.payload if edits is None else EditText(peer, RichText(text), of=edits)
    return replace(made, subject=subject, payload=payload)


def asked(number: int) -> Approval:
    return approval(number, turn_id=f"turn-{number}")


# A key of its own each: what is skipped may take a number in one store and none in another.
ENVELOPES = st.builds(envelope, st.builds(fresh_key), account=ACCOUNTS, peer=PEERS, at=TIMES)
DRAFTS = st.builds(some_draft, NAMES, ACCOUNTS, TURNS, SUBJECTS, PEERS, st.none() | NUMBERS)
DECIDED = NUMBERS.map(lambda number: replace(asked(number), state="allowed", decided_at=5.0))
QUESTIONS = NUMBERS.map(
    lambda number: QuestionRow(f"qu_{number}", f"turn-{number}", number, "key", Question("?"), "pending", 1.0, 9.0)
)
TOKENS = st.builds(
    lambda name, kind, at: TokenRow(name, kind, "me", "operator", ("read",), at, at + 10),
    NAMES,
    st.sampled_from(["token", "login_code"]),
    TIMES,
)
PAIRINGS = st.builds(lambda code, sender, at: pairing(code, sender, at=at, expires_at=at + 20), NAMES, NAMES, TIMES)
SESSIONS = st.builds(lambda name, at: SessionRow("key" + name, "assistant", "s" + name, 1, at, at), NAMES, TIMES)
DONE = st.just("done")
REPORTS = st.tuples(
    st.just("telegram"),
    ACCOUNTS,
    st.builds(DeliveryReport, NAMES, st.sampled_from(get_args(ReportKind)), st.none() | TIMES, st.none() | NAMES),
)
LIMITS = st.integers(1, 4)
QUESTION_IDS = NUMBERS.map("qu_{}".format)
APPROVAL_IDS = NUMBERS.map("approval-{}".format)

STEPS = st.one_of(
    call("add_inbound", st.lists(ENVELOPES, max_size=3)),
    call("add_inbound", st.just(()), reports=st.lists(REPORTS, min_size=1, max_size=3)),
    call("prune_reports"),
    call("start_turn", SEVERAL, turn_id=TURNS, session_key=NAMES.map("key{}".format)),
    call("note_stop", SEVERAL),
    call(
        "end_inbound", SEVERAL, state=st.just("done"), reason=st.just("answered"), now=TIMES, replies=st.lists(DRAFTS, max_size=2)
    ),
    call("end_inbound", SEVERAL, state=st.just("dead"), reason=st.just("agent_failed"), now=TIMES),
    call("pending_inbound", OF_GATEWAY, after_id=NUMBERS, limit=LIMITS),
    call("add_outbound", st.lists(DRAFTS, max_size=3), now=TIMES),
    call("mark_sending", NUMBERS),
    call(
        "settle_outbound",
        NUMBERS,
        st.sampled_from(get_args(SendOutcome)),
        now=TIMES,
        reason=st.none() | NAMES,
        receipt=st.none() | NAMES.map(Receipt),
        next_attempt_at=st.none() | TIMES,
        attempt_counts=st.booleans(),
        in_doubt=st.none() | st.booleans(),
        notice=st.none() | DRAFTS.map(lambda made: partial(noticed, made)),
    ),
    call("ready_numbers", st.just("telegram"), ACCOUNTS, after_id=st.just(0), limit=LIMITS),
    call("ready_among", SEVERAL),
    call("recover_outbound", OF_GATEWAY, stale_before=TIMES, now=TIMES, resend=st.sampled_from([None, is_even])),
    call("outbound_by", st.just("subject"), st.just("qu_1"), limit=st.none() | LIMITS),
    call("outbound_by", st.just("turn_id"), TURNS, account=st.none() | st.tuples(st.just("telegram"), ACCOUNTS)),
    call("inbound_by", st.just("turn_id"), TURNS, limit=st.none() | LIMITS),
    call("transcript", st.just("telegram"), ACCOUNTS, PEERS, limit=LIMITS),
    call("list_dead_letters", st.builds(DeadLetterFilter, st.sampled_from([None, "in", "out"])), before=st.none(), limit=LIMITS),
    call("count_dead_letters"),
    call("retry_dead_letters", REFS, st.just(retrying()), now=TIMES),
    call("drop_dead_letters", REFS, st.just(dropping()), now=TIMES),
    call(
        "sweep",
        st.sampled_from(get_args(RetentionKind)),
        st.just(lambda row: bool(row.referrers)),
        before=TIMES,
        after=st.none() | st.tuples(TIMES, NUMBERS),
        limit=LIMITS,
    ),
    call("add_approval", NUMBERS.map(asked)),
    call("add_approval", DECIDED, audit=st.just(AUDIT)),
    call("vote_approval", APPROVAL_IDS, st.builds(voting, NAMES, allow=st.booleans()), audit=st.just(AUDIT)),
    call("decide_approval", APPROVAL_IDS, st.sampled_from(get_args(Outcome)), by=NAMES, note=st.none(), now=TIMES),
    call("consume_approval", APPROVAL_IDS, ref=st.none() | NAMES, now=TIMES),
    call("list_approvals", st.sampled_from([None, "pending", "allowed"]), limit=LIMITS, accounts=st.none() | OF_GATEWAY),
    call("add_question", QUESTIONS),
    call("end_question", QUESTION_IDS, st.sampled_from(get_args(QuestionEnd)), now=TIMES, by=NAMES, inbound_ids=SEVERAL),
    call("pending_questions", limit=LIMITS, accounts=st.none() | OF_GATEWAY),
    call("add_events", NUMBERS.map(lambda count: [EventDraft(1.0, "x", b"{}")] * count)),
    call("prune_events", keep=NUMBERS),
    call("event_bounds"),
    call("add_pairing", PAIRINGS),
    call("decide_pairing", NAMES.map(str.upper), st.sampled_from(get_args(PairingDecision)), by=NAMES, now=TIMES),
    call("list_pairings", st.sampled_from(get_args(PairingState)), limit=LIMITS),
    call("revoke_pairing", st.just("telegram"), st.just("main"), NAMES),
    call("put_token", TOKENS),
    call("take_token", NAMES),
    call("exchange_token", NAMES, TOKENS),
    call("list_tokens", st.just("token")),
    call("delete_expired_tokens", TIMES),
    call("put_session", SESSIONS),
    call("find_session", st.just("assistant"), NAMES.map("s{}".format)),
    call("claim_accounts", NAMES, OF_GATEWAY),
)


async def answer(step: Step, store: Store) -> object:
    try:
        found = await step(store)
    except (GatewayError, AssertionError) as error:
        return type(error).__name__
    return found


@settings(max_examples=examples(500))
@given(st.lists(STEPS, max_size=30))
def test_both_stores_answer_the_same(steps: list[Step]) -> None:
    async def compare() -> None:
        clock = Clock()
        memory = MemoryStore(clock)
        async with open_somewhere(clock) as sqlite:
            for number, step in enumerate(steps):
                clock.time = float(number)
                assert await answer(step, memory) == await answer(step, sqlite), step.__qualname__
            assert await memory.audit_after(0, limit=99) == await sqlite.audit_after(0, limit=99)

    trio.run(compare)
