"""The inbox: journal first, once per event, in order, and nothing is stored when the store refuses."""

from pathlib import Path

import anyio
import pytest
import trio
from trio.testing import MockClock

from gatewayd.hub.inbox.inbox import SORRY_MANY
from gatewayd.model.config import AccountFrame, LimitsSection
from gatewayd.model.errors import NotFound, StoreRefused, TryAgain, UnusableId
from gatewayd.model.message.envelope import Peer, Sender
from gatewayd.model.message.payload import SendText
from gatewayd.model.records.question import Question
from gatewayd.model.status import InboxStatus
from gatewayd.ports.agent import Turn
from tests.hub.house import Gate, configuration, message, now, open_house


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


async def test_state_is_committed_with_its_envelopes(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        await house.inbox.deliver([message()], state=[("chat", "main", "offset", "41")])
        await house.inbox.deliver([], state=[("chat", "main", "offset", "42")])
    async with open_house(tmp_path) as house:
        assert await house.store.load_state("chat", "main", "offset") == "42"


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
        assert await house.inbox.pending([("chat", "main"), ("tg", "main")]) == []


async def test_ids_that_cannot_be_kept_are_refused_with_all_that_came_with_them(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    state = [("chat", "main", "offset", "1")]
    async with open_house(tmp_path) as house:
        with pytest.raises(UnusableId, match="event_key has a NUL"):
            await house.inbox.deliver([message(), message(event_key="a\0b")], state=state)
        with pytest.raises(UnusableId, match="key of a state value"):
            await house.inbox.deliver([message()], state=[("chat", "main", "k" * 9999, "1")])
        assert await house.inbox.pending([("chat", "main")]) == []
        assert await house.store.load_state("chat", "main", "offset") is None
        assert house.backlog.waiting == 0


async def test_rows_of_an_account_that_was_removed_end_with_that_reason(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate) as house:
        await house.say("running")
        await house.gateway.claim([("chat", "gone")])
        left = (await house.store.add_inbound([message("left", account="gone")])).rows
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
            await house.backlog.wait_ended(4711)


async def test_the_bound_holds_however_many_deliver_at_once_and_the_first_come_is_first_served(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(limits=LimitsSection(inbox_backlog=4))) as house:
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
            assert house.backlog.why_full("chat", "main") == "the inbox is full"
            gate.gate.set()
        assert order == list(range(20))
        assert most <= 4
        await trio.testing.wait_all_tasks_blocked()
        assert (house.backlog.waiting, house.backlog.why_full("chat", "main")) == (0, None)


async def test_a_delivery_larger_than_the_inbox_is_taken_when_it_is_empty(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(limits=LimitsSection(inbox_backlog=2))) as house:
        rows = await house.inbox.deliver([message(str(number)) for number in range(5)])
        assert (await house.ended(rows[-1])).reason == "answered"
        assert house.backlog.waiting == 0


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
        assert house.backlog.waiting == 0


async def test_a_reservation_is_released_when_nothing_was_stored(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        house.flaky.refuses.add("add_inbound")
        with pytest.raises(StoreRefused):
            await house.say("hello")
        house.flaky.refuses.clear()
        event = message("again")
        for _ in range(2):
            await house.inbox.deliver([event])
        await trio.testing.wait_all_tasks_blocked()
        assert house.backlog.waiting == 0
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
            ends.append((await house.backlog.wait_ended(row.id)).reason)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            with anyio.move_on_after(1):
                await house.backlog.wait_ended(row.id)
            gate.gate.set()
        assert ends == ["answered"]
        with pytest.raises(NotFound):
            await house.backlog.wait_ended(4711)
        assert house.backlog._ended == {}


async def test_rows_dropped_for_one_reason_share_commits(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(frame=AccountFrame(dm_policy="disabled"))) as house:
        before = house.store.statistics().operations
        rows = await house.inbox.deliver([message(str(number)) for number in range(300)])
        for row in rows:
            await house.backlog.wait_ended(row.id)
        assert {await house.reason_of(row) for row in rows} == {("dropped", "dm_disabled")}
        # Not 300: one for the delivery, two for the ends, and some for events.
        assert house.store.statistics().operations - before < 20
        assert house.backlog.waiting == 0


async def test_a_full_account_keeps_only_its_own_deliveries_waiting(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    limits = LimitsSection(account_backlog=2, turns=8)
    async with open_house(tmp_path, gate, config=configuration(limits=limits)) as house:
        for text in ("runs", "one", "two"):
            await house.say(text)
            await trio.testing.wait_all_tasks_blocked()
        assert house.backlog.why_full("chat", "main") == "the inbox of chat/main is full"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(house.inbox.deliver, [message("three")])
            await trio.testing.wait_all_tasks_blocked()
            began_at = now()
            await trio.sleep(60)
            await house.say("other", channel="tg")
            await trio.testing.wait_all_tasks_blocked()
            assert "other" in gate.running
            assert [house.backlog.waiting_of(channel, "main") for channel in ("chat", "tg")] == [2, 0]
            assert house.backlog.full_since("chat", "main") == began_at
            assert house.backlog.full_since("tg", "main") is None
            gate.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert house.backlog.full_since("chat", "main") is None
        assert house.backlog.status() == InboxStatus(waiting=0, limit=10_000)


async def test_a_delivery_is_of_one_account(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        with pytest.raises(ValueError, match="one account"):
            await house.inbox.deliver([message(), message(channel="tg")])
        assert await house.inbox.pending([("chat", "main"), ("tg", "main")]) == []


async def test_what_a_sender_has_too_many_of_ends_with_that_reason_and_is_told_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(limits=LimitsSection(sender_backlog=2))) as house:
        rows = [await house.say("0")]
        await trio.testing.wait_all_tasks_blocked()
        rows += [await house.say(str(number)) for number in range(1, 6)]
        for row in rows[3:]:
            await house.ended(row)
        assert [await house.reason_of(row) for row in rows[3:]] == [("dropped", "sender_limit")] * 3
        assert house.texts == [SORRY_MANY]
        assert house.backlog.status().limited_senders == 1
        other = await house.say("other", sender=Sender("8"), peer=Peer("dm", "8"))
        gate.gate.set()
        for row in (*rows[:3], other):
            assert (await house.ended(row)).reason == "answered"
        assert house.backlog.status().limited_senders == 0
        assert (await house.ended(await house.say("again"))).reason == "answered"


async def test_stop_and_presses_are_taken_from_a_sender_who_has_too_much_waiting(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(limits=LimitsSection(sender_backlog=1))) as house:
        rows = [await house.say("runs")]
        await trio.testing.wait_all_tasks_blocked()
        rows.append(await house.say("waits"))
        press = await house.say("ap:nothing:once", kind="button")
        assert (await house.ended(press)).reason == "approval_refused_unknown"
        assert (await house.ended(await house.say("/status"))).reason == "command"
        assert (await house.ended(await house.say("/stop"))).reason == "command"
        assert {(await house.ended(row)).reason for row in rows} == {"stopped"}
        assert house.backlog.waiting == 0


async def test_the_answer_to_a_question_is_taken_from_a_sender_who_has_too_much_waiting(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def ask(turn: Turn) -> str:
        if turn.request.text != "ask me":
            return turn.request.text
        return "you said " + " ".join(await turn.question(Question("which?")) or ())

    async with open_house(tmp_path, ask, config=configuration(limits=LimitsSection(sender_backlog=1))) as house:
        asked = await house.say("ask me")
        await house.send_all()
        answer = await house.say("this one")
        assert (await house.ended(answer)).reason == "answer"
        await house.ended(asked)
        assert house.texts[-1] == "you said this one"


async def test_what_was_let_in_before_a_restart_stays_in(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Gate()) as house:
        rows = [await house.say(str(number)) for number in range(4)]
    async with open_house(tmp_path, config=configuration(limits=LimitsSection(sender_backlog=1))) as house:
        assert [(await house.ended(row)).reason for row in rows] == ["answered"] * 4


async def test_a_second_chat_waits_for_one_turn_at_most_while_another_floods(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def slow(turn: Turn) -> str:
        await trio.sleep(10)
        return turn.request.text

    async with open_house(tmp_path, slow, config=configuration(limits=LimitsSection(turns=1))) as house:
        for number in range(90):
            await house.say(str(number))
        await trio.sleep(25)
        asked_at = now()
        row = await house.say("hello", peer=Peer("dm", "8"))
        await house.ended(row)
        # The rest of the running turn, then its own turn.
        assert now() - asked_at <= 20


async def test_a_flood_of_chats_on_one_account_does_not_hold_up_another(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def slow(turn: Turn) -> str:
        await trio.sleep(600)
        return turn.request.text

    async with open_house(tmp_path, slow, config=configuration(limits=LimitsSection(turns=16))) as house:
        await house.inbox.deliver([message(str(number), peer=Peer("dm", str(number))) for number in range(1000)])
        await trio.sleep(60)
        assert house.turns.status().running == 14  # two slots are kept for accounts that have none
        asked_at = now()
        row = await house.say("hello", channel="tg")
        await house.ended(row)
        assert now() - asked_at == 600  # its own turn, and no wait
        assert house.turns.status().running <= 15


async def test_turns_that_wait_for_their_agent_count_in_the_backlog(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(limits=LimitsSection(inbox_backlog=5, turns=2))) as house:
        house.agents.away = TryAgain("no route to host")

        async def deliver(number: int) -> None:
            await house.inbox.deliver([message(str(number), peer=Peer("dm", str(number)))])

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(deliver, number)
            await trio.sleep(120)
            # The turns that had a slot and wait again are more than the limit; nobody comes in meanwhile.
            assert 5 <= house.backlog.waiting <= 5 + 2
            assert house.backlog.why_full("chat", "main") == "the inbox is full"
            assert house.turns.status().live <= 5 + 2
            house.agents.away = None
            house.agents.changed.set()
        await trio.sleep(600)
        assert len([text for text in house.texts if text.startswith("re: ")]) == 20
        assert house.backlog.status() == InboxStatus(waiting=0, limit=5)
