"""Replies that grow: the reader sees the text come, and the end is exact, whatever becomes of a stream on its way."""

import pytest
import trio
from trio.testing import MockClock

from gatewayd.channels.slack.sending.growth import MOST_STREAMS, STREAM_SECONDS
from gatewayd.channels.slack.sending.outbound import UPDATES_LEFT
from gatewayd.model.errors import OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Receipt
from tests.channels.slack.sending.blocks import pings, read
from tests.channels.slack.sending.rig import Rig, sending
from tests.fakes.slack_platform import TEAM

WORDS = [f"word{at}" for at in range(60)]


def so_far(count: int) -> str:
    return " ".join(WORDS[:count])


async def begin(rig: Rig, text: str = "", *, peer: Peer | None = None, key: str = "k") -> Receipt:
    return await rig.send(text or so_far(10), peer, key=key, grows=True, reply_to=rig.reply_to)


def shown(rig: Rig, receipt: Receipt) -> str:
    """What a reader sees of a message."""
    text: str = rig.message(receipt)["text"]
    return text


async def check_end(rig: Rig, receipt: Receipt) -> None:
    """The end of the reply is shown, by its blocks, and as nothing else."""
    end = so_far(60) + " **end** <!channel>"
    assert await rig.edit(receipt, end) == receipt
    message = rig.message(receipt)
    assert message.get("streaming_state") != "in_progress"
    assert message["text"] == so_far(60) + " end &lt;!channel&gt;"
    blocks = [{key: value for key, value in block.items() if key != "block_id"} for block in message["blocks"]]
    assert read(blocks) == so_far(60) + " end <!channel>"


