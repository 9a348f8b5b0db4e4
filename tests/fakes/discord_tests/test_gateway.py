"""The fake Discord, held against the platform's rules: connections and sessions."""

import pytest
import trio
from trio.testing import MockClock

from tests.fakes.discord_platform import FakeDiscord
from tests.fakes.discord_tests.bot import GUILDS, INTENTS, MESSAGE_CONTENT, Bot, Line
from tests.fakes.discord_tests.conftest import Place

pytestmark = pytest.mark.slow

COMPRESSED = "v=10&encoding=json&compress=zlib-stream"


async def texts_of(line: Line, count: int) -> list[str]:
    return [(await line.until("MESSAGE_CREATE"))["d"]["content"] for _ in range(count)]


async def test_a_session_begins_with_ready_and_its_guilds(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    line = await bot.identify()
    names = [event["t"] for event in line.events]
    ready, guild = (event["d"] for event in line.events)
    assert names == ["READY", "GUILD_CREATE"]
    assert [event["s"] for event in line.events] == [1, 2]
    assert ready["guilds"] == [{"id": place.guild, "unavailable": True}]
    assert ready["application"]["id"] == ready["user"]["id"] == discord.application_id
    assert ready["resume_gateway_url"] != discord.gateway_url
    assert [channel["id"] for channel in guild["channels"]] == [place.channel]


async def test_every_heartbeat_is_acknowledged_and_silence_is_closed(
    discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock
) -> None:
    line = await bot.identify()
    await line.heartbeat()
    assert await line.until(11) == {"t": None, "s": None, "op": 11, "d": None}
    started = trio.current_time()
    assert await line.ended() == 4000
    assert trio.current_time() - started == pytest.approx(41.25 * 1.5, abs=0.5)


async def test_a_resume_brings_what_was_missed_in_order(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    line = await bot.identify(query=COMPRESSED)
    discord.say(place.ada, place.channel, "one")
    assert await texts_of(line, 1) == ["one"]
    await line.cut()
    await discord.gateway.wait_disconnected()
    discord.say(place.ada, place.channel, "two")
    discord.say(place.ada, place.channel, "three")
    again = await bot.resume(line)
    assert await texts_of(again, 2) == ["two", "three"]
    assert (await again.receive())["t"] == "RESUMED"
    assert discord.gateway.connections[-1].by_resume_url
    assert (discord.gateway.identify_count, discord.gateway.resume_count) == (1, 1)


@pytest.mark.parametrize(("code", "resumable"), [(1000, False), (1001, False), (4000, True), (None, True)])
async def test_closing_with_1000_or_1001_ends_the_session(
    discord: FakeDiscord, place: Place, bot: Bot, code: int | None, resumable: bool
) -> None:
    line = await bot.identify()
    await (line.cut() if code is None else line.close(code))
    await discord.gateway.wait_disconnected()
    again = await bot.resume(line)
    assert (await again.receive()).get("op") == (0 if resumable else 9)


async def test_a_session_times_out(discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock) -> None:
    line = await bot.identify()
    await line.cut()
    await discord.gateway.wait_disconnected()
    await trio.sleep(discord.gateway.state.sessions.life_seconds)
    again = await bot.resume(line)
    assert await again.receive() == {"t": None, "s": None, "op": 9, "d": False}


async def test_close_codes_by_what_is_wrong(discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock) -> None:
    async def code_after(op: int, data: object) -> int | None:
        line = await bot.connect()
        await line.send(op, data)
        return await line.ended()

    old = await bot.identify()
    await old.send(2, bot.identity())
    assert await old.ended() == 4005
    assert await code_after(99, None) == 4001
    assert await code_after(2, {"token": discord.token}) == 4002
    assert await code_after(8, {}) == 4003
    assert await code_after(2, bot.identity(token="wrong")) == 4004
    assert await (await bot.resume(old, seq=999)).ended() == 4007
    assert await code_after(2, bot.identity(shard=[1, 1])) == 4010
    assert await code_after(2, bot.identity(1 << 40)) == 4013
    discord.set_intents()
    assert await code_after(2, bot.identity(MESSAGE_CONTENT)) == 4014
    discord.gateway.state.needs_shards = True
    assert await code_after(2, bot.identity(GUILDS)) == 4011
    assert await (await bot.open(query="v=9")).ended() == 4012
    line = await bot.connect()
    await line.send_text("{")
    assert await line.ended() == 4002


async def test_more_than_120_sends_a_minute_are_4008(discord: FakeDiscord, bot: Bot) -> None:
    line = await bot.connect()
    for _ in range(121):
        await line.heartbeat()
    assert await line.ended() == 4008


async def test_an_identify_beyond_the_budget_resets_the_token(
    discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock
) -> None:
    discord.session_starts.total = 2
    for left in (1, 0):
        await bot.identify()
        assert (await bot.ok("GET", "/gateway/bot"))["session_start_limit"]["remaining"] == left
        await trio.sleep(5)
    token = discord.token
    line = await bot.connect()
    await line.send(2, bot.identity())
    assert await line.ended() == 4004
    assert [await one.ended() for one in bot.lines[:2]] == [4004, 4004]
    assert discord.token != token
    assert (await bot.call("GET", "/users/@me", token=token)).status_code == 401
    await trio.sleep(86_400)
    assert discord.session_starts.remaining == 2


async def test_identifies_within_five_seconds_are_invalid(
    discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock
) -> None:
    await bot.identify()
    line = await bot.connect()
    await line.send(2, bot.identity())
    assert await line.until(9) == {"t": None, "s": None, "op": 9, "d": False}
    await trio.sleep(5)
    await line.send(2, bot.identity())
    assert (await line.until("READY"))["s"] == 1


async def test_without_the_intent_a_message_has_no_content_unless_it_mentions_the_bot(
    discord: FakeDiscord, place: Place, bot: Bot
) -> None:
    line = await bot.identify(INTENTS & ~MESSAGE_CONTENT)
    dm = discord.dm(place.ada)
    discord.say(place.ada, place.channel, "secret", files=[("a.txt", b"a")])
    discord.say(place.ada, place.channel, f"<@{discord.bot_id}> open")
    discord.say(place.ada, dm, "in a DM")
    await bot.post(place.channel, content="own")
    events = [(await line.until("MESSAGE_CREATE"))["d"] for _ in range(4)]
    assert [event["content"] for event in events] == ["", f"<@{discord.bot_id}> open", "in a DM", "own"]
    assert events[0]["attachments"] == []
    assert "guild_id" not in events[2]


async def test_events_without_their_intent_do_not_come(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    line = await bot.identify(GUILDS)
    discord.say(place.ada, place.channel, "unheard")
    discord.rename_channel(place.channel, "renamed")
    assert (await line.receive())["d"]["name"] == "renamed"


async def test_compressed_payloads_come_in_pieces_with_the_suffix_whole(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    discord.gateway.behave(piece_bytes=50, fragment_bytes=7)
    line = await bot.identify(query=COMPRESSED)
    discord.say(place.ada, place.channel, "a text")
    assert await texts_of(line, 1) == ["a text"]
    assert line.messages > 20


async def test_a_guild_of_some_megabytes(discord: FakeDiscord, bot: Bot) -> None:
    guild = discord.add_guild("Large")
    for number in range(1000):
        discord.add_channel(guild, f"channel-{number}", topic="t" * 2048)
    line = await bot.identify(query=COMPRESSED)
    assert len(line.events[-1]["d"]["channels"]) == 1000
    assert len(discord.gateway.session.sent[-1]) > 2_000_000


async def test_zombies_gaps_repeats_and_garbage(discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock) -> None:
    gateway = discord.gateway
    line = await bot.identify()
    gateway.behave(acknowledges=False, checks_heartbeats=False)
    await line.heartbeat()
    with trio.move_on_after(100) as silence:
        await line.receive()
    assert silence.cancelled_caught
    gateway.behave(acknowledges=True)
    discord.lose_events(["MESSAGE_CREATE"])
    discord.say(place.ada, place.channel, "lost")
    discord.lose_events(None)
    discord.say(place.ada, place.channel, "heard")
    gateway.repeat_last()
    assert await texts_of(line, 2) == ["heard", "heard"]
    gateway.ask_heartbeat()
    assert (await line.receive())["op"] == 1
    gateway.reconnect_all()
    assert (await line.receive())["op"] == 7
    gateway.behave(dispatches=False)
    discord.say(place.ada, place.channel, "late")
    await line.heartbeat()
    assert (await line.receive())["op"] == 11
    gateway.behave(dispatches=True)
    gateway.state.replay_overlap = 1
    gateway.reset_all()
    assert await line.ended() is None
    assert await texts_of(await bot.resume(line), 2) == ["heard", "late"]


async def test_a_frame_that_is_cut_and_one_that_is_none(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    line = await bot.identify(query=COMPRESSED)
    discord.gateway.cut_in_next()
    discord.say(place.ada, place.channel, "x" * 1000)
    assert await line.ended() is None
    other = await bot.resume(line)
    assert await texts_of(other, 1) == ["x" * 1000]
    await other.until("RESUMED")
    await discord.gateway.connected[0].send_garbage(b'{"op": ', text=True)
    with pytest.raises(ValueError, match="truncated"):
        await other.receive()


async def test_a_client_that_closes_gets_no_answer_when_the_gateway_never_closes(
    discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock
) -> None:
    discord.gateway.behave(answers_close=False)
    line = await bot.identify()
    with trio.move_on_after(600) as waited:
        await line.close(4000)
    assert waited.cancelled_caught


async def test_steps_replace_the_next_answers(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    gateway = discord.gateway
    gateway.next_hello("close", 4000)
    assert await (await bot.open()).ended() == 4000
    gateway.next_identify("invalid", resumable=True)
    line = await bot.connect()
    await line.send(2, bot.identity())
    assert (await line.receive())["d"] is True
    await line.send(2, bot.identity())
    await line.until("GUILD_CREATE")
    gateway.invalidate_all()
    assert (await line.receive())["op"] == 9
    gateway.next_resume("close", 4009)
    assert await (await bot.resume(line)).ended() == 4009
    gateway.behave(unavailable=503)
    assert await (await bot.open()).ended() == 503


async def test_an_outage_keeps_sessions(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    line = await bot.identify()
    discord.go_down()
    assert await line.ended() is None
    assert await (await bot.open()).ended() is None
    discord.say(place.ada, place.channel, "meanwhile")
    discord.come_up()
    assert await texts_of(await bot.resume(line), 1) == ["meanwhile"]


async def test_a_gateway_that_never_reads(discord: FakeDiscord, place: Place, bot: Bot, autojump_clock: MockClock) -> None:
    line = await bot.identify()
    discord.gateway.behave(reads=False, checks_heartbeats=False)
    with trio.move_on_after(100) as silence:
        await line.heartbeat()
        await line.until(11)
    assert silence.cancelled_caught
    discord.gateway.behave(reads=True)
    assert (await line.until(11))["op"] == 11


async def test_two_hundred_guilds(discord: FakeDiscord, bot: Bot) -> None:
    for number in range(200):
        guild = discord.add_guild(f"Guild {number}")
        for name in ("general", "random", "talk", "help", "logs"):
            discord.add_channel(guild, name)
    line = await bot.identify()
    assert [event["t"] for event in line.events] == ["READY"] + ["GUILD_CREATE"] * 200
    assert sum(len(event["d"]["channels"]) for event in line.events[1:]) == 1000


async def test_guilds_and_channels_come_and_go(discord: FakeDiscord, place: Place, bot: Bot) -> None:
    line = await bot.identify()
    other = discord.add_channel(place.guild, "other")
    role = discord.add_role(place.guild, "team", allow=["manage_messages"])
    discord.give_role(discord.bot_id, place.guild, role)
    discord.set_permissions(other, deny=["view_channel"])
    discord.set_permissions(other, role, allow=["view_channel"])
    discord.delete_channel(other)
    discord.guild_fails(place.guild)
    discord.guild_returns(place.guild)
    discord.remove_bot(place.guild)
    names = "CHANNEL_CREATE GUILD_ROLE_CREATE CHANNEL_DELETE CHANNEL_UPDATE CHANNEL_DELETE GUILD_DELETE GUILD_CREATE GUILD_DELETE"
    events = [await line.receive() for _ in names.split()]
    assert " ".join(event["t"] for event in events) == names
    assert [events[index]["d"].get("unavailable") for index in (5, 6, 7)] == [True, False, None]
    assert (await bot.refused("POST", f"/channels/{place.channel}/messages", {"content": "x"}))[:2] == (403, 50001)
