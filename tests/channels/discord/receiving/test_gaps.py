"""Whatever the network and the gateway do, each message is there once: by a resumed session, or read back."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.channels.discord.rig import Rig, now, rig_for
from tests.fakes.discord_platform import FakeDiscord

PATIENCE_SECONDS = 3600.0
READ = "GET /channels/{channel_id}/messages"


class Places:
    """Ada's direct message, a channel, a thread that the bot is in, and a forum post."""

    def __init__(self, discord: FakeDiscord) -> None:
        self.discord = discord
        self.ada = discord.add_user("ada")
        guild = discord.add_guild("Home", members=[self.ada])
        self.dm = discord.dm(self.ada)
        self.general = discord.add_channel(guild, "general")
        self.thread = discord.open_thread(self.ada, self.general, "a topic")
        self.post = discord.open_thread(self.ada, discord.add_forum(guild), "a post")
        self.all = (self.dm, self.general, self.thread, self.post)
        self.said: list[str] = []

    def say(self, channel: str) -> str:
        text = f"text {len(self.said)}"
        self.said.append(text)
        return self.discord.say(self.ada, channel, f"<@{self.discord.bot_id}> {text}")

    async def say_everywhere(self, times: int = 3) -> None:
        for _ in range(times):
            for channel in self.all:
                self.say(channel)
                await trio.sleep(0.1)


@asynccontextmanager
async def world() -> AsyncIterator[Places]:
    with trio.fail_after(PATIENCE_SECONDS):
        async with FakeDiscord.serve(now=now) as discord:
            places = Places(discord)
            await trio.sleep(5)
            yield places


def texts(*rigs: Rig) -> list[str]:
    """The hub drops what comes twice, by its key."""
    known = {envelope.event_key: envelope.text for rig in rigs for envelope in rig.journal.envelopes}
    return list(known.values())


async def all_there(places: Places, *rigs: Rig) -> None:
    while set(texts(*rigs)) != set(places.said):  # noqa: ASYNC110  # several journals may bring it
        await trio.sleep(5)
    await trio.sleep(30)
    assert sorted(texts(*rigs)) == sorted(places.said)


async def forget(places: Places) -> None:
    places.discord.gateway.forget_sessions()


async def keep(places: Places) -> None:
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("what", [keep, forget])
async def test_three_minutes_without_a_network(what: Callable[[Places], Awaitable[None]], autojump_clock: MockClock) -> None:
    async with world() as places, rig_for(places.discord) as rig, rig.listening():
        await places.say_everywhere(1)
        await all_there(places, rig)
        places.discord.go_down()
        await what(places)
        for _ in range(3):
            await trio.sleep(60)
            await places.say_everywhere(1)
        places.discord.come_up()
        await all_there(places, rig)
        assert places.discord.gateway.identify_count == (1 if what is keep else 2)
        assert {it.missed for it in rig.journal.envelopes if it.text == places.said[-1]} == {what is forget}
        assert [rig.services.lacking.get(name) for name in ("history", "history of channels")] == [None, None]


@pytest.mark.parametrize("what", [keep, forget])
async def test_five_minutes_down(what: Callable[[Places], Awaitable[None]], autojump_clock: MockClock) -> None:
    async with world() as places:
        places.discord.gateway.state.sessions.life_seconds = 3600.0
        kept: dict[str, str] = {}
        async with rig_for(places.discord, kept=kept) as first, first.listening():
            await places.say_everywhere(1)
            await all_there(places, first)
        await what(places)
        for _ in range(3):
            await trio.sleep(100)
            await places.say_everywhere(1)
        async with rig_for(places.discord, kept=kept) as again, again.listening():
            await all_there(places, first, again)
            assert {it.peer for it in again.journal.envelopes} == {it.peer for it in first.journal.envelopes}
            assert places.discord.gateway.identify_count == (1 if what is keep else 2)


