"""What discord.py does against the fake Discord, where docs/channels/discord.md compares gatewayd with it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.fakes.discord_platform import CREATE_MESSAGE, FakeDiscord
from tests.fakes.slack_tests.test_judges import App

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("app.py")


class Room:
    """A guild with a channel, and a person who writes there."""

    def __init__(self, discord: FakeDiscord) -> None:
        self.discord = discord
        self.ada = discord.add_user("ada")
        self.guild = discord.add_guild("Home", members=[self.ada])
        self.channel = discord.add_channel(self.guild, "general")

    def say(self, text: str) -> str:
        return self.discord.say(self.ada, self.channel, text)

    async def texts_after(self, text: str) -> list[str]:
        """All that it has said when it has answered this, too."""
        self.say(f"echo {text}")
        await self.discord.wait_text(self.channel, text)
        return self.discord.texts(self.channel)


def process(discord: FakeDiscord) -> AbstractAsyncContextManager[App]:
    return App.run(discord.api_url, discord.gateway_url, discord.token, script=SCRIPT)


@asynccontextmanager
async def bot_in(room: Room) -> AsyncIterator[App]:
    """Connected."""
    before = len(room.discord.gateway.connections)
    async with process(room.discord) as app:
        await room.discord.gateway.wait_connected(after=before)
        yield app


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with FakeDiscord.serve() as discord:
        discord.session_starts.max_concurrency = 16
        yield Room(discord)


async def test_what_is_said_while_it_is_down_is_never_answered(room: Room) -> None:
    async with bot_in(room):
        await room.texts_after("before")
    room.say("echo missed")
    async with bot_in(room):
        assert await room.texts_after("here") == ["before", "here"]


async def test_what_is_said_before_an_invalid_session_is_never_answered(room: Room) -> None:
    async with bot_in(room):
        await room.texts_after("before")
        gateway = room.discord.gateway
        before = len(gateway.connections)
        gateway.behave(refuses=True)
        gateway.reset_all()
        room.say("echo missed")
        gateway.forget_sessions()
        gateway.behave(refuses=False)
        await gateway.wait_connected(after=before)
        assert await room.texts_after("here") == ["before", "here"]


async def test_what_is_said_in_a_cut_is_answered_after_it(room: Room) -> None:
    async with bot_in(room):
        await room.texts_after("before")
        room.discord.gateway.reset_all()
        room.say("echo missed")
        await room.discord.wait_text(room.channel, "missed")
        assert room.discord.gateway.identify_count == 1


async def test_a_kill_in_a_handler_loses_the_message(room: Room) -> None:
    async with bot_in(room) as app:
        room.say("slow lost")
        await app.see("seen")
        app.kill()
        await room.discord.gateway.wait_disconnected()
    async with bot_in(room):
        assert await room.texts_after("here") == ["here"]


async def test_each_start_begins_a_session(room: Room) -> None:
    for _ in range(3):
        async with bot_in(room):
            pass
    assert room.discord.gateway.identify_count == 3
    assert room.discord.session_starts.remaining == room.discord.session_starts.total - 3


async def test_the_last_session_is_begun_and_one_more_so_that_the_token_is_gone(room: Room) -> None:
    discord = room.discord
    discord.session_starts.take()
    discord.session_starts.used = discord.session_starts.total - 1
    token = discord.token
    async with bot_in(room):
        pass
    async with process(discord):
        await discord.wait_until(lambda: discord.token != token)


async def test_a_later_message_overtakes_an_earlier_one(room: Room) -> None:
    async with bot_in(room) as app:
        room.say("slow first")
        await app.see("seen")
        room.say("echo second")
        assert await room.discord.wait_texts(room.channel, 2) == ["second", "first"]


async def test_another_bot_and_a_webhook_are_answered(room: Room) -> None:
    async with bot_in(room):
        other = room.discord.add_user("other", bot=True)
        room.discord.join(other, room.guild)
        room.discord.say(other, room.channel, "echo to a bot")
        room.discord.say_by_webhook(room.channel, "echo to a hook")
        assert await room.discord.wait_texts(room.channel, 2) == ["to a bot", "to a hook"]


async def test_a_pin_and_a_preview_are_events_for_the_same_listeners(room: Room) -> None:
    async with bot_in(room) as app:
        said = room.say("echo https://example.org")
        await app.see("seen")
        room.discord.resolve_embeds(said)
        await app.see("edited")
        room.discord.pin(room.ada, said)
        assert (await app.see("seen"))["seen"] == "pins_add"


async def test_two_presses_are_handled_twice(room: Room) -> None:
    async with bot_in(room) as app:
        room.say("card")
        card = await room.discord.wait_text(room.channel, "May I?")
        for _ in range(2):
            room.discord.press(room.ada, card, "Allow")
        for _ in range(2):
            await app.see("pressed")


async def test_a_slow_command_has_no_answer(room: Room) -> None:
    async with bot_in(room) as app:
        await room.discord.wait_until(lambda: bool(room.discord.commands()))
        room.discord.command(room.ada, room.channel, "slow")
        assert "Unknown interaction" in (await app.see("failed"))["why"]
        assert room.discord.texts(room.channel) == []


async def test_a_typed_ping_is_sent_as_one(room: Room) -> None:
    speaker = room.discord.add_role(room.guild, "speakers", allow=["mention_everyone"])
    room.discord.give_role(room.discord.bot_id, room.guild, speaker)
    async with bot_in(room):
        room.say(f"echo @everyone <@{room.ada}>")
        shown = room.discord.message(await room.discord.wait_text(room.channel, "@everyone"))
        assert shown["mention_everyone"] is True
        assert [user["id"] for user in shown["mentions"]] == [room.ada]


async def test_a_text_of_more_than_2000_characters_is_not_sent(room: Room) -> None:
    async with bot_in(room) as app:
        room.say("long 2001")
        assert "Must be 2000 or fewer in length" in (await app.see("failed"))["why"]
        assert await room.texts_after("here") == ["here"]


async def test_a_limit_in_the_middle_is_waited_for(room: Room) -> None:
    async with bot_in(room) as app:
        room.say("parts")
        await app.see("part")
        room.discord.limit_next(CREATE_MESSAGE, 2.0)
        assert await room.discord.wait_texts(room.channel, 3) == ["part 1", "part 2", "part 3"]


async def test_a_send_that_is_cut_ends_the_reply(room: Room) -> None:
    """It is there, and the rest is not: the handler has an error."""
    async with bot_in(room) as app:
        room.say("parts")
        await app.see("part")
        room.discord.cut_next(CREATE_MESSAGE, after_effect=True)
        assert (await app.see("failed"))["failed"] == "on_message"
        await trio.sleep(1)
        assert await room.texts_after("here") == ["part 1", "part 2", "here"]
