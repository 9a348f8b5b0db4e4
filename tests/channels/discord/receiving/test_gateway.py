"""The connection to the gateway against a fake that does what Discord does, and what it should not. What comes of gaps is in
test_gaps.py."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gatewayd.actor.border import sole
from gatewayd.channels.discord.receiving.connection import SENDS_PER_MINUTE
from gatewayd.channels.discord.receiving.deliveries import SESSION, WAITING
from gatewayd.channels.discord.receiving.gateway import ANSWER_SECONDS, FINAL, READY_SECONDS, RESUME_ATTEMPTS
from gatewayd.channels.discord.receiving.starts import RESERVE
from gatewayd.channels.discord.wire.frames import MOST_INFLATED_BYTES, Session
from gatewayd.kit.json import decode
from gatewayd.model.errors import GatewayError, NeedsOperator, TryAgain
from tests.channels.discord.rig import Rig, now, rig_for
from tests.fakes.discord_platform import FakeDiscord
from tests.fakes.discord_platform.model.events import GUILDS, Event

HEARTBEAT = 1
INTERVAL_SECONDS = 41.25
DAY = 86_400.0


class Talk:
    """Ada's direct message with the bot, and a channel."""

    def __init__(self, discord: FakeDiscord) -> None:
        self.discord = discord
        self.gateway = discord.gateway
        self.ada = discord.add_user("ada")
        guild = discord.add_guild("Home", members=[self.ada])
        self.general = discord.add_channel(guild, "general")
        self.dm = discord.dm(self.ada)

    def say(self, text: str) -> None:
        self.discord.say(self.ada, self.dm, text)

    @property
    def beats(self) -> list[int | None]:
        """The numbers in the heartbeats, of all connections."""
        return [it["d"] for one in self.gateway.connections for it in one.received if it["op"] == HEARTBEAT]

    def counts(self) -> tuple[int, int]:
        return self.gateway.identify_count, self.gateway.resume_count


@asynccontextmanager
async def talk_for(seconds: float = 3600.0) -> AsyncIterator[Talk]:
    with trio.fail_after(seconds):
        async with FakeDiscord.serve(now=now) as discord:
            talk = Talk(discord)
            await trio.sleep(5)
            yield talk
            codes = {one.closed_with for one in talk.gateway.connections}
            assert not codes & {1000, 1001}, "they end the session"
            assert not discord.violations


@asynccontextmanager
async def connected(**kept: Any) -> AsyncIterator[tuple[Talk, Rig]]:
    async with talk_for() as talk, rig_for(talk.discord, **kept) as rig, rig.listening():
        await trio.sleep(2)
        yield talk, rig


async def end_of(rig: Rig) -> GatewayError:
    """Listen until an error."""
    with pytest.raises((GatewayError, ExceptionGroup)) as caught:
        await rig.channel.listen(rig.journal)
    error = sole(caught.value)
    assert isinstance(error, GatewayError)
    return error