async def test_more_than_a_page_of_a_channel_and_an_archived_thread_are_read_back(autojump_clock: MockClock) -> None:
    async with world() as places:
        kept: dict[str, str] = {}
        async with rig_for(places.discord, kept=kept) as first, first.listening():
            await places.say_everywhere(1)
            await trio.sleep(60)
            places.say(places.dm)
            await all_there(places, first)
        await forget(places)
        quiet = places.discord.add_channel(next(iter(places.discord._world.guilds)), "never used")
        for _ in range(230):
            places.say(places.general)
        places.say(quiet)
        places.say(places.thread)
        places.discord.archive(places.thread)
        other = places.discord.open_thread(places.ada, places.general, "another topic")
        places.say(other)
        places.discord.archive(other)
        await trio.sleep(30)
        places.discord.clear_calls()
        async with rig_for(places.discord, kept=kept) as again, again.listening():
            await all_there(places, first, again)
            await trio.sleep(10)
            read = [call.ids["channel_id"] for call in places.discord.log if call.route == READ]
        assert places.post not in read
        assert [it.text for it in again.journal.envelopes if it.peer.id == places.general and it.peer.thread is None] == [
            *places.said[5:235]
        ]


async def test_a_backfill_that_is_cut_goes_on_in_the_next_life(autojump_clock: MockClock) -> None:
    async with world() as places:
        kept: dict[str, str] = {}
        async with rig_for(places.discord, kept=kept) as first, first.listening():
            await places.say_everywhere(1)
            await all_there(places, first)
        await forget(places)
        await places.say_everywhere(3)
        rigs = [first]
        for _ in range(3):
            async with rig_for(places.discord, kept=kept) as rig:
                rigs.append(rig)
                with trio.move_on_after(1.0):
                    async with rig.listening():
                        places.discord.hang_next(READ)
                        await trio.sleep(1)
            places.discord.behave()
        async with rig_for(places.discord, kept=kept) as last, last.listening():
            await all_there(places, *rigs, last)
        assert places.discord.gateway.identify_count <= 4


Step = Literal[
    "say", "wait", "reset", "reconnect", "invalid", "resumable", "close", "forget", "zombie", "alive", "slow", "fast", "restart"
]
DISTURBS: tuple[Step, ...] = (
    "reset",
    "reconnect",
    "invalid",
    "resumable",
    "close",
    "forget",
    "zombie",
    "alive",
    "slow",
    "fast",
    "restart",
)
STEPS: tuple[Step, ...] = ("say", "say", "say", "wait", *DISTURBS)


async def disturb(step: Step, number: int, places: Places, rig: Rig) -> None:
    gateway = places.discord.gateway
    match step:
        case "say":
            places.say(places.all[number % len(places.all)])
        case "wait":
            await trio.sleep(number)
        case "reset":
            gateway.reset_all()
        case "reconnect":
            gateway.reconnect_all()
        case "invalid" | "resumable":
            gateway.invalidate_all(resumable=step == "resumable")
        case "close":
            gateway.close_all((4000, 4001, 4002, 4003, 4005, 4007, 4008, 4009, 1000, 1001)[number % 10])
        case "forget":
            gateway.forget_sessions()
            gateway.reset_all()  # a connection is of a session
        case "zombie":
            gateway.behave(acknowledges=False, dispatches=False)
        case "alive":
            gateway.behave(acknowledges=True, dispatches=True)
        case "slow" if rig.journal.gate.is_set():
            rig.journal.gate = trio.Event()
        case "fast":
            rig.journal.gate.set()
    await trio.sleep(0.05)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 100)), max_size=20))
def test_any_history_loses_nothing_and_spends_no_start_in_vain(steps: list[tuple[Step, int]]) -> None:
    async def go() -> None:
        async with world() as places:
            kept: dict[str, str] = {}
            rigs: list[Rig] = []
            waiting = list(steps)
            while waiting or not rigs:
                async with rig_for(places.discord, kept=kept) as rig:
                    rigs.append(rig)
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(rig.channel.listen, rig.journal)
                        if len(rigs) == 1:
                            await rig.services.is_connected.wait()
                            await places.say_everywhere(1)  # from now on the bot knows of the direct message
                            await all_there(places, rig)
                        while waiting and (step := waiting.pop(0))[0] != "restart":
                            await disturb(*step, places, rig)
                        if not waiting:
                            places.discord.gateway.behave(acknowledges=True, dispatches=True)
                            rig.journal.gate.set()
                            await all_there(places, *rigs)
                        nursery.cancel_scope.cancel()
            assert places.discord.gateway.identify_count <= 1 + len(steps)
            assert places.discord.session_starts.remaining > 0

    trio.run(go, clock=MockClock(autojump_threshold=0.01))
