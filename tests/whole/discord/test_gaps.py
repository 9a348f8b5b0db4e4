"""What is said while nobody listens is answered once: by the resumed session, and from the history when there is none."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.whole.discord.rig import Server
from tests.whole.process import Daemon
from tests.whole.slack.rig import connected, events

pytestmark = pytest.mark.slow


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Server]:
    with trio.fail_after(60):
        async with Server.serve(tmp_path) as place:
            yield place


async def speak(place: Server) -> None:
    """In a thread that the bot is in from now on, and in private."""
    place.discord.say(place.alice, place.thread, f"{place.mention} before")
    place.discord.say(place.alice, place.dm, "before")
    assert await place.wait_said(place.thread, 1) == ["before"]
    assert await place.wait_said(place.dm, 1) == ["before"]


def say_while_away(place: Server) -> None:
    """Three messages for the bot, a minute each, and one that is not."""
    place.discord.say(place.bob, place.general, "for everybody")
    place.pass_seconds(60)
    place.discord.say(place.alice, place.general, f"{place.mention} a mention")
    place.pass_seconds(60)
    place.discord.say(place.bob, place.thread, "in the thread")
    place.pass_seconds(60)
    place.discord.say(place.alice, place.dm, "in private")


async def check_answers(place: Server, gateway: Daemon, *, identifies: int) -> None:
    """Each of the three is answered once, where it was said."""
    await place.wait_said(place.general, 1)
    await place.wait_said(place.thread, 2)
    await place.wait_said(place.dm, 2)
    place.discord.say(place.alice, place.dm, "after")
    assert await place.wait_said(place.dm, 3) == ["before", "in private", "after"]
    assert place.said(place.general) == ["a mention"]
    assert place.said(place.thread) == ["before", "in the thread"]
    received = [one for one in await events(gateway) if one["kind"] == "inbound.received"]
    assert len(received) == 2 + 4 + 1
    assert place.discord.gateway.identify_count == identifies
    await gateway.wait_status(lambda snapshot: connected(snapshot) and not snapshot.accounts[0].lacks)


@pytest.mark.parametrize(("end", "is_kept"), [("stop", True), ("kill", True), ("kill", False)])
async def test_five_minutes_down(place: Server, end: str, is_kept: bool) -> None:
    text = place.configuration()
    async with place.start(text) as gateway:
        await place.discord.gateway.wait_connected()
        await speak(place)
        await gateway.wait_status(lambda snapshot: snapshot.outbox.ready == snapshot.outbox.sending == 0)
        if end == "stop":
            assert await gateway.stop() == 0
        else:
            gateway.kill()
            await gateway.wait()
    if not is_kept:
        place.discord.gateway.forget_sessions()
    place.pass_seconds(60)
    say_while_away(place)
    place.pass_seconds(60)
    async with place.start(text) as gateway:
        await check_answers(place, gateway, identifies=1 if is_kept else 2)


@pytest.mark.parametrize("is_kept", [True, False], ids=["resumed", "invalid"])
async def test_a_cut_of_three_minutes(place: Server, is_kept: bool) -> None:
    async with place.start(place.configuration()) as gateway:
        await place.discord.gateway.wait_connected()
        await speak(place)
        place.discord.go_down()
        snapshot = await gateway.wait_status(lambda snapshot: not connected(snapshot))
        assert [account.state for account in snapshot.accounts] == ["interrupted"]
        if not is_kept:
            place.discord.gateway.forget_sessions()
        say_while_away(place)
        place.discord.come_up()
        await check_answers(place, gateway, identifies=1 if is_kept else 2)
