"""What gatewayd does where docs/channels/discord.md compares it with discord.py, as far as no other test of it says so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from gatewayd.kit.text.markdown import render
from gatewayd.model.errors import TryAgain
from gatewayd.model.message.payload import Choice, SendText
from gatewayd.testing.channel_contract import Journal
from tests.channels.discord.rig import Rig, now, rig_for
from tests.fakes.discord_platform import FakeDiscord

ALLOW = ((Choice("Allow", "ap:1:yes"),),)


class Room:
    """A guild with a channel, and a person who writes there."""

    def __init__(self, discord: FakeDiscord) -> None:
        self.discord = discord
        self.ada = discord.add_user("ada")
        self.guild = discord.add_guild("Home", members=[self.ada])
        self.channel = discord.add_channel(self.guild, "general")

    def say(self, text: str) -> str:
        return self.discord.say(self.ada, self.channel, f"<@{self.discord.bot_id}> {text}")


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with FakeDiscord.serve(now=now) as discord:
        yield Room(discord)


@asynccontextmanager
async def listening(room: Room, *, commands: bool = False) -> AsyncIterator[Rig]:
    async with rig_for(room.discord, commands=commands) as rig, rig.listening():
        await trio.sleep(5)
        yield rig


async def test_ten_starts_in_a_row_begin_one_session(room: Room, autojump_clock: MockClock) -> None:
    kept: dict[str, str] = {}
    for number in range(10):
        async with rig_for(room.discord, kept=kept) as rig, rig.listening():
            room.say(f"hello {number}")
            await rig.journal.wait_text(f"hello {number}")
    assert (room.discord.gateway.identify_count, room.discord.gateway.resume_count) == (1, 9)


async def test_the_last_sessions_are_not_begun(room: Room, autojump_clock: MockClock) -> None:
    starts, token = room.discord.session_starts, room.discord.token
    starts.take()
    starts.used = starts.total - 3
    async with rig_for(room.discord) as rig:
        with pytest.raises(ExceptionGroup) as waits:
            await rig.channel.listen(Journal(rig.services))
    assert waits.group_contains(TryAgain, match="lets the bot begin only 3 more sessions")
    assert (room.discord.gateway.identify_count, room.discord.token) == (0, token)


async def test_invalid_sessions_one_after_the_other_begin_no_storm(room: Room, autojump_clock: MockClock) -> None:
    """Half of the sessions of a day; then the account waits for its share of the rest, and says so."""
    starts = room.discord.session_starts
    starts.total = 100

    async def invalidate() -> None:
        await room.discord.gateway.wait_connected()
        for _ in range(starts.total):
            room.discord.gateway.next_identify("invalid")
        room.discord.gateway.invalidate_all()

    async with rig_for(room.discord) as rig, trio.open_nursery() as nursery:
        nursery.start_soon(invalidate)
        with pytest.raises(ExceptionGroup) as waits:
            await rig.channel.listen(Journal(rig.services))
    assert waits.group_contains(TryAgain, match="lets the bot begin only 50 more sessions")
    assert starts.remaining == 50


async def test_apps_are_not_answered_and_what_discord_adds_is_no_edit(room: Room, autojump_clock: MockClock) -> None:
    discord = room.discord
    async with listening(room) as rig:
        other = discord.add_user("other", bot=True)
        discord.join(other, room.guild)
        discord.say(other, room.channel, f"<@{discord.bot_id}> to a bot")
        discord.say_by_webhook(room.channel, f"<@{discord.bot_id}> to a hook")
        said = room.say("https://example.org")
        discord.resolve_embeds(said)
        discord.pin(room.ada, said)
        room.say("the end")
        await rig.journal.wait_text("the end")
        assert [(it.kind, it.text) for it in rig.journal.envelopes] == [
            ("message", "https://example.org"),
            ("message", "the end"),
        ]


async def test_two_presses_are_two_events_of_one_card_that_are_acknowledged_at_once(
    room: Room, autojump_clock: MockClock
) -> None:
    async with listening(room) as rig:
        room.say("hello")
        peer = (await rig.journal.wait_text("hello")).peer
        card = await rig.channel.send(SendText(peer, render("May I?"), choices=ALLOW), key="k")
        presses = [room.discord.press(room.ada, (card.message_id or "").partition(":")[2], "Allow") for _ in range(2)]
        assert {it.message_id for it in await rig.journal.wait_presses(2)} == {card.message_id}
        assert [await room.discord.wait_answer(press) for press in presses] == [6, 6]


async def test_a_command_is_acknowledged_before_the_turn_and_answered_minutes_later(
    room: Room, autojump_clock: MockClock
) -> None:
    async with listening(room, commands=True) as rig:
        await room.discord.wait_until(lambda: bool(room.discord.commands()))
        began = trio.current_time()
        command = room.discord.command(room.ada, room.channel, "status")
        asked = await rig.journal.wait_event("the command", lambda it: it.kind == "command")
        assert await room.discord.wait_answer(command) == 5
        assert trio.current_time() - began < 3
        await trio.sleep(600)
        await rig.channel.send(SendText(asked.peer, render("Nothing runs"), answer_with=asked.answer_with), key="k")
        assert room.discord.texts(room.channel) == ["Nothing runs"]


async def test_no_text_notifies_anybody(room: Room, autojump_clock: MockClock) -> None:
    speaker = room.discord.add_role(room.guild, "speakers", allow=["mention_everyone"])
    room.discord.give_role(room.discord.bot_id, room.guild, speaker)
    async with listening(room) as rig:
        room.say("hello")
        heard = await rig.journal.wait_text("hello")
        text = f"@everyone @here <@{room.ada}> <@&{speaker}>"
        sent = await rig.channel.send(SendText(heard.peer, render(text), reply_to=heard.message_id), key="k")
        shown = room.discord.message((sent.message_id or "").partition(":")[2])
        assert (shown["mention_everyone"], shown["mentions"], shown["mention_roles"]) == (False, [], [])
