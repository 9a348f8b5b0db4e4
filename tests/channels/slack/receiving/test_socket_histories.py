"""Whatever Slack and the network do: nothing is lost, nothing is acknowledged before its commit, and a refresh costs nothing."""

from collections.abc import Sequence
from typing import Literal

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from gatewayd.channels.slack.receiving.openings import ATTEMPTS_A_MINUTE
from gatewayd.model.errors import TryAgain
from tests.channels.slack.receiving.slack_side import AGAIN_SECONDS, Line, Slack
from tests.channels.slack.receiving.socket_rig import Hub, rig_for

Step = tuple[
    Literal["wait", "event", "cut", "close", "refresh", "silence", "garbage", "slow", "quick", "refuse", "let", "again"], int
]

numbers = st.integers(0, 100)
kinds = ["wait", "event", "event", "event", "cut", "close", "refresh", "silence", "garbage", "slow", "quick"]
any_step = st.tuples(st.sampled_from([*kinds, "refuse", "let", "again"]), numbers)
gentle_step = st.tuples(st.sampled_from(["wait", "event", "event", "refresh", "garbage", "slow", "quick", "again"]), numbers)


async def play(steps: Sequence[Step], slack: Slack, hub: Hub, nursery: trio.Nursery) -> list[str]:
    """Returns the texts of all events, in the order of their sending."""
    sent: list[str] = []
    for kind, number in steps:
        line = slack.open[number % len(slack.open)] if slack.open else None
        match kind:
            case "wait":
                await trio.sleep(number)
            case "event":
                sent.append(f"event {len(sent)}")
                await slack.send(sent[-1], line)
                await trio.testing.wait_all_tasks_blocked()
            case "slow":
                hub.before = lambda: trio.sleep(number / 20)  # noqa: ASYNC105, B023
            case "quick":
                hub.before = trio.lowlevel.checkpoint
            case "refuse":
                slack.refuse = lambda: TryAgain("Slack apps.connections.open answered 503")
            case "let":
                slack.refuse = lambda: None
            case "again":
                await slack.send_again()
            case _ if line is not None:
                await disturb(kind, number, line, nursery)
    return sent


async def disturb(kind: str, number: int, line: Line, nursery: trio.Nursery) -> None:
    match kind:
        case "cut":
            await line.cut()
        case "close":
            await line.close()
        case "silence":
            line.go_silent()
        case "garbage":
            await line.say('{"type": "events_api", "envelope_id": "e1", "payload": {"ev')
        case "refresh":
            nursery.start_soon(refresh, line, number)


async def refresh(line: Line, number: int) -> None:
    """A warning, in most cases, and ten seconds later the end."""
    if number % 3:
        await line.disconnect("warning")
        await trio.sleep(10)
    await line.disconnect("refresh_requested")
    await trio.sleep(1 + number / 10)
    await line.close()


@given(st.integers(1, 3), st.lists(any_step, max_size=25))
def test_each_event_is_committed_and_then_acknowledged(connections: int, steps: list[Step]) -> None:
    async def go() -> None:
        async with rig_for(connections) as rig, trio.open_nursery() as nursery:
            slack, hub = rig.slack, rig.hub
            await slack.wait_open(connections)
            sent = await play(steps, slack, hub, nursery)
            slack.refuse, hub.before = lambda: None, trio.lowlevel.checkpoint
            with trio.move_on_after(600) as patience:
                while slack.frames or len(slack.open) != connections or rig.lacks:
                    await slack.send_again()
                    await trio.sleep(AGAIN_SECONDS)
            assert not patience.cancelled_caught, "it is there again, lacks nothing, and takes what comes"
            assert rig.error is None
            assert set(hub.committed) == set(sent)
            nursery.cancel_scope.cancel()

    trio.run(go, clock=MockClock(autojump_threshold=0))


@given(st.integers(1, 3), st.lists(gentle_step, max_size=25))
def test_a_refresh_leaves_no_moment_without_a_connection_and_keeps_the_order(connections: int, steps: list[Step]) -> None:
    async def go() -> None:
        async with rig_for(connections) as rig, trio.open_nursery() as nursery:
            slack, hub = rig.slack, rig.hub
            await slack.wait_open(connections)
            await trio.sleep(100)
            spaced = [step for each in steps for step in (each, ("wait", 70)) if each[0] == "refresh" or step is each]
            sent = await play(spaced, slack, hub, nursery)
            hub.before = trio.lowlevel.checkpoint
            await trio.sleep(60)
            await slack.send_again()
            await slack.wait(lambda: not slack.frames)
            assert slack.dark_at == []
            assert rig.services.interruptions == []
            assert len(slack.open) == connections
            assert list(dict.fromkeys(hub.committed)) == sent
            nursery.cancel_scope.cancel()

    trio.run(go, clock=MockClock(autojump_threshold=0))


@given(st.integers(1, 10), st.lists(st.tuples(st.sampled_from(["cut", "close", "silence", "refresh"]), numbers), max_size=12))
def test_a_server_that_refuses_is_asked_rarely(connections: int, steps: list[Step]) -> None:
    async def go() -> None:
        async with rig_for(connections) as rig, trio.open_nursery() as nursery:
            await rig.slack.wait_open(connections)
            await trio.sleep(100)
            del rig.slack.attempts[:]
            rig.slack.refuse = lambda: TryAgain("Slack apps.connections.open answered 503")
            await play(steps, rig.slack, rig.hub, nursery)
            await trio.sleep(600)
            attempts = rig.slack.attempts
            assert max((sum(at <= other < at + 60 for other in attempts) for at in attempts), default=0) <= ATTEMPTS_A_MINUTE
            nursery.cancel_scope.cancel()

    trio.run(go, clock=MockClock(autojump_threshold=0))
