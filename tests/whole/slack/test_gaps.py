"""What is said while nobody listens is answered once: from the history, and also when Slack sends the events again."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.whole.process import Daemon
from tests.whole.slack.rig import Workspace, connected, events, lacks_of

pytestmark = pytest.mark.slow

WHILE_AWAY = 3


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Workspace]:
    with trio.fail_after(60):
        async with Workspace.serve(tmp_path) as place:
            place.slack.retry_events(False)
            yield place


async def speak(place: Workspace) -> str:
    """A thread that the bot is in."""
    asked = place.slack.say(place.alice, place.general, f"{place.mention} before")
    assert await place.wait_said(place.general, 1, thread=asked) == ["before"]
    return asked


async def say_while_away(place: Workspace, asked: str) -> str:
    """Three messages for the bot, a minute each, and two that are not. The thread of the mention."""
    slack = place.slack
    slack.say(place.bob, place.general, "for everybody")
    place.pass_seconds(60)
    mentioned = slack.say(place.alice, place.general, f"{place.mention} a mention")
    place.pass_seconds(60)
    slack.say(place.bob, place.general, "in the thread", thread=asked)
    slack.say(place.bob, place.general, "among people", thread=slack.say(place.bob, place.general, "a thread"))
    place.pass_seconds(60)
    slack.say(place.alice, place.dm, "in private")
    await slack.wait_delivered()  # or lost
    return mentioned


async def check_answers(place: Workspace, gateway: Daemon, asked: str, mentioned: str) -> None:
    """Each of the three is answered once, where it was said, also when Slack sends its event again."""
    slack, missed = place.slack, [one for one in place.slack.deliveries.all if one.outcome == "lost"]
    assert len(missed) >= WHILE_AWAY
    await place.wait_said(place.dm, 1)
    await place.wait_said(place.general, 3)
    for delivery in missed:
        slack.redeliver(delivery)
    await slack.wait_delivered()
    # Behind everything that came before, in the order of the account.
    slack.say(place.alice, place.dm, "after")
    await place.wait_said(place.dm, 2)
    assert place.said(place.dm) == ["in private", "after"]
    assert place.said(place.general, thread=mentioned) == ["a mention"]
    assert place.said(place.general, thread=asked) == ["before", "in the thread"]
    assert len(place.said(place.general)) == 3
    received = [one for one in await events(gateway) if one["kind"] == "inbound.received"]
    assert len(received) == 2 + WHILE_AWAY + 3, "before, after, the three, and three that are not for the bot"
    await gateway.wait_status(lambda snapshot: connected(snapshot) and not lacks_of(snapshot))


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_five_minutes_down(place: Workspace, end: str) -> None:
    text = place.configuration()
    async with place.start(text) as gateway:
        await place.slack.wait_connections()
        asked = await speak(place)
        await place.slack.wait_delivered()
        await gateway.wait_status(lambda snapshot: snapshot.outbox.ready == snapshot.outbox.sending == 0)
        if end == "stop":
            assert await gateway.stop() == 0
        else:
            gateway.kill()
            await gateway.wait()
    place.pass_seconds(60)
    mentioned = await say_while_away(place, asked)
    place.pass_seconds(60)
    async with place.start(text) as gateway:
        await check_answers(place, gateway, asked, mentioned)


async def test_a_cut_of_three_minutes(place: Workspace) -> None:
    slack = place.slack
    async with place.start(place.configuration()) as gateway:
        await slack.wait_connections(2)
        asked = await speak(place)
        slack.break_with("apps.connections.open", 503, times=None)
        for index in (1, 0):
            await slack.cut(index)
        snapshot = await gateway.wait_status(lambda snapshot: not connected(snapshot))
        assert [account.state for account in snapshot.accounts] == ["interrupted"]
        mentioned = await say_while_away(place, asked)
        slack.clear_faults()
        await check_answers(place, gateway, asked, mentioned)


async def test_events_that_slack_has_dropped_are_found_after_the_next_start(place: Workspace) -> None:
    """All connections stood, so nobody knew of a gap."""
    slack, text = place.slack, place.configuration()
    async with place.start(text) as gateway:
        await slack.wait_connections()
        asked = await speak(place)
        slack.drop_events()
        mentioned = await say_while_away(place, asked)
        slack.drop_events(False)
        assert await gateway.stop() == 0
    async with place.start(text) as gateway:
        await check_answers(place, gateway, asked, mentioned)
