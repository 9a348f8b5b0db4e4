"""The inbox: journal first, once per event, in order, and nothing is stored when the store refuses."""

from pathlib import Path

import anyio
import pytest
import trio
from trio.testing import MockClock

from gatewayd.model.config import AccountFrame, LimitsSection
from gatewayd.model.envelope import Peer, Sender
from gatewayd.model.errors import NotFound, StoreRefused
from gatewayd.model.payload import SendText
from tests.hub.house import Gate, configuration, message, open_house


async def test_an_event_delivered_four_times_is_one_turn(tmp_path: Path, autojump_clock: MockClock) -> None:
    event = message("hello")
    for _ in range(2):
        async with open_house(tmp_path) as house:
            rows = [row for _ in range(2) for row in await house.inbox.deliver([event, event])]
            for row in rows:
                await house.ended(row)
    async with open_house(tmp_path) as house:
        assert await house.inbox.deliver([event]) == []
        assert house.agents.turns == []
        found = await house.store.find_inbound("chat", "main", event.event_key)
        assert found is not None
        assert (found.state, found.attempts) == ("done", 1)


async def test_the_memo_is_committed_with_its_envelopes(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        await house.inbox.deliver([message()], memo=("chat", "main", "offset", "41"))
        await house.inbox.deliver([], memo=("chat", "main", "offset", "42"))
    async with open_house(tmp_path) as house:
        assert await house.store.load_memo("chat", "main", "offset") == "42"


async def test_deliveries_at_the_same_moment_run_in_the_order_of_their_commits(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(house.inbox.deliver, [message(str(number))])
        await trio.testing.wait_all_tasks_blocked()
        ids = [int(turn.request.turn_id.removeprefix("turn-")) for turn in house.agents.turns]
        assert len(ids) == 50
        assert ids == sorted(ids)


async def test_an_unknown_account_is_refused_before_anything_is_stored(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        with pytest.raises(NotFound, match="chat/other"):
            await house.inbox.deliver([message(), message(account="other")])
        assert await house.inbox.pending() == []


async def test_rows_of_an_account_that_was_removed_end_with_that_reason(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate) as house:
        await house.say("running")
        left = await house.store.add_inbound([message("left", account="gone")])
    async with open_house(tmp_path) as house:
        assert (await house.ended(left[0])).reason == "account_removed"


async def test_a_reply_in_a_group_answers_its_message_and_a_direct_one_does_not(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path) as house:
        for peer in (Peer("dm", "7"), Peer("group", "9")):
            await house.ended(await house.say("hello", peer=peer, sender=Sender("7"), message_id="m5"))
        assert [row.payload.reply_to for row in house.handed if isinstance(row.payload, SendText)] == [None, "m5"]


async def test_waiting_for_an_unknown_row_says_so(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        with pytest.raises(NotFound):
            await house.inbox.wait_ended(4711)


async def test_the_bound_holds_however_many_deliver_at_once_and_the_first_come_is_first_served(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(limits=LimitsSection(inbox_waiting=4))) as house:
        most = 0
        order: list[int] = []

        async def deliver(number: int) -> None:
            nonlocal most
            await house.inbox.deliver([message(f"{number}a"), message(f"{number}b")])
            order.append(number)
            most = max(most, house.turns.status().waiting)

        await house.say("runs")
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(deliver, number)
                await trio.testing.wait_all_tasks_blocked()
            assert order == [0, 1]
            assert house.inbox.full()
            gate.gate.set()
        assert order == list(range(20))
        assert most <= 4
        await trio.testing.wait_all_tasks_blocked()
        assert (house.inbox.waiting, house.inbox.full()) == (0, False)


async def test_a_delivery_larger_than_the_inbox_is_taken_when_it_is_empty(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(limits=LimitsSection(inbox_waiting=2))) as house:
        rows = await house.inbox.deliver([message(str(number)) for number in range(5)])
        assert (await house.ended(rows[-1])).reason == "answered"
        assert house.inbox.waiting == 0


async def test_who_delivers_and_goes_away_during_the_commit_leaves_nothing_unrun(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path) as house:
        house.flaky.holds["add_inbound"] = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(house.inbox.deliver, [message("hello")])
            await trio.testing.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            house.flaky.holds["add_inbound"].set()
        await trio.testing.wait_all_tasks_blocked()
        assert house.texts == ["re: hello"]
        assert house.inbox.waiting == 0


async def test_room_is_given_back_when_nothing_was_stored(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        house.flaky.refuses.add("add_inbound")
        with pytest.raises(StoreRefused):
            await house.say("hello")
        house.flaky.refuses.clear()
        event = message("again")
        for _ in range(2):
            await house.inbox.deliver([event])
        await trio.testing.wait_all_tasks_blocked()
        assert house.inbox.waiting == 0
        assert house.texts == ["re: again"]


async def test_a_stranger_is_answered_although_the_disk_was_full_for_a_while(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(frame=AccountFrame())) as house:
        house.flaky.refuses.add("end_inbound")
        row = await house.say("let me in")
        await anyio.sleep(5)
        house.flaky.refuses.clear()
        await house.ended(row)
        [waiting] = await house.access.pending()
        assert [waiting.code in text for text in house.texts] == [True]


async def test_who_stops_waiting_for_an_end_leaves_nothing_behind(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate) as house:
        row = await house.say("hello")
        ends: list[str | None] = []

        async def wait() -> None:
            ends.append((await house.inbox.wait_ended(row.id)).reason)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            with anyio.move_on_after(1):
                await house.inbox.wait_ended(row.id)
            gate.gate.set()
        assert ends == ["answered"]
        with pytest.raises(NotFound):
            await house.inbox.wait_ended(4711)
        assert house.inbox._ended == {}


async def test_rows_dropped_for_one_reason_share_commits(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(frame=AccountFrame(dm_policy="disabled"))) as house:
        before = house.store.statistics().operations
        rows = await house.inbox.deliver([message(str(number)) for number in range(300)])
        for row in rows:
            await house.inbox.wait_ended(row.id)
        assert {await house.reason_of(row) for row in rows} == {("dropped", "dm_disabled")}
        # Not 300: one for the delivery, two for the ends, and events in between.
        assert house.store.statistics().operations - before < 20
        assert house.inbox.waiting == 0
