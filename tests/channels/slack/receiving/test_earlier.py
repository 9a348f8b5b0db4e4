"""What was said in a thread before."""

from collections.abc import AsyncIterator

import pytest
import trio

from gatewayd.model.errors import SendRejected, TryAgain
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import InboundEnvelope, Sender
from tests.channels.slack.receiving.life import Life, World, on_a_clock, world

MENTION = "<@U0GATEBOT0>"
clocked = pytest.mark.trio(run=on_a_clock)


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as found:
        yield found


async def asked(life: Life, text: str) -> InboundEnvelope:
    await life.hear()
    return next(envelope for envelope in life.new if envelope.text == text)


@clocked
async def test_a_thread_is_told_from_its_beginning_to_the_message(here: World) -> None:
    slack = here.slack
    ann, app = slack.add_user("ann"), slack.add_bot("alerts")
    general = slack.add_channel("general", [ann])
    attachments = [{"id": 1, "fallback": "Disk", "title": "Disk", "text": "91 &gt; 90"}]
    root = slack.say(app, general, "", fields={"blocks": [], "attachments": attachments})
    slack.say(ann, general, "is it &amp; &lt;bad&gt;?", thread=root, files=[slack.file(ann, "log.txt", b"x")])
    slack.say(slack.bot_user, general, "it is", thread=root)
    gone = slack.say(ann, general, "oh no", thread=root)
    slack.delete(general, gone)
    slack.say(ann, general, f"{MENTION} help", thread=root)
    slack.say(ann, general, "later", thread=root)
    async with here.life() as life:
        found = await life.recall.earlier(await asked(life, "help"), at_most=10)
    assert [item.text for item in found] == ["Disk\n91 > 90", "is it & <bad>?\n[file: log.txt]", "it is"]
    assert [item.ours for item in found] == [False, False, True]
    assert found[0].sender == Sender(app, "alerts", is_bot=True)
    assert found[1].sender == Sender(ann, "ann")
    assert found[0].sent_at == float(root)


@clocked
async def test_the_newest_are_kept(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    direct = slack.dm(ann)
    root = slack.say(ann, direct, "root")
    for number in range(40):
        slack.say(ann, direct, str(number), thread=root)
    slack.say(ann, direct, "now", thread=root)
    slack.small_pages()
    async with here.life() as life:
        envelope = await asked(life, "now")
        found = await life.recall.earlier(envelope, at_most=3)
    assert [item.text for item in found] == ["37", "38", "39"]
    assert slack.calls("conversations.open") == []


@clocked
async def test_without_a_thread_there_is_nothing_before(here: World) -> None:
    slack = here.slack
    ann = slack.add_user("ann")
    slack.say(ann, slack.dm(ann), "hi")
    async with here.life() as life:
        assert list(await life.recall.earlier(await asked(life, "hi"), at_most=3)) == []
    assert slack.calls("conversations.replies") == []


async def begun(here: World) -> tuple[str, str, str]:
    """A channel, the message that began a thread in it, and who wrote it."""
    slack = here.slack
    ann = slack.add_user("ann")
    general = slack.add_channel("general", [ann])
    root = slack.say(ann, general, "root")
    for number in range(30):
        slack.say(ann, general, str(number), thread=root)
    slack.say(ann, general, f"{MENTION} help", thread=root)
    return general, root, ann


@clocked
async def test_what_slack_gave_counts_when_it_gives_no_more(here: World) -> None:
    await begun(here)
    here.slack.small_pages()
    async with here.life() as life:
        envelope = await asked(life, "help")
        calls = here.slack.log
        here.slack.rate_limit("conversations.replies", 60, when=lambda params: "cursor" in params)
        found = await life.recall.earlier(envelope, at_most=50)
        assert [item.text for item in found] == ["root", *map(str, range(14))]
        assert len([call for call in calls if call.method == "conversations.replies"]) == 2
        here.slack.rate_limit("conversations.replies", 60)
        with pytest.raises(TryAgain):
            await life.recall.earlier(envelope, at_most=50)


@clocked
async def test_a_thread_that_may_not_be_read(here: World) -> None:
    await begun(here)
    async with here.life() as life:
        envelope = await asked(life, "help")
        here.slack.remove_scope("channels:history")
        with pytest.raises(SendRejected, match="channels:history"):
            await life.recall.earlier(envelope, at_most=50)


@clocked
async def test_names_that_do_not_come_are_left_out(here: World) -> None:
    general, root, ann = await begun(here)
    here.slack.fault("hang", "users.info", times=None)
    async with here.life() as life:
        began_at = trio.current_time()
        found = await life.recall.earlier(await asked(life, "help"), at_most=1)
        assert found == [Earlier(Sender(ann), "29", float(here.slack.messages(general, thread=root)[-2]["ts"]))]
        assert trio.current_time() - began_at < 3
