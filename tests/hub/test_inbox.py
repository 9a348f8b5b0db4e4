"""The inbox: journal first, once per event, in order, and nothing is stored when the store refuses."""

from pathlib import Path

import anyio
import pytest
import trio
from trio.testing import MockClock

from gatewayd.model.envelope import Peer, Sender
from gatewayd.model.errors import NotFound
from tests.hub.house import Gate, message, open_house


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
        assert [row.payload.reply_to for row in house.handed] == [None, "m5"]


async def test_waiting_for_an_unknown_row_says_so(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        with pytest.raises(NotFound):
            await house.inbox.wait_ended(4711)
