"""Lanes and turns: one at a time per session, in order, in parallel across sessions, and an end with a reason for every row."""

from itertools import pairwise
from pathlib import Path

import anyio
import pytest
import trio
from trio.testing import MockClock

from gatewayd.hub.turns.outcome import SORRY_FAILED, SORRY_GONE, SORRY_SLOW
from gatewayd.hub.turns.retries import TRIED_AGAIN
from gatewayd.model.config import AccountFrame, LimitsSection, QueueMode, SessionsSection
from gatewayd.model.errors import AgentFailed, NeedsOperator, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Draft, Typing
from gatewayd.ports.agent import TextDelta, Turn
from tests.hub.house import OPEN, Gate, House, ScriptedAgents, configuration, echo, message, open_house


async def test_a_message_is_answered_and_its_row_ends(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        row = await house.ended(await house.say("hello"))
        assert (row.state, row.reason) == ("done", "answered")
        assert house.texts == ["re: hello"]
        assert house.turns.status().live == 0


async def test_one_session_runs_one_turn_at_a_time_and_in_order(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate) as house:
        rows = [await house.say(f"m{n}") for n in range(5)]
        await trio.testing.wait_all_tasks_blocked()
        assert gate.running == ["m0"]
        assert house.turns.status().waiting == 4
        gate.gate.set()
        await house.ended(rows[-1])
        assert house.texts == [f"re: m{n}" for n in range(5)]
        assert gate.most == 1


async def test_different_sessions_run_in_parallel_up_to_the_bound(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(limits=LimitsSection(turns=3))) as house:
        rows = [await house.say("x", peer=Peer("dm", str(n))) for n in range(5)]
        await trio.testing.wait_all_tasks_blocked()
        assert gate.most == 3
        gate.gate.set()
        for row in rows:
            await house.ended(row)
        assert len(house.texts) == 5


async def test_replies_go_to_the_peer_they_answer(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        peers = [Peer("dm", "1"), Peer("group", "9"), Peer("group", "9", "topic")]
        for row in [await house.say(peer.id, peer=peer) for peer in peers]:
            await house.ended(row)
        by_peer = {row.payload.peer: row.payload.body.text for row in house.handed}
        assert by_peer == {peers[0]: "re: 1", peers[1]: "re: 9", peers[2]: "re: 9"}
        assert len({turn.request.session_id for turn in house.agents.turns}) == 3


@pytest.mark.parametrize(
    ("mode", "prompts"),
    [("queue", ["one", "two", "three"]), ("collect", ["one", "two\n\nthree"]), ("interrupt", ["one", "two\n\nthree"])],
)
async def test_queue_modes(tmp_path: Path, autojump_clock: MockClock, mode: QueueMode, prompts: list[str]) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(sessions=SessionsSection(queue_mode=mode))) as house:
        first = await house.say("one")
        await trio.testing.wait_all_tasks_blocked()
        # Both arrive in one delivery, while the first turn runs.
        rest = await house.inbox.deliver([message("two"), message("three")])
        gate.gate.set()
        ends = [await house.ended(row) for row in [first, *rest]]
        assert [turn.request.text for turn in house.agents.turns] == prompts
        assert [end.reason for end in ends] == ["interrupted" if mode == "interrupt" else "answered", "answered", "answered"]


async def test_the_account_overrides_the_queue_mode(tmp_path: Path, autojump_clock: MockClock) -> None:
    frame = AccountFrame(dm_policy="open", queue_mode="collect")
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(frame=frame)) as house:
        rows = [await house.say(text) for text in ("one", "two", "three")]
        await trio.testing.wait_all_tasks_blocked()
        gate.gate.set()
        await house.ended(rows[-1])
        assert len(house.agents.turns) == 2


async def test_stop_ends_the_running_turn_and_drops_what_waits(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Gate()) as house:
        running, waiting = await house.say("one"), await house.say("two")
        await trio.testing.wait_all_tasks_blocked()
        await house.ended(await house.say("/stop"))
        assert await house.reason_of(await house.ended(running)) == ("done", "stopped")
        assert await house.reason_of(waiting) == ("dropped", "stopped")
        assert house.texts == ["Stopped. 1 waiting message was dropped: `two`."]
        await house.ended(await house.say("/STOP now"))
        assert house.texts[-1] == "Nothing is running."


async def test_new_begins_a_new_session_after_what_came_before_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        rows = [await house.say(text) for text in ("one", "/new", "two")]
        for row in rows:
            await house.ended(row)
        first, second = house.agents.turns
        assert (first.request.session_id, second.request.session_id) == ("session-1", "session-2")
        assert house.texts == ["re: one", "A new session has begun.", "re: two"]