async def test_it_is_connected_after_ready_and_not_before(autojump_clock: MockClock) -> None:
    async with talk_for() as talk, rig_for(talk.discord) as rig, trio.open_nursery() as nursery:
        talk.gateway.next_identify("silence")
        nursery.start_soon(rig.channel.listen, rig.journal)
        await talk.gateway.wait_identifies(1)
        await trio.sleep(READY_SECONDS - 5)
        assert rig.services.connected_as == []
        assert talk.counts() == (1, 0), "in an outage a session comes late, and each question for one costs a start"
        assert len(talk.beats) > READY_SECONDS // INTERVAL_SECONDS - 1
        await rig.services.is_connected.wait()
        assert talk.counts() == (2, 0)
        assert rig.services.connected_as == ["@gatewayd"]
        assert rig.services.silence is not None
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("end", ["cut", "reset", "reconnect", "resumable", "zombie", *(4000, 4001, 4002, 4005, 4008)], ids=str)
async def test_what_ends_the_connection_alone_is_resumed(end: str | int, autojump_clock: MockClock) -> None:
    async with connected() as (talk, rig):
        talk.say("before")
        await rig.journal.wait_texts("before")
        match end:
            case "cut":
                talk.gateway.cut_in_next()
                talk.say("cut")
            case "reset":
                talk.gateway.reset_all()
            case "reconnect":
                talk.gateway.reconnect_all()
            case "resumable":
                talk.gateway.invalidate_all(resumable=True)
            case "zombie":
                talk.gateway.behave(acknowledges=False, dispatches=False)
                at = trio.current_time()
                while not rig.services.interruptions:
                    await rig.services.changed.wait()
                assert trio.current_time() - at < 2 * INTERVAL_SECONDS + 5
                talk.gateway.behave(acknowledges=True, dispatches=True)
            case int():
                talk.gateway.close_all(end)
        await trio.sleep(0.01)
        talk.say("meanwhile")
        await rig.journal.wait_texts("before", *(["cut"] if end == "cut" else []), "meanwhile")
        await trio.sleep(60)
        assert talk.counts()[0] == 1
        assert 1 <= len(rig.services.interruptions) <= talk.counts()[1]
        assert talk.gateway.connected[-1].by_resume_url
        assert rig.services.is_connected.is_set()


@pytest.mark.parametrize("end", ["invalid", 1000, 4003, 4007, 4009], ids=str)
async def test_what_ends_the_session_begins_another_one(end: str | int, autojump_clock: MockClock) -> None:
    async with connected() as (talk, rig):
        talk.say("before")
        await rig.journal.wait_texts("before")
        if isinstance(end, int):
            talk.gateway.close_all(end)
        else:
            talk.gateway.invalidate_all()
        await talk.gateway.wait_identifies(2)
        talk.say("after")
        await rig.journal.wait_event("what came after it", lambda it: it.text == "after")
        assert talk.gateway.state.identifies[1] - talk.gateway.state.identifies[0] >= 5


@pytest.mark.parametrize("code", sorted(FINAL))
async def test_close_codes_that_nothing_but_a_person_can_mend_are_told_by_name(code: int, autojump_clock: MockClock) -> None:
    async with talk_for() as talk, rig_for(talk.discord) as rig:
        talk.gateway.next_identify("close", code)
        error = await end_of(rig)
        assert isinstance(error, NeedsOperator)
        assert error.retries_slowly
        assert f"({code})" in error.reason
        assert talk.discord.token not in f"{error} {error!r}"
        if code in (4004, 4014):
            assert "https://discord.com/developers/applications" in error.reason
        assert talk.counts() == (1, 0)


async def test_an_intent_that_is_switched_off_costs_no_start(autojump_clock: MockClock) -> None:
    async with talk_for() as talk:
        talk.discord.set_intents()
        async with rig_for(talk.discord) as rig:
            error = await end_of(rig)
        assert isinstance(error, NeedsOperator)
        assert "Message Content" in error.reason
        assert f"https://discord.com/developers/applications/{talk.discord.application_id}/bot" in error.reason
        async with rig_for(talk.discord, message_content=False) as rig, rig.listening():
            assert talk.counts() == (1, 0)


async def test_heartbeats_go_on_while_a_commit_is_slow_and_say_what_is_stored(autojump_clock: MockClock) -> None:
    async with connected() as (talk, rig):
        talk.say("one")
        await rig.journal.wait_texts("one")
        rig.journal.gate = trio.Event()
        stored = talk.gateway.session.seq
        for number in range(40):
            talk.say(f"waits {number}")
        channels = [{"id": f"{10**17 + number}", "type": 0, "name": "c" * 90} for number in range(30_000)]
        talk.gateway.session.dispatch(Event("GUILD_CREATE", {"id": "9" * 18, "name": "Large", "channels": channels}, GUILDS))
        assert len(talk.gateway.session.sent[-1]) > 3_000_000
        await trio.sleep(20 * INTERVAL_SECONDS)
        assert len(talk.beats) >= 19
        assert max(number for number in talk.beats if number is not None) <= stored
        assert talk.counts() == (1, 0)
        rig.journal.gate.set()
        await rig.journal.wait_texts("one", *(f"waits {number}" for number in range(40)))
        await trio.sleep(INTERVAL_SECONDS + 1)
        assert talk.beats[-1] == talk.gateway.session.seq


