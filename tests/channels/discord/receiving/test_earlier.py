"""What was said in a thread before a message."""

import pytest
import trio
from trio.testing import MockClock

from gatewayd.model.errors import SendRejected, TryAgain
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import Sender
from gatewayd.model.message.payload import RichText, SendText
from tests.channels.discord.rig import now, rig_for
from tests.fakes.discord_platform import FakeDiscord

READ = "GET /channels/{channel_id}/messages"


def shown(found: Earlier) -> tuple[str, bool, bool]:
    return found.text, found.sender.is_bot, found.ours


async def test_a_thread_from_the_message_that_it_was_begun_from(autojump_clock: MockClock) -> None:
    async with FakeDiscord.serve(now=now) as discord:
        ada = discord.add_user("ada")
        guild = discord.add_guild("Home", members=[ada])
        general = discord.add_channel(guild, "general")
        root = discord.say(ada, general, "the build is broken", files=[("log.txt", b"x")])
        discord.say(ada, general, "something else")
        thread = discord.open_thread(ada, general, "build", from_message=root)
        async with rig_for(discord) as rig, rig.listening():
            discord.say_by_webhook(thread, "it failed again", name="ci")
            discord.pin(ada, discord.say(ada, thread, "who looks at it?"))
            discord.say(ada, thread, f"<@{discord.bot_id}> you?")
            await trio.sleep(1)
            envelope = rig.journal.envelopes[-1]
            await rig.channel.send(SendText(envelope.peer, RichText("I do")), key="k1")
            found = await rig.channel.earlier(envelope, at_most=10)
            assert [shown(it) for it in found] == [
                ("the build is broken\n[file: log.txt]", False, False),
                ("it failed again", True, False),
                ("who looks at it?", False, False),
            ]
            assert found[0].sender == Sender(ada, "Ada")
            assert [it.text for it in await rig.channel.earlier(envelope, at_most=1)] == ["who looks at it?"]
            assert await rig.channel.earlier(envelope, at_most=0) == ()


async def test_a_channel_recalls_nothing_and_a_thread_that_cannot_be_read_says_why(autojump_clock: MockClock) -> None:
    async with FakeDiscord.serve(now=now) as discord:
        ada = discord.add_user("ada")
        guild = discord.add_guild("Home", members=[ada])
        general = discord.add_channel(guild, "general")
        post = discord.open_thread(ada, discord.add_forum(guild), "help", "it is broken")
        async with rig_for(discord) as rig, rig.listening():
            discord.say(ada, general, f"<@{discord.bot_id}> here")
            discord.say(ada, post, f"<@{discord.bot_id}> there")
            await trio.sleep(1)
            here, there = rig.journal.envelopes
            assert await rig.channel.earlier(here, at_most=10) == ()
            assert [it.text for it in await rig.channel.earlier(there, at_most=10)] == ["it is broken"]
            discord.fail_next(READ, 403, 50001, "Missing Access")
            with pytest.raises(SendRejected, match="View Channel"):
                await rig.channel.earlier(there, at_most=10)
            discord.go_down()
            with pytest.raises(TryAgain):
                await rig.channel.earlier(there, at_most=10)
