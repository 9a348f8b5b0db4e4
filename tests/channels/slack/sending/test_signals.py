"""The status of a thread, and the answers to presses."""

import pytest
import trio
from trio.testing import MockClock

from gatewayd.channels.slack.sending.signals import STATUS, STATUS_EVERY_SECONDS
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Draft, PressAnswer, Typing
from tests.channels.slack.sending.rig import sending

SET_STATUS = "assistant.threads.setStatus"


async def test_a_thread_shows_that_a_turn_runs(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        for _ in range(3):
            await rig.sender.signal(Typing(rig.thread))
        assert rig.slack.calls(SET_STATUS) == [{"channel_id": rig.general, "thread_ts": rig.asked, "status": STATUS}]
        assert rig.slack.status(rig.general, rig.asked) == STATUS
        await trio.sleep(STATUS_EVERY_SECONDS)
        await rig.sender.signal(Typing(rig.thread))
        assert len(rig.slack.calls(SET_STATUS)) == 2


async def test_a_message_takes_the_status_off_and_it_comes_again_while_the_turn_runs(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        await rig.sender.signal(Typing(rig.thread))
        await rig.send("between")
        await rig.sender.signal(Typing(rig.thread))
        assert rig.slack.status(rig.general, rig.asked) == STATUS
        assert len(rig.slack.calls(SET_STATUS)) == 2


async def test_the_end_of_a_reply_that_grew_takes_the_status_off(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        receipt = await rig.send("so far", grows=True)
        await rig.edit(receipt, "so far, and")
        assert rig.slack.calls(SET_STATUS) == []
        await rig.sender.signal(Typing(rig.thread))
        await rig.edit(receipt, "the end")
        assert not rig.slack.status(rig.general, rig.asked)


async def test_the_channel_of_a_direct_message_is_asked_for_once(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        there = rig.slack.dm(rig.alice)
        thread = Peer("dm", rig.alice, rig.slack.say(rig.alice, there, "hi"))
        for _ in range(2):
            await rig.sender.signal(Typing(thread))
            await trio.sleep(STATUS_EVERY_SECONDS)
        assert [call["channel_id"] for call in rig.slack.calls(SET_STATUS)] == [there, there]
        assert len(rig.slack.calls("conversations.open")) == 1


async def test_where_there_is_no_thread_nothing_is_asked(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        for peer in (rig.peer, rig.direct):
            await rig.sender.signal(Typing(peer))
        await rig.sender.signal(Draft(rig.thread, "t1", "text"))
        assert rig.slack.log == []


@pytest.mark.parametrize("error", ["missing_scope", "channel_not_found", "not_allowed_token_type"])
async def test_a_channel_that_refuses_is_not_asked_again(error: str, autojump_clock: MockClock) -> None:
    async with sending() as rig:
        rig.slack.refuse(SET_STATUS, error)
        for _ in range(3):
            await rig.sender.signal(Typing(rig.thread))
            await trio.sleep(60)
        assert len(rig.slack.calls(SET_STATUS)) == 1


@pytest.mark.parametrize("fault", ["drop_before", "hang"])
async def test_an_outage_of_signals_harms_nobody(fault: str, autojump_clock: MockClock) -> None:
    async with sending() as rig:
        rig.slack.fault(fault, SET_STATUS, times=None)  # type: ignore[arg-type]
        rig.slack.fault(fault, "chat.postEphemeral")  # type: ignore[arg-type]
        await rig.sender.signal(Typing(rig.thread))
        await rig.sender.signal(PressAnswer(rig.thread, f"{rig.alice}:1", "gone"))


async def test_a_press_is_answered_to_who_has_pressed(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        await rig.sender.signal(PressAnswer(rig.thread, f"{rig.alice}:1700000000.000001", "Not for you <!channel>"))
        [call] = rig.slack.calls("chat.postEphemeral")
        assert (call["user"], call["channel"], call["thread_ts"]) == (rig.alice, rig.general, rig.asked)
        assert call["text"] == "Not for you &lt;!channel&gt;"
        assert len(rig.slack.ephemeral(rig.general)) == 1
        await rig.sender.signal(PressAnswer(Peer("dm", rig.alice), f"{rig.alice}:2", "Too late"))
        assert len(rig.slack.ephemeral(rig.slack.dm(rig.alice))) == 1


async def test_an_empty_answer_is_no_message(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        await rig.sender.signal(PressAnswer(rig.thread, f"{rig.alice}:1"))
        assert rig.slack.log == []