async def test_more_than_can_wait_is_left_to_discord_and_comes_by_a_resume(autojump_clock: MockClock) -> None:
    async with connected() as (talk, rig):
        rig.journal.gate = trio.Event()
        texts = [f"text {number}" for number in range(WAITING + 50)]
        for text in texts:
            talk.say(text)
        await trio.sleep(120)
        assert "slower than Discord" in rig.services.interruptions[0]
        rig.journal.gate.set()
        await rig.journal.wait_texts(*texts)
        assert talk.gateway.identify_count == 1


async def test_a_bomb_ends_the_connection_and_nothing_else(autojump_clock: MockClock) -> None:
    async with connected() as (talk, rig):
        talk.gateway.connected[-1].send(b'{"op": 0, "d": "' + b"0" * MOST_INFLATED_BYTES + b'"}')
        await trio.sleep(5)
        talk.say("after")
        await rig.journal.wait_texts("after")
        assert "nobody can read" in rig.services.interruptions[0]
        assert talk.counts() == (1, 1)


@pytest.mark.parametrize("data", [b"\x00\x00\xff\xff", b"{", b"[]", b'{"op": "x"}', b'{"op": 0, "s": 9, "t": "READY", "d": 1}'])
async def test_what_nobody_can_read_ends_the_connection_and_nothing_else(data: bytes, autojump_clock: MockClock) -> None:
    async with connected() as (talk, rig):
        await talk.gateway.connected[-1].send_garbage(data, text=b"\x00" not in data)
        await trio.sleep(30)
        talk.say("after")
        await rig.journal.wait_event("what came after it", lambda it: it.text == "after")
        assert len(rig.services.interruptions) == 1


async def test_a_session_that_ends_every_connection_is_given_up(autojump_clock: MockClock) -> None:
    async with connected() as (talk, rig):
        for _ in range(2 * RESUME_ATTEMPTS):
            talk.gateway.next_resume("close", 4000)
        talk.gateway.reset_all()
        talk.say("meanwhile")
        await talk.gateway.wait_identifies(2)
        await rig.services.is_connected.wait()
        assert talk.counts() == (2, 2 * RESUME_ATTEMPTS)
        assert not talk.gateway.connections[RESUME_ATTEMPTS + 1].by_resume_url, "meanwhile another address was tried"


async def test_an_outage_gives_no_session_up(autojump_clock: MockClock) -> None:
    async with connected() as (talk, rig):
        talk.gateway.state.sessions.life_seconds = DAY
        talk.discord.go_down()
        await trio.sleep(1800)
        talk.say("meanwhile")
        talk.discord.come_up()
        await rig.journal.wait_texts("meanwhile")
        assert talk.counts() == (1, 1)


async def test_a_resume_that_is_not_answered_is_tried_again(autojump_clock: MockClock) -> None:
    async with connected() as (talk, rig):
        talk.gateway.next_resume("silence")
        at = trio.current_time()
        talk.gateway.reset_all()
        await talk.gateway.wait_resumes(2)
        assert trio.current_time() - at == pytest.approx(ANSWER_SECONDS, abs=10)
        await rig.services.is_connected.wait()
        assert talk.counts() == (1, 2)