async def test_without_streams_a_reply_grows_by_edits(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        receipt = await begin(rig)
        assert shown(rig, receipt) == so_far(10)
        await rig.grow(receipt, so_far(20))
        assert shown(rig, receipt) == so_far(20)
        await check_end(rig, receipt)
        assert rig.slack.calls("chat.startStream") == []


async def test_a_reply_grows_by_a_stream(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        receipt = await begin(rig)
        assert rig.slack.calls("chat.startStream") == [
            {
                "channel": rig.general,
                "thread_ts": rig.asked,
                "markdown_text": so_far(9) + " ",
                "recipient_user_id": rig.alice,
                "recipient_team_id": TEAM,
            }
        ]
        for count in (20, 30, 40):
            await rig.grow(receipt, so_far(count))
            assert shown(rig, receipt) == so_far(count - 1) + " "
        assert rig.slack.calls("chat.update") == []
        await check_end(rig, receipt)
        assert len(rig.slack.calls("chat.stopStream")) == len(rig.slack.calls("chat.update")) == 1


async def test_nothing_in_a_stream_pings(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        receipt = await begin(rig, "First <!channel>, <@U012AB3CD> and `<!here>`\n\nand on")
        await rig.grow(receipt, "First <!channel>, <@U012AB3CD> and `<!here>`\n\nand on, <!everyone>\n\n- and more")
        sent = rig.slack.calls("chat.startStream") + rig.slack.calls("chat.appendStream")
        assert len(sent) == 2
        assert [pings(call["markdown_text"]) for call in sent] == [[], []]


async def test_in_a_direct_message_the_recipient_is_its_user(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        there = rig.slack.dm(rig.alice)
        thread = Peer("dm", rig.alice, rig.slack.say(rig.alice, there, "hi"))
        receipt = await rig.send(so_far(10), thread, grows=True)
        assert rig.slack.calls("chat.startStream")[0]["recipient_user_id"] == rig.alice
        assert shown(rig, receipt) == so_far(9) + " "


async def test_the_recipient_is_of_their_own_workspace(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        stranger = rig.slack.add_stranger("zoe")
        rig.slack.join(rig.general, stranger)
        asked = rig.slack.say(stranger, rig.general, "and me?", thread=rig.asked)
        await rig.send(so_far(10), grows=True, reply_to=f"{rig.general}:{asked}")
        [call] = rig.slack.calls("chat.startStream")
        assert call["recipient_user_id"] == stranger
        assert call["recipient_team_id"] != TEAM


@pytest.mark.parametrize("where", ["channel", "direct"])
async def test_where_there_is_no_thread_there_is_no_stream(where: str, autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        peer = rig.peer if where == "channel" else rig.direct
        receipt = await begin(rig, peer=peer)
        assert shown(rig, receipt) == so_far(10)
        await rig.grow(receipt, so_far(20))
        assert shown(rig, receipt) == so_far(20)
        assert rig.slack.calls("chat.startStream") == []


async def test_a_channel_that_takes_no_streams_is_asked_once(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        rig.slack.refuse("chat.startStream", "channel_type_not_supported")
        for key in ("k1", "k2"):
            receipt = await begin(rig, key=key)
            assert shown(rig, receipt) == so_far(10)
        assert len(rig.slack.calls("chat.startStream")) == 1


async def test_a_new_reply_does_not_wait_for_the_limit_of_streams(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        rig.slack.rate_limit("chat.startStream", 60)
        for key in ("k1", "k2"):
            assert shown(rig, await begin(rig, key=key)) == so_far(10)
        assert len(rig.slack.calls("chat.startStream")) == 1
        await trio.sleep(61)
        receipt = await begin(rig, key="k3")
        assert rig.message(receipt)["streaming_state"] == "in_progress"


async def test_growth_waits_for_nothing(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        receipt = await begin(rig)
        for method in ("chat.startStream", "chat.appendStream"):
            rig.slack.rate_limit(method, 5)
        await begin(rig, key="k1")
        await rig.grow(receipt, so_far(20))
        began = trio.current_time()
        assert shown(rig, await begin(rig, key="k2")) == so_far(10)
        await rig.grow(receipt, so_far(30))
        assert trio.current_time() - began < 1


async def test_a_stream_ends_before_slack_ends_it_and_the_message_goes_on(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        receipt = await begin(rig)
        await rig.grow(receipt, so_far(20))
        await trio.sleep(STREAM_SECONDS)
        await rig.grow(receipt, so_far(30))
        assert shown(rig, receipt) == so_far(30)
        await rig.grow(receipt, so_far(40))
        assert shown(rig, receipt) == so_far(40)
        assert len(rig.slack.calls("chat.stopStream")) == 1
        await check_end(rig, receipt)
        assert len(rig.slack.messages(rig.general)) == 2


async def test_a_stream_that_slack_has_ended_goes_on_as_the_same_message(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        receipt = await begin(rig)
        rig.slack.end_stream(rig.general, rig.message(receipt)["ts"])
        await rig.grow(receipt, so_far(20))
        assert shown(rig, receipt) == so_far(20)
        await check_end(rig, receipt)
        assert len(rig.slack.messages(rig.general)) == 2


async def test_the_end_comes_although_slack_has_ended_the_stream(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        receipt = await begin(rig)
        await trio.sleep(400)
        await check_end(rig, receipt)


async def test_a_reader_who_stops_a_stream_sees_the_end_all_the_same(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        receipt = await begin(rig)
        rig.slack.refuse("chat.appendStream", "stopped_by_user")
        with pytest.raises(SendRejected, match="stopped"):
            await rig.grow(receipt, so_far(20))
        await check_end(rig, receipt)


async def test_an_append_that_was_cut_is_not_guessed_at(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        receipt = await begin(rig)
        rig.slack.fault("drop_after", "chat.appendStream")
        with pytest.raises(OutcomeUnknown):
            await rig.grow(receipt, so_far(20))
        await rig.grow(receipt, so_far(30))
        assert shown(rig, receipt) == so_far(30)
        await check_end(rig, receipt)


async def test_a_call_that_is_cancelled_is_not_guessed_at_either(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        receipt = await begin(rig)
        rig.slack.fault("hang_after", "chat.appendStream")
        with trio.move_on_after(5):
            await rig.grow(receipt, so_far(20))
        await rig.grow(receipt, so_far(30))
        assert shown(rig, receipt) == so_far(30)


async def test_a_text_that_is_written_anew_is_shown_by_an_edit(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        receipt = await begin(rig)
        await rig.grow(receipt, "Other words " + so_far(20))
        assert shown(rig, receipt) == "Other words " + so_far(20)
        await check_end(rig, receipt)


@pytest.mark.parametrize("grown", [False, True])
async def test_another_life_of_the_process_ends_the_stream(grown: bool, autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        receipt = await begin(rig)
        again = rig.restarted(streaming=True)
        if grown:
            await again.grow(receipt, so_far(30))
            assert shown(rig, receipt) == so_far(30)
        await check_end(again, receipt)
        assert len(rig.slack.messages(rig.general)) == 2


async def test_a_limit_of_appends_costs_the_end_nothing(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        receipt = await begin(rig)
        rig.slack.rate_limit("chat.appendStream", 149)
        for count in (20, 30):
            await rig.grow(receipt, so_far(count))
        assert shown(rig, receipt) == so_far(9) + " "
        assert len(rig.slack.calls("chat.appendStream")) == 1
        began = trio.current_time()
        await check_end(rig, receipt)
        assert trio.current_time() - began < 1
        other = await begin(rig, key="other")
        await trio.sleep(150)
        await rig.grow(other, so_far(30))
        assert shown(rig, other) == so_far(29) + " "


async def test_growth_leaves_calls_to_the_ends(autojump_clock: MockClock) -> None:
    """Thirty replies at once: their growth uses up its part of the limit, and goes without; their ends come at once."""
    async with sending() as rig:
        receipts = [await begin(rig, key=f"k{at}") for at in range(30)]
        for count in (20, 30):
            for receipt in receipts:
                await rig.grow(receipt, so_far(count))
        grown = len(rig.slack.calls("chat.update"))
        assert 0 < grown < 15
        began = trio.current_time()
        for receipt in receipts[:UPDATES_LEFT]:
            await check_end(rig, receipt)
        assert trio.current_time() - began < 2
        await rig.grow(receipts[-1], so_far(40))
        assert len(rig.slack.calls("chat.update")) == grown + UPDATES_LEFT


async def test_a_limit_of_edits_stops_growth_until_it_is_over(autojump_clock: MockClock) -> None:
    async with sending() as rig:
        receipt = await begin(rig)
        rig.slack.rate_limit("chat.update", 149)
        with pytest.raises(TryAgain) as caught:
            await rig.edit(receipt, "end")
        assert caught.value.after_seconds == 149
        await rig.grow(receipt, so_far(20))
        assert len(rig.slack.calls("chat.update")) == 1
        await trio.sleep(149)
        await check_end(rig, receipt)


async def test_so_many_streams_are_open_at_once_as_can_be_ended_at_once(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        receipts = [await begin(rig, key=f"k{at}") for at in range(MOST_STREAMS + 1)]
        assert len(rig.slack.calls("chat.startStream")) == MOST_STREAMS
        began = trio.current_time()
        for receipt in receipts:
            await check_end(rig, receipt)
        assert trio.current_time() - began < 2


async def test_a_stream_without_an_end_is_forgotten(autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        for at in range(MOST_STREAMS):
            await begin(rig, key=f"k{at}")
        await trio.sleep(3600)
        receipt = await begin(rig, key="later")
        assert rig.message(receipt)["streaming_state"] == "in_progress"


@pytest.mark.parametrize(("streaming", "thread"), [(True, True), (True, False), (False, True)])
async def test_the_pace_of_growth(streaming: bool, thread: bool, autojump_clock: MockClock) -> None:
    async with sending(streaming=streaming) as rig:
        every = rig.sender.grows_every(rig.thread if thread else rig.peer)
        assert every == (1.0 if streaming and thread else 2.0)