async def test_status_answers_while_a_turn_runs(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Gate()) as house:
        await house.say("one")
        await house.say("two")
        await anyio.sleep(12)
        await house.ended(await house.say("/status"))
        assert "running for 12 s; 1 waiting" in house.texts[0]


async def test_other_slash_words_belong_to_the_agent(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        for said in ("/remind me", "/stopp", "/stop@some_bot", "/", "/etc/hosts is gone", "/new-file a"):
            await house.ended(await house.say(said))
            assert house.texts[-1] == f"re: {said}"


async def test_a_failed_agent_is_one_honest_sentence_and_a_reason_for_the_operator(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def fail(turn: Turn) -> str:
        if turn.request.text == "refused":
            raise AgentFailed("the model refused: quota")
        if turn.request.text == "parked":
            raise NeedsOperator("the key is revoked")
        raise ZeroDivisionError

    async with open_house(tmp_path, fail) as house:
        for text in ("refused", "parked", "bug"):
            row = await house.ended(await house.say(text))
            assert (row.state, row.reason) == ("dead", "agent_failed")
        assert house.texts == [SORRY_FAILED] * 3
        assert [error.split(":")[0] for error in house.agents.errors] == [
            "the model refused",
            "the key is revoked",
            "bug in the agent core",
        ]


async def test_an_agent_that_cannot_be_reached_is_tried_spaced_and_bounded(tmp_path: Path, autojump_clock: MockClock) -> None:
    at: list[float] = []

    async def down(turn: Turn) -> str:
        at.append(trio.current_time())
        raise TryAgain("connection refused", after_seconds=10)

    config = configuration(sessions=SessionsSection(max_turn_attempts=4))
    async with open_house(tmp_path, down, config=config) as house:
        row = await house.ended(await house.say("hello"))
        assert (row.state, row.reason, row.attempts) == ("dead", "attempts_exhausted", 4)
        assert house.texts == [TRIED_AGAIN, SORRY_GONE]
        assert all(later - earlier >= 10 for earlier, later in pairwise(at))


async def test_a_turn_that_recovers_from_an_outage_answers_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def flaky(turn: Turn) -> str:
        if turn.request.attempt < 3:
            raise TryAgain("not yet")
        return "here I am"

    async with open_house(tmp_path, flaky) as house:
        assert (await house.ended(await house.say("hello"))).reason == "answered"
        assert house.texts == ["here I am"]


async def test_a_hung_turn_is_cancelled_and_frees_its_lane(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def hang_once(turn: Turn) -> str:
        if turn.request.text == "hang":
            await anyio.sleep_forever()
        return "fine"

    async with open_house(tmp_path, hang_once, config=configuration(sessions=SessionsSection(turn_timeout_seconds=30))) as house:
        hung, after = await house.say("hang"), await house.say("next")
        assert (await house.ended(hung)).reason == "turn_timed_out"
        assert (await house.ended(after)).reason == "answered"
        assert house.texts == [SORRY_SLOW, "fine"]


async def test_typing_is_shown_only_while_a_turn_takes_time(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def slow(turn: Turn) -> str:
        await anyio.sleep(9 if turn.request.text == "slow" else 0.1)
        return "ok"

    async with open_house(tmp_path, slow) as house:
        await house.ended(await house.say("quick"))
        assert house.signals == []
        await house.ended(await house.say("slow"))
        assert house.signals == [Typing(Peer("dm", "7"))] * 3


async def test_drafts_carry_the_text_so_far(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def stream(turn: Turn) -> str:
        for word in ("one ", "two ", "three"):
            await turn.emit(TextDelta(word))
            await anyio.sleep(0.2)
        return "one two three"

    async with open_house(tmp_path, stream) as house:
        await house.ended(await house.say("go"))
        drafts = [signal.text for signal in house.signals if isinstance(signal, Draft)]
        assert drafts == ["one ", "one two ", "one two three"]


async def test_an_empty_reply_sends_nothing_and_says_so(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def silent(turn: Turn) -> str:
        return " \n"

    async with open_house(tmp_path, silent) as house:
        assert (await house.ended(await house.say("hello"))).reason == "answered_nothing"
        assert house.texts == []


async def test_an_edit_of_a_waiting_message_replaces_it_and_a_later_one_is_dropped(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate) as house:
        await house.say("busy")
        waiting = await house.say("helo", message_id="m1")
        edits = [await house.say(text, message_id="m1", kind="edit") for text in ("hell", "hello")]
        await trio.testing.wait_all_tasks_blocked()
        gate.gate.set()
        for row in [waiting, *edits]:
            assert (await house.ended(row)).reason == "answered"
        assert house.texts == ["re: busy", "re: hello"]
        late = await house.ended(await house.say("hullo", message_id="m1", kind="edit"))
        assert (late.state, late.reason) == ("dropped", "edited_after_answer")
        assert len(house.texts) == 2


@pytest.mark.parametrize("mode", ["queue", "collect", "interrupt"])
async def test_an_edit_survives_a_crash_with_the_message_it_changes(
    tmp_path: Path, autojump_clock: MockClock, mode: QueueMode
) -> None:
    config = configuration(sessions=SessionsSection(queue_mode=mode))
    async with open_house(tmp_path, Gate(), config=configuration()) as house:
        rows = [await house.say("busy"), await house.say("helo", message_id="m1"), await house.say("last")]
        rows.append(await house.say("hello", message_id="m1", kind="edit"))
        await trio.testing.wait_all_tasks_blocked()
    async with open_house(tmp_path, config=config) as house:
        for row in rows:
            assert (await house.ended(row)).state == "done"
        said = " ".join(house.texts)
        assert "hello" in said
        assert "helo" not in said
        assert "last" in said


async def test_what_was_running_at_a_crash_runs_again_under_the_same_turn_and_what_waited_follows(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path, Gate()) as house:
        rows = [await house.say(text) for text in ("one", "two", "three")]
        await trio.testing.wait_all_tasks_blocked()
        [before] = house.agents.turns
    async with open_house(tmp_path) as house:
        for row in rows:
            await house.ended(row)
        assert house.texts == ["re: one", "re: two", "re: three"]
        assert house.agents.turns[0].request.turn_id == before.request.turn_id
        assert house.agents.turns[0].request.attempt == 2
        assert house.agents.turns[0].request.session_id == before.request.session_id


async def test_a_turn_that_the_core_still_knows_is_taken_up_and_not_run_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Gate()) as house:
        row = await house.say("one")
        await trio.testing.wait_all_tasks_blocked()
    agents = ScriptedAgents(echo)
    agents.known = "ended"
    async with open_house(tmp_path, agents=agents) as house:
        await house.ended(row)
        assert (len(agents.turns), len(agents.resumed), house.texts) == (0, 1, ["re: one"])


async def test_a_message_whose_turn_kills_the_process_is_dead_after_its_attempts(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    config = configuration(sessions=SessionsSection(max_turn_attempts=3))
    async with open_house(tmp_path, Gate(), config=config) as house:
        row = await house.say("poison")
        await trio.testing.wait_all_tasks_blocked()
    for _ in range(2):
        async with open_house(tmp_path, Gate(), config=config):
            await anyio.sleep(20)
    async with open_house(tmp_path, config=config) as house:
        ended = await house.ended(row)
        assert (ended.state, ended.reason, ended.attempts) == ("dead", "attempts_exhausted", 3)
        assert house.agents.turns == []
        assert (await house.ended(await house.say("next"))).reason == "answered"


async def test_drain_lets_running_turns_finish_and_starts_no_other(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate) as house:
        await house.say("one")
        second = await house.say("two")
        await trio.testing.wait_all_tasks_blocked()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(house.turns.drain)
            await trio.testing.wait_all_tasks_blocked()
            gate.gate.set()
        assert house.texts == ["re: one"]
        assert await house.reason_of(second) == ("received", None)


async def test_sessions_survive_a_restart(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def tell_session(turn: Turn) -> str:
        return turn.request.session_id

    for _ in range(2):
        async with open_house(tmp_path, tell_session) as house:
            await house.ended(await house.say("who"))
            assert house.texts == ["session-1"]


async def test_the_inbox_makes_deliverers_wait_when_it_is_full(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(frame=OPEN, limits=LimitsSection(inbox_backlog=2))) as house:
        await _fill(house)
        with anyio.move_on_after(60) as scope:
            await house.say("too much")
        assert scope.cancelled_caught
        gate.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert house.backlog.why_full("chat", "main") is None
        assert (await house.ended(await house.say("now"))).reason == "answered"
        assert "re: too much" not in house.texts


async def _fill(house: House) -> None:
    for n in range(3):
        await house.say(f"m{n}")
    await trio.testing.wait_all_tasks_blocked()
    assert house.backlog.why_full("chat", "main")


async def test_what_comes_after_a_stop_in_the_same_delivery_is_run(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        before, stop, after = await house.inbox.deliver([message("before"), message("/stop"), message("after")])
        assert (await house.ended(after)).reason == "answered"
        assert (await house.ended(before)).reason == "stopped"
        assert (await house.ended(stop)).reason == "command"
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(house.texts) == ["Stopped. 1 waiting message was dropped: `before`.", "re: after"]


@pytest.mark.parametrize("mode", ["queue", "collect", "interrupt"])
async def test_an_edit_costs_no_other_message_its_answer(tmp_path: Path, autojump_clock: MockClock, mode: QueueMode) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(sessions=SessionsSection(queue_mode=mode))) as house:
        running = await house.say("one", message_id="m1")
        await trio.testing.wait_all_tasks_blocked()
        edit, other = await house.inbox.deliver(
            [message("uno", message_id="m1", kind="edit"), message("two", peer=Peer("dm", "7"))]
        )
        gate.gate.set()
        assert (await house.ended(edit)).reason == "edited_after_answer"
        assert (await house.ended(other)).reason == "answered"
        assert (await house.ended(running)).reason == ("interrupted" if mode == "interrupt" else "answered")
        assert house.texts[-1] == "re: two"


async def test_an_edit_alone_interrupts_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(sessions=SessionsSection(queue_mode="interrupt"))) as house:
        running = await house.say("one", message_id="m1")
        await trio.testing.wait_all_tasks_blocked()
        await house.ended(await house.say("uno", message_id="m1", kind="edit"))
        gate.gate.set()
        assert (await house.ended(running)).reason == "answered"


@pytest.mark.parametrize("mode", ["collect", "interrupt"])
async def test_chats_that_share_a_session_each_get_their_answer(
    tmp_path: Path, autojump_clock: MockClock, mode: QueueMode
) -> None:
    gate = Gate()
    config = configuration(sessions=SessionsSection(queue_mode=mode, dm_scope="main"))
    async with open_house(tmp_path, gate, config=config) as house:
        alice, bob = Peer("dm", "alice"), Peer("dm", "bob")
        rows = [await house.say("first", peer=alice)]
        await trio.testing.wait_all_tasks_blocked()
        rows += [await house.say(text, peer=peer) for text, peer in (("b1", bob), ("b2", bob), ("a1", alice), ("b3", bob))]
        gate.gate.set()
        for row in rows:
            await house.ended(row)
        answered = [(row.payload.peer.id, row.payload.body.text) for row in house.handed]
        expected = [("bob", "re: b1\n\nb2"), ("alice", "re: a1"), ("bob", "re: b3")]
        # Bob's message does not interrupt Alice's turn; her own does.
        assert answered == ([] if mode == "interrupt" else [("alice", "re: first")]) + expected


async def test_a_collected_turn_is_bounded(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    config = configuration(sessions=SessionsSection(queue_mode="collect"), limits=LimitsSection(sender_backlog=150))
    async with open_house(tmp_path, gate, config=config) as house:
        await house.say("first")
        await trio.testing.wait_all_tasks_blocked()
        rows = await house.inbox.deliver([message(str(number)) for number in range(150)])
        gate.gate.set()
        await house.ended(rows[-1])
        assert [turn.request.text.count("\n\n") + 1 for turn in house.agents.turns] == [1, 100, 50]


@pytest.mark.parametrize("said", ["/stop@other_bot", "/weather@other_bot in Kiel", "/approve@other_bot CODE"])
async def test_a_command_for_another_bot_in_the_group_is_nobody_s(tmp_path: Path, autojump_clock: MockClock, said: str) -> None:
    async with open_house(tmp_path) as house:
        for changes in ({}, {"addressed": False}, {"kind": "edit"}):
            row = await house.ended(await house.say(said, peer=Peer("group", "-100"), **changes))
            assert (row.state, row.reason) == ("dropped", "for_another_bot")
        assert house.texts == []


async def test_status_waits_for_a_store_that_cannot_be_read(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        house.flaky.refuses.add("get_session")
        row = await house.say("/status")
        await anyio.sleep(3)
        house.flaky.refuses.clear()
        assert (await house.ended(row)).reason == "command"


async def test_what_comes_during_a_stop_waits_for_the_next_start(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        await house.turns.drain()
        rows = [await house.say(text) for text in ("/status", "hello")]
        await anyio.sleep(1)
        assert house.texts == []
    async with open_house(tmp_path) as house:
        for row in rows:
            await house.ended(row)
        assert len(house.texts) == 2


async def test_a_full_disk_delays_the_end_of_a_turn_and_loses_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        house.flaky.refuses |= {"start_turn", "end_inbound", "put_session"}
        row = await house.say("hello")
        await anyio.sleep(5)
        house.flaky.refuses -= {"start_turn"}
        await anyio.sleep(5)
        house.flaky.refuses.clear()
        assert (await house.ended(row)).reason == "answered"
        assert house.texts == [TRIED_AGAIN, "re: hello"]


async def test_after_the_last_try_nobody_waits(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def away(turn: Turn) -> str:
        raise TryAgain("it is away", after_seconds=500)

    async with open_house(tmp_path, away, config=configuration(sessions=SessionsSection(max_turn_attempts=2))) as house:
        began = trio.current_time()
        assert (await house.ended(await house.say("hello"))).reason == "attempts_exhausted"
        assert 500 <= trio.current_time() - began < 900, "one pause between two tries, and none after the second"