async def test_a_resume_that_never_ends_is_tried_again(autojump_clock: MockClock) -> None:
    async with connected() as (talk, rig):
        talk.gateway.behave(dispatches=False)
        talk.gateway.reset_all()
        await talk.gateway.wait_resumes(1)
        talk.gateway.behave(dispatches=True)
        talk.say("told live, and RESUMED is lost")
        await rig.journal.wait_texts("told live, and RESUMED is lost")
        await rig.services.is_connected.wait()
        assert talk.counts() == (1, 2)


async def test_no_more_is_sent_than_discord_takes(autojump_clock: MockClock) -> None:
    async with connected() as (talk, rig):
        at = len(talk.beats)
        for _ in range(30):
            for _ in range(20):
                talk.gateway.ask_heartbeat()
            await trio.sleep(2)
        assert 1 < len(talk.beats) - at <= SENDS_PER_MINUTE
        talk.say("read at once")
        await trio.sleep(1)
        assert rig.journal.texts == ["read at once"]
        assert talk.counts() == (1, 0), "the fake ends it with 4008 at the 121st"


async def test_a_storm_of_a_day_over_restarts_spends_no_more_starts_than_there_are(autojump_clock: MockClock) -> None:
    """Each session is ended at once. Ten are left of twenty; the token is reset with the twenty-first."""
    kept: dict[str, str] = {}

    async def storm(talk: Talk) -> None:
        seen = 0
        while True:
            await talk.gateway.wait_connected(after=seen)
            seen = len(talk.gateway.connections)
            talk.gateway.invalidate_all()

    async with talk_for(2 * DAY) as talk, trio.open_nursery() as nursery:
        starts = talk.discord.session_starts
        starts.total, starts.used = 20, 10
        nursery.start_soon(storm, talk)
        told: list[str] = []
        with trio.move_on_after(0.9 * DAY):
            while True:
                async with rig_for(talk.discord, kept=kept) as rig:
                    error = await end_of(rig)
                assert isinstance(error, TryAgain)
                assert talk.discord.token not in str(kept)
                told.append(error.reason)
                await trio.sleep(error.after_seconds or 5)
        assert 0 < starts.used <= starts.total - RESERVE
        assert any("lets the bot begin only" in reason for reason in told)
        nursery.cancel_scope.cancel()


async def test_the_session_of_an_earlier_life_is_resumed_where_it_was_stored(autojump_clock: MockClock) -> None:
    async with talk_for() as talk:
        kept: dict[str, str] = {}
        async with rig_for(talk.discord, kept=kept) as rig, rig.listening():
            talk.say("one")
            await rig.journal.wait_texts("one")
            rig.journal.gate = trio.Event()
            talk.say("not stored")
            await trio.sleep(1)
        assert SESSION in kept
        before = len(talk.beats)
        async with rig_for(talk.discord, kept=kept) as rig:
            rig.journal.gate = trio.Event()
            async with rig.listening():
                await trio.sleep(INTERVAL_SECONDS)
                stored = decode(kept[SESSION], Session).seq
                assert set(talk.beats[before:]) == {stored}
                rig.journal.gate.set()
                await rig.journal.wait_texts("not stored")
        assert talk.counts() == (1, 1)


async def test_a_life_that_ends_while_the_first_commit_waits_resumes_the_new_session(autojump_clock: MockClock) -> None:
    """Nothing tells of direct messages of people who are not known yet, but the session in which they came."""
    async with talk_for() as talk:
        kept: dict[str, str] = {}
        async with rig_for(talk.discord, kept=kept) as rig, rig.listening():
            rig.journal.gate = trio.Event()
            await trio.sleep(1)
            talk.say("never stored")
            await trio.sleep(5)
        async with rig_for(talk.discord, kept=kept) as rig, rig.listening():
            await rig.journal.wait_texts("never stored")
        assert talk.counts() == (1, 1)


async def test_a_state_that_cannot_be_read_begins_anew(autojump_clock: MockClock) -> None:
    async with talk_for() as talk, rig_for(talk.discord, kept={SESSION: "?"}) as rig, rig.listening():
        assert talk.counts() == (1, 0)
