"""What operators do with dead letters: it happens once, runs at once, and the counts stay true."""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewayd.hub.operations.dead_letter_queue import BulkCursor, DeadLetterQueue
from gatewayd.hub.operations.retention import Retention
from gatewayd.model.config import LimitsSection, SessionsSection
from gatewayd.model.errors import AgentFailed, Conflict, NotFound, StoreRefused
from gatewayd.model.lifecycle import SendOutcome
from gatewayd.model.message.payload import RichText, SendText
from gatewayd.model.records.dead_letter import (
    MOST_AT_ONCE,
    DeadLetterCursor,
    DeadLetterFilter,
    Direction,
    NotADeadLetter,
    RepairAction,
    Skipped,
)
from gatewayd.model.records.question import Question
from gatewayd.ports.agent import Turn
from gatewayd.ports.store import OutboundDraft, OutboundRow, Repairs, RetryRule
from gatewayd.stores.sqlite import SqliteStore
from tests.examples import examples
from tests.hub.house import OPEN, Gate, House, configuration, message, now, open_house

ALL = DeadLetterFilter()
ANN = "operator:ann"


class Moody:
    """A script that fails while it is in a mood."""

    def __init__(self) -> None:
        self.fails = True
        self.turns: list[str] = []

    async def __call__(self, turn: Turn) -> str:
        self.turns.append(turn.request.turn_id)
        if self.fails:
            raise AgentFailed("no key")
        return f"re: {turn.request.text}"


def desk_of(house: House) -> DeadLetterQueue:
    return DeadLetterQueue(house.store, house.inbox, house.outbox, house.events, now=now)


async def lost(house: House, state: SendOutcome = "unknown", *, text: str = "late") -> OutboundRow:
    """A reply that was sent, or not, and became a dead letter."""
    peer = message().peer
    [row] = await house.outbox.write([OutboundDraft("chat", "main", "chat:main:dm:7", SendText(peer, RichText(text)))])
    if state != "parked":
        assert await house.outbox.mark_sending(row)
    await house.outbox.settle(row, state, reason="cut")
    return row


async def counted(house: House) -> dict[str, int]:
    """What waits for a person, as the table has it."""
    sql = "SELECT state, count(*) FROM outbound WHERE closed_at IS NULL AND state NOT IN ('sent') GROUP BY state"
    real: SqliteStore = house.flaky._store
    return dict(await real._read(lambda connection: connection.execute(sql).fetchall()))


