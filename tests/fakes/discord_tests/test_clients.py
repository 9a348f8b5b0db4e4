"""The fake Discord against real client libraries: discord.py and hikari."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from tests.fakes.discord_platform import CREATE_MESSAGE, FakeDiscord

pytestmark = pytest.mark.slow
SCRIPTS = [Path(__file__).with_name(name) for name in ("discord_py_client.py", "hikari_client.py")]


class Room(msgspec.Struct):
    """A guild with a channel and a person."""

    discord: FakeDiscord
    guild: str
    channel: str
    ada: str

    async def ask(self, text: str, count: int = 1) -> None:
        """Say something and wait for ``count`` answers that have it."""
        self.discord.say(self.ada, self.channel, text)
        await self.heard(text, count)

    async def heard(self, text: str, count: int = 1) -> None:
        await self.discord.wait_until(lambda: self.answers(text) >= count)

    def answers(self, text: str) -> int:
        return sum(f"heard {text} " in one for one in self.discord.texts(self.channel))


@asynccontextmanager
async def room_with(script: Path, heartbeat_seconds: float = 41.25) -> AsyncIterator[Room]:
    """A client in a room, connected; it must end by itself after "bye", without complaint."""
    async with FakeDiscord.serve() as discord:
        ada = discord.add_user("ada")
        guild = discord.add_guild("Home", members=[ada])
        channel = discord.add_channel(guild, "general")
        discord.session_starts.max_concurrency = 16
        discord.gateway.behave(piece_bytes=100, heartbeat_seconds=heartbeat_seconds)
        arguments = [sys.executable, str(script), discord.api_url, discord.gateway_url, discord.token, str(heartbeat_seconds * 2)]
        output = b""

        async def run() -> None:
            nonlocal output
            done = await trio.run_process(arguments, capture_stdout=True, capture_stderr=True, check=False)
            output = done.stdout + done.stderr

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await discord.gateway.wait_connected()
                await discord.wait_until(lambda: bool(discord.commands()))
                yield Room(discord, guild, channel, ada)
                discord.say(ada, channel, "bye")
        assert b"Traceback" not in output, output.decode()
        assert b"unexpected bucket header" not in output, output.decode()


@pytest.fixture(params=SCRIPTS, ids=lambda path: path.stem)
async def room(request: pytest.FixtureRequest) -> AsyncIterator[Room]:
    async with room_with(request.param) as room:
        yield room


async def test_messages_files_edits_buttons_and_commands(room: Room) -> None:
    discord, channel, ada = room.discord, room.channel, room.ada
    question = discord.say(ada, channel, "hello", files=[("a.txt", b"a file")])
    reply = discord.message(await discord.wait_text(channel, "heard hello ['a.txt: a file']"))
    assert reply["message_reference"]["message_id"] == question
    discord.edit(question, "hello, all")
    await discord.wait_text(channel, "edited to hello, all")
    discord.resolve_embeds(question)
    discord.pin(ada, question)
    discord.say_by_webhook(channel, "by a hook")
    discord.say(ada, channel, "card")
    card = await discord.wait_text(channel, "May I?")
    discord.press(ada, card, "Allow")
    assert await discord.wait_text(channel, "allow by ada") == card
    assert discord.buttons(card) == []
    discord.command(ada, channel, "ask", {"text": "what"})
    await discord.wait_text(channel, "asked what")
    await discord.wait_text(channel, "and more")
    thread = discord.open_thread(ada, channel, "a thread", "in a thread")
    post = discord.open_thread(ada, discord.add_forum(room.guild), "a post", "in a forum")
    dm = discord.dm(ada)
    discord.say(ada, dm, "in a DM")
    for place, text in ((thread, "in a thread"), (post, "in a forum"), (dm, "in a DM")):
        await discord.wait_text(place, f"heard {text} []")
    assert sum("hook" in text or "edited" in text for text in discord.texts(channel)) == 1


async def test_a_cut_is_resumed_and_an_invalid_session_begins_anew(room: Room) -> None:
    gateway = room.discord.gateway
    await room.ask("first")
    gateway.reset_all()
    await room.ask("in between")
    assert (gateway.identify_count, gateway.resume_count) == (1, 1)
    assert gateway.connected[-1].by_resume_url
    gateway.close_all(4000)
    await gateway.wait_resumes(2)
    await room.ask("after a close")
    gateway.reconnect_all()
    await gateway.wait_resumes(3)
    await room.ask("after a reconnect")
    gateway.close_all(4009)
    await gateway.wait_identifies(2)
    await room.ask("after a timeout")
    before = len(gateway.connections)
    gateway.invalidate_all()
    await gateway.wait_connected(after=before)
    await room.ask("anew")
    assert gateway.identify_count == 3
    assert [room.answers(text) for text in ("first", "in between", "after a close", "after a reconnect", "anew")] == [1] * 5


async def test_rate_limits_are_understood(room: Room) -> None:
    discord = room.discord
    discord.limits.rules[CREATE_MESSAGE] = (2, 0.5)
    for number in range(6):
        discord.say(room.ada, room.channel, f"burst {number}")
    for number in range(6):
        await room.heard(f"burst {number}")
    assert discord.statuses(CREATE_MESSAGE) == [200] * 6
    for scope in ("user", "global", "shared"):
        discord.limit_next(CREATE_MESSAGE, 0.3, scope=scope)
        await room.ask(scope)
        assert 429 in discord.statuses(CREATE_MESSAGE)
        assert room.answers(scope) == 1
        discord.clear_calls()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
async def test_a_zombie_is_found_and_resumed(script: Path) -> None:
    async with room_with(script, heartbeat_seconds=1.0) as room:
        gateway = room.discord.gateway
        await room.ask("alive")
        gateway.behave(acknowledges=False, dispatches=False, checks_heartbeats=False)
        room.discord.say(room.ada, room.channel, "unheard")
        await gateway.wait_resumes(1)
        gateway.behave(acknowledges=True, dispatches=True)
        gateway.reset_all()
        await room.heard("unheard")
        assert room.answers("unheard") == 1
        assert gateway.identify_count == 1