async def test_a_message_runs_again_as_a_new_turn(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    moody = Moody()
    async with open_house(tmp_path, moody) as house:
        row = await house.say("hello")
        assert (await house.ended(row)).state == "dead"
        moody.fails = False
        dead_letter = await desk_of(house).act("in-1", "retry", by=ANN)
        assert dead_letter.state == "received"
        assert (await house.ended(row)).reason == "answered"
        assert moody.turns == ["turn-1", "turn-1-1"]
        assert house.texts[-1] == "re: hello"
        assert house.backlog.waiting == 0


async def test_who_may_not_write_any_more_is_not_answered(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_house(tmp_path, Moody()) as house:
        await house.ended(await house.say("hello"))
    config = configuration(frame=replace(OPEN, dm_policy="disabled"))
    async with open_house(tmp_path, config=config) as house:
        await desk_of(house).act("in-1", "retry", by=ANN)
        [row] = [await house.backlog.wait_ended(1)]
        assert (row.state, row.reason) == ("dropped", "dm_disabled")
        assert house.texts == []


async def test_a_reply_is_handed_to_its_account_under_its_number(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_house(tmp_path) as house:
        row = await lost(house)
        house.handed.clear()
        await desk_of(house).act(f"out-{row.id}", "retry", by=ANN)
        assert [(each.id, each.state, each.attempts) for each in house.handed] == [(row.id, "ready", 0)]
        assert (house.outbox.status().ready, house.outbox.status().unknown) == (1, 0)
        assert house.outbox.depth("chat", "main") == 1
        await house.send_all()
        assert (house.outbox.status().ready, house.outbox.sent()) == (0, 1)


@pytest.mark.parametrize("actions", [("retry", "retry"), ("retry", "drop"), ("drop", "drop")])
async def test_of_two_operators_one_comes_too_late(
    actions: tuple[RepairAction, RepairAction], tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    moody = Moody()
    async with open_house(tmp_path, moody) as house:
        refs = ["in-1", f"out-{(await lost(house)).id}"]
        await house.ended(await house.say("hello"))
        house.handed.clear()
        moody.fails = False
        desk, results = desk_of(house), list[str]()

        async def act(ref: str, action: RepairAction) -> None:
            try:
                await desk.act(ref, action, by=ANN)
            except Conflict as conflict:
                results.append(conflict.reason)
            else:
                results.append("done")

        for ref in refs:
            results.clear()
            async with trio.open_nursery() as nursery:
                for action in actions:
                    nursery.start_soon(act, ref, action)
            assert results.count("done") == 1
            assert ref in max(results, key=len)
        await trio.testing.wait_all_tasks_blocked()
        assert moody.turns.count("turn-1-1") <= 1
        assert sum(row.id == int(refs[1][4:]) for row in house.handed) <= 1
        assert len(await house.audited("dead_letter.")) == 2
        assert house.outbox.status().unknown == 0


async def test_nothing_is_done_while_an_outcome_is_being_recorded(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """The row is a dead letter in the store already, and neither counted nor let go of by its account."""
    async with open_house(tmp_path) as house, trio.open_nursery() as nursery:
        house.flaky.holds["settle_outbound"] = anyio.Event()
        nursery.start_soon(lost, house)
        await trio.testing.wait_all_tasks_blocked()
        row = await house.store.get_outbound(1)
        assert row is not None
        assert row.state == "unknown"
        desk = desk_of(house)
        actions: tuple[RepairAction, RepairAction] = ("retry", "drop")
        for action in actions:
            bulk = await desk.act_on(["out-1"], action, by=ANN)
            assert (bulk.done, bulk.skipped) == (0, [Skipped("out-1", "what became of it is being recorded: ask again")])
        house.flaky.holds.pop("settle_outbound").set()
        await trio.testing.wait_all_tasks_blocked()
        await desk.act("out-1", "retry", by=ANN)
        assert (house.outbox.status().unknown, house.outbox.status().ready) == (0, 1)


async def test_who_goes_away_in_the_middle_leaves_nothing_behind(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    moody = Moody()
    async with open_house(tmp_path, moody) as house, trio.open_nursery() as nursery:
        row = await house.say("hello")
        await house.ended(row)
        moody.fails = False
        held = house.flaky.holds["retry_dead_letters"] = anyio.Event()
        with trio.CancelScope() as impatient:

            async def act() -> None:
                await desk_of(house).act("in-1", "retry", by=ANN)

            nursery.start_soon(act)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            held.set()
            impatient.cancel()
        with trio.CancelScope(shield=True):
            assert (await house.ended(row)).reason == "answered"


async def test_a_daemon_that_stops_keeps_it_for_the_next_start(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    moody = Moody()
    async with open_house(tmp_path, moody) as house:
        row = await house.say("hello")
        await house.ended(row)
        reply = await lost(house)
        await house.turns.drain()
        await desk_of(house).act_on(["in-1", f"out-{reply.id}"], "retry", by=ANN)
        assert (await house.reason_of(row))[0] == "received"
    moody.fails = False
    async with open_house(tmp_path, moody) as house:
        assert (await house.ended(row)).reason == "answered"
        assert moody.turns == ["turn-1", "turn-1-1"]
        assert (house.outbox.status().unknown, house.outbox.status().ready) == (0, 3)


async def test_a_full_inbox_takes_nothing_back(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    moody = Moody()
    async with open_house(tmp_path, moody) as house:
        for _ in range(3):
            await house.ended(await house.say("hello"))
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(limits=LimitsSection(inbox_backlog=2))) as house:
        for _ in range(3):  # the first runs, the others wait
            await house.say("new")
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Conflict, match=r"in-1 cannot be retried: .*full"):
            await desk_of(house).act("in-1", "retry", by=ANN)
        await anyio.sleep(1)
        bulk = await desk_of(house).act_on_all(ALL, "retry", by=ANN)
        assert (bulk.done, [each.ref for each in bulk.skipped], bulk.more) == (0, ["in-1", "in-2", "in-3"], False)
        assert await house.audited("dead_letter.") == []


async def test_one_dead_letter_is_refused_in_words(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_house(tmp_path) as house:
        desk, row = desk_of(house), await house.say("hello")
        await house.ended(row)
        with pytest.raises(Conflict, match=r"in-1 is no dead letter \(any more\): it is done \(answered\)"):
            await desk.get("in-1")
        with pytest.raises(NotFound, match="there is no out-99"):
            await desk.act("out-99", "drop", by=ANN)
        with pytest.raises(NotADeadLetter, match="'1' is not in-NUMBER or out-NUMBER"):
            await desk.act("1", "drop", by=ANN)


async def test_what_is_put_back_answers_no_question_of_today(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    moody = Moody()
    async with open_house(tmp_path, moody) as house:
        old = await house.say("yesterday's")
        await house.ended(old)
        answers: list[tuple[str, ...] | None] = []

        async def ask(turn: Turn) -> str:
            if turn.request.text == "yesterday's":
                return "re: yesterday's"
            answers.append(await turn.question(Question("Which colour?")))
            return "thanks"

        house.agents.script = ask
        asking = await house.say("today's")
        await trio.testing.wait_all_tasks_blocked()
        await desk_of(house).act("in-1", "retry", by=ANN)
        await trio.testing.wait_all_tasks_blocked()
        assert answers == []
        await house.say("blue")
        await house.ended(asking)
        assert answers == [("blue",)]
        assert (await house.ended(old)).reason == "answered"


async def test_what_is_put_back_interrupts_nothing(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    moody, gate = Moody(), Gate()
    config = configuration(sessions=SessionsSection(queue_mode="interrupt"))
    async with open_house(tmp_path, moody, config=config) as house:
        old = await house.say("yesterday's")
        await house.ended(old)
        house.agents.script = gate
        running = await house.say("today's")
        await trio.testing.wait_all_tasks_blocked()
        await desk_of(house).act("in-1", "retry", by=ANN)
        await trio.testing.wait_all_tasks_blocked()
        gate.gate.set()
        assert (await house.ended(running)).reason == "answered"
        assert (await house.ended(old)).reason == "answered"


class Grudging:
    """A store whose disk is full after some transactions."""

    def __init__(self, store: SqliteStore, transactions: int) -> None:
        self.store = store
        self.left = transactions

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)

    async def retry_dead_letters(self, refs: Sequence[str], rule: RetryRule, *, now: float) -> Repairs:
        self.left -= 1
        if self.left < 0:
            raise StoreRefused("the disk is full; nothing was stored")
        return await self.store.retry_dead_letters(refs, rule, now=now)


async def many(house: House, count: int) -> None:
    """So many dead letters of the outbox, which has counted them."""
    sql = """
        INSERT INTO outbound (channel, account, conversation, peer, state, created_at, queued_at, settled_at, reason, payload)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
        SELECT 'chat', 'main', 'chat:main:dm:7', 'dm:7', 'dead', 1, 1, ? + i / 1000.0, 'cut',
            CAST('{"type":"send_text","peer":{"kind":"dm","id":"7"},"body":{"text":"hi"}}' AS BLOB) FROM n
    """
    real: SqliteStore = house.flaky._store
    await real._write(lambda connection: connection.execute(sql, (count, now() - 1000)).rowcount)
    await house.outbox.recover([("chat", "main")])


async def test_a_disk_that_is_full_in_the_middle_is_said(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_house(tmp_path) as house:
        await many(house, 120)
        refs = [f"out-{number}" for number in range(1, 121)]
        for transactions, done in ((1, 50), (2, 70)):
            store = Grudging(house.store, transactions)
            desk = DeadLetterQueue(store, house.inbox, house.outbox, house.events, now=now)  # type: ignore[arg-type]
            bulk = await desk.act_on(refs, "retry", by=ANN)
            assert bulk.done == done
            assert {each.why for each in bulk.skipped} <= {
                "the disk is full; nothing was stored",
                *(f"out-{number} is no dead letter (any more): it is ready" for number in range(1, 51)),
            }
        await lost(house)
        await anyio.sleep(1)
        full = DeadLetterQueue(Grudging(house.store, 0), house.inbox, house.outbox, house.events, now=now)  # type: ignore[arg-type]
        for act in (full.act("out-121", "retry", by=ANN), full.act_on_all(ALL, "retry", by=ANN)):
            with pytest.raises(StoreRefused):
                await act
        status = house.outbox.status()
        assert (status.dead, status.unknown, status.ready) == (0, 1, 120)


async def test_a_filter_that_fits_everything_is_done_in_pieces(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_house(tmp_path) as house:
        await many(house, 1_230)
        desk, done, after = desk_of(house), list[int](), None
        while True:
            commits = house.store.statistics().commits
            bulk = await desk.act_on_all(DeadLetterFilter(state="dead"), "retry", after=after, by=ANN)
            assert house.store.statistics().commits - commits >= bulk.done / 50
            done.append(bulk.done)
            after = bulk.next
            if not bulk.more:
                break
        assert done == [MOST_AT_ONCE, MOST_AT_ONCE, 230]
        assert (house.outbox.status().ready, house.outbox.status().dead) == (1_230, 0)
        order = [row.id for row in house.handed]
        assert order == sorted(order)


async def test_what_dies_again_is_not_retried_by_the_same_bulk(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    moody = Moody()
    async with open_house(tmp_path, moody) as house:
        for number in range(60):
            await house.ended(await house.say("hello", peer=message().peer, sender=None, event_key=f"x{number}"))
        desk, after, calls = desk_of(house), None, 0
        await anyio.sleep(1)
        while True:
            bulk = await desk.act_on_all(DeadLetterFilter(direction="in"), "retry", after=after, by=ANN)
            calls += 1
            await anyio.sleep(1)
            after = bulk.next
            if not bulk.more:
                break
        assert (calls, bulk.done, len(moody.turns)) == (1, 60, 120)
        # And where a call ends in the middle, the next one goes on with what was there at the first.
        bulk = await desk.act_on_all(ALL, "retry", after=BulkCursor(now() - 0.5, DeadLetterCursor(0.0, "in", 1)), by=ANN)
        assert (bulk.done, bulk.more) == (60, False)
        bulk = await desk.act_on_all(ALL, "retry", after=BulkCursor(0.5, DeadLetterCursor(0.0, "in", 1)), by=ANN)
        assert (bulk.done, bulk.more) == (0, False)


cursors = st.builds(
    DeadLetterCursor,
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["in", "out"]),
    st.integers(1, 10**18 - 1),
)


@given(cursor=cursors, until=st.floats(allow_nan=False))
def test_cursors_are_read_as_they_were_written(cursor: DeadLetterCursor, until: float) -> None:
    assert DeadLetterCursor.parse(str(cursor)) == cursor
    assert BulkCursor.parse(str(BulkCursor(until, cursor))) == BulkCursor(until, cursor)


@given(text=st.one_of(st.text(), st.from_regex(r"[-0-9.einfa]*~?[-0-9.einfa]*_?(in|out)?-?[0-9]*", fullmatch=True)))
def test_garbage_is_no_place(text: str) -> None:
    for kind in (DeadLetterCursor, BulkCursor):
        try:
            cursor = kind.parse(text)
        except NotADeadLetter:
            continue
        at, direction = (
            (cursor.cursor.ended_at, cursor.cursor.direction)
            if isinstance(cursor, BulkCursor)
            else (
                cursor.ended_at,
                cursor.direction,
            )
        )
        assert math.isfinite(at)
        known: tuple[Direction, Direction] = ("in", "out")
        assert direction in known


DEEDS = st.lists(
    st.one_of(
        st.sampled_from(["message", "restart", "send", "retry all", "drop all", "expire"]),
        st.tuples(st.just("reply"), st.sampled_from(["sent", "unknown", "parked", "dead"])),
        st.tuples(st.sampled_from(["retry", "drop"]), st.integers(0, 30)),
    ),
    max_size=14,
)


@given(deeds=DEEDS)
@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_done_the_counts_are_those_of_the_table(deeds: list[str | tuple[str, str | int]]) -> None:
    """Through ends, retries, drops, sends, retention and restarts."""

    async def go() -> None:
        with tempfile.TemporaryDirectory() as directory:
            lives, life = [list[str | tuple[str, str | int]]()], 0
            for deed in deeds:
                if deed == "restart":
                    lives.append([])
                    life += 1
                else:
                    lives[life].append(deed)
            moody = Moody()
            for its_deeds in lives:
                async with open_house(Path(directory), moody) as house:
                    await check_counts(house)
                    for deed in its_deeds:
                        moody.fails = not moody.fails
                        await do(house, deed)
                        await check_counts(house)

    trio.run(go, clock=trio.testing.MockClock(autojump_threshold=0))


async def do(house: House, deed: str | tuple[str, str | int]) -> None:
    desk = desk_of(house)
    match deed:
        case "message":
            await house.ended(await house.say("hello"))
        case "send":
            await house.send_all()
        case "retry all" | "drop all":
            await anyio.sleep(1)
            await desk.act_on_all(ALL, "retry" if deed == "retry all" else "drop", by=ANN)
        case "expire":
            later = Retention(house.store, house.outbox, house.events, house.configured, now=lambda: now() + 100 * 86_400.0)
            await later.run_once()
        case ("reply", state):
            await lost(house, state)  # type: ignore[arg-type]
        case (action, number):
            page = await desk.list(ALL, before=None, limit=100)
            refs = [dead_letter.ref for dead_letter in page.dead_letters] or ["in-1"]
            await desk.act_on([refs[int(number) % len(refs)]], action, by=ANN)  # type: ignore[arg-type]
    await trio.testing.wait_all_tasks_blocked()


async def check_counts(house: House) -> None:
    await trio.testing.wait_all_tasks_blocked()
    status, table = house.outbox.status(), await counted(house)
    said = {"ready": status.ready, "sending": status.sending}
    said |= {"unknown": status.unknown, "parked": status.parked, "dead": status.dead}
    assert {state: count for state, count in said.items() if count} == table
    dead_letters = await house.store.count_dead_letters()
    assert (dead_letters.out_unknown, dead_letters.out_parked, dead_letters.out_dead) == (
        status.unknown,
        status.parked,
        status.dead,
    )
    waiting = await house.store.pending_inbound(list(house.configured.accounts), after_id=0, limit=1000)
    assert house.backlog.waiting == len(waiting) == 0
    assert sum(house.outbox.depth(a.channel, a.account) for a in house.config.accounts) == status.ready + status.sending
