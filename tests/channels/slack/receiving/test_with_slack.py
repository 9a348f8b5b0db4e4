"""The whole driver in Socket Mode, against the fake Slack: through refreshes, cuts and dead peers, each message is there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from gatewayd.actor.border import leaves
from gatewayd.channels.slack.receiving.socket import PING_SECONDS, PONG_SECONDS
from gatewayd.model.errors import NeedsOperator, TryAgain
from tests.channels.slack.receiving.socket_rig import PATIENCE_SECONDS
from tests.channels.slack.rig import Rig, now, rig_for
from tests.fakes.slack_platform import FakeSlack


@asynccontextmanager
async def listening(**settings: object) -> AsyncIterator[tuple[FakeSlack, Rig]]:
    with trio.fail_after(PATIENCE_SECONDS):
        async with FakeSlack.serve(now=now) as slack, rig_for(slack, **settings) as rig, rig.listening():  # type: ignore[arg-type]
            yield slack, rig


def texts(rig: Rig) -> list[str]:
    """The hub drops what comes twice, by its key."""
    return [envelope.text for envelope in {envelope.event_key: envelope for envelope in rig.journal.envelopes}.values()]


async def test_each_payload_comes_over_some_connection_and_is_acknowledged(autojump_clock: MockClock) -> None:
    async with listening(connections=3) as (slack, rig):
        await slack.wait_connections(3)
        alice = slack.add_user("alice")
        for number in range(6):
            slack.say(alice, slack.dm(alice), f"text {number}")
        await slack.wait_delivered()
        assert sorted(texts(rig)) == [f"text {number}" for number in range(6)]
        assert [connection.sent for connection in slack.connections] == [2, 2, 2]
        assert [delivery.tried for delivery in slack.deliveries.all] == [[]] * 6


async def test_what_waits_for_its_commit_is_not_acknowledged(autojump_clock: MockClock) -> None:
    async with listening() as (slack, rig):
        await slack.wait_connections()
        alice = slack.add_user("alice")
        rig.journal.gate = trio.Event()
        slack.say(alice, slack.dm(alice), "hi")
        await trio.sleep(1)
        assert slack.outcomes() == ["waiting"]
        rig.journal.gate.set()
        await slack.wait_delivered()
        assert texts(rig) == ["hi"]


@pytest.mark.parametrize("connections", [1, 2])
async def test_a_refresh_loses_nothing_and_sends_nothing_again(connections: int, autojump_clock: MockClock) -> None:
    async with listening(connections=connections) as (slack, rig):
        await slack.wait_connections(connections)
        alice = slack.add_user("alice")
        await trio.sleep(100)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(slack.disconnect)
            await slack.wait_until(lambda: len(slack.connections) > connections)
            for number in range(30):
                slack.say(alice, slack.dm(alice), f"text {number}")
                await trio.sleep(1)
        await slack.wait_delivered()
        assert texts(rig) == [f"text {number}" for number in range(30)]
        assert {tuple(delivery.tried) for delivery in slack.deliveries.all} == {()}
        assert len(slack.calls("apps.connections.open")) == connections + 1
        assert rig.services.interruptions == []


async def test_three_minutes_without_a_network(autojump_clock: MockClock) -> None:
    async with listening() as (slack, rig):
        await slack.wait_connections(2)
        alice = slack.add_user("alice")
        slack.say(alice, slack.dm(alice), "before")
        await slack.wait_delivered()
        await trio.sleep(100)
        slack.fault("drop_before", "apps.connections.open", times=None)
        await slack.cut()
        await slack.wait_until(lambda: len(slack.connections) == 1)
        await slack.cut()
        slack.retry_events(False)
        for number in range(3):
            slack.say(alice, slack.dm(alice), f"meanwhile {number}")
            await trio.sleep(60)
        assert not rig.services.is_connected.is_set()
        slack.clear_faults()
        await slack.wait_connections(2)
        await trio.sleep(10)
        assert texts(rig) == ["before", "meanwhile 0", "meanwhile 1", "meanwhile 2"]
        assert rig.services.is_connected.is_set()


@pytest.mark.parametrize("how", ["silence", "deafen"])
async def test_a_dead_peer_delays_a_message_by_seconds(how: str, autojump_clock: MockClock) -> None:
    async with listening(connections=1) as (slack, rig):
        await slack.wait_connections()
        await trio.sleep(100)
        alice = slack.add_user("alice")
        getattr(slack, how)()
        at = trio.current_time()
        slack.say(alice, slack.dm(alice), "hello")
        await rig.journal.wait_texts("hello")
        assert trio.current_time() - at <= 2 * (PING_SECONDS + PONG_SECONDS) + 5
        await slack.wait_connections()


async def test_garbage_and_half_a_frame(autojump_clock: MockClock) -> None:
    async with listening(connections=2) as (slack, rig):
        await slack.wait_connections(2)
        await trio.sleep(100)
        alice = slack.add_user("alice")
        await slack.send_garbage()
        await slack.send_garbage(1, raw=True)
        await slack.wait_call("apps.connections.open", count=3)
        await trio.sleep(5)
        await slack.cut(in_a_frame=True)
        slack.say(alice, slack.dm(alice), "hello")
        await rig.journal.wait_texts("hello")
        await trio.sleep(60)
        assert len(await slack.wait_connections(2)) == 2
        assert rig.services.interruptions == []


async def test_ten_connections_are_all_there_are(autojump_clock: MockClock) -> None:
    async with FakeSlack.serve(now=now) as slack, rig_for(slack) as rig:
        slack.foreign_connections(9)
        async with rig.listening():
            await trio.sleep(600)
            assert "1 of 2 are open" in (rig.services.lacking["connections"] or "")
            assert "too_many_websockets" in (rig.services.lacking["connections"] or "")
            assert "that are not ours: 9" in (rig.services.lacking["all events"] or "")
            assert len(slack.calls("apps.connections.open")) < 25
            slack.foreign_connections(0)
            await trio.sleep(700)
            assert rig.services.lacking["connections"] is None
            assert rig.services.lacking["all events"] is None
            assert len(slack.connections) == 2
            assert rig.services.interruptions == []


async def test_switched_off_and_on_again(autojump_clock: MockClock) -> None:
    async with FakeSlack.serve(now=now) as slack, rig_for(slack) as rig:

        async def end() -> None:
            await rig.services.is_connected.wait()
            await slack.disconnect("link_disabled")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end)
            for _ in range(2):
                with pytest.raises(ExceptionGroup) as caught:
                    await rig.channel.listen(rig.journal)
                [error] = leaves(caught.value)
                assert isinstance(error, NeedsOperator)
                assert error.retries_slowly
        slack.link(enabled=True)
        async with rig.listening():
            await slack.wait_connections(2)


async def test_a_server_that_takes_no_websocket(autojump_clock: MockClock) -> None:
    async with FakeSlack.serve(now=now) as slack, rig_for(slack) as rig:
        slack.refuse_sockets(1, 408)
        with pytest.raises(ExceptionGroup) as caught:
            await rig.channel.listen(rig.journal)
        [error] = leaves(caught.value)
        assert isinstance(error, TryAgain)
        assert error.reason == "Slack, Socket Mode: the WebSocket was refused with HTTP 408"


async def test_a_peer_that_never_closes_does_not_hold_the_end_up(autojump_clock: MockClock) -> None:
    async with listening() as (slack, _):
        await slack.wait_connections(2)
        slack.linger()
        slack.deafen(1)
        at = trio.current_time()
    assert trio.current_time() - at < 5


async def test_what_comes_now_waits_for_what_was_missed_and_is_being_stored(autojump_clock: MockClock) -> None:
    """Of two deliveries of one conversation at the same time the hub promises no order."""
    async with FakeSlack.serve(now=now) as slack:
        alice = slack.add_user("alice")
        async with rig_for(slack) as rig, rig.listening():
            await slack.wait_connections(2)
            slack.say(alice, slack.dm(alice), "before")
            await slack.wait_delivered()
        slack.retry_events(False)
        slack.say(alice, slack.dm(alice), "missed")
        await trio.sleep(60)
        async with rig_for(slack, kept=rig.services.kept) as again:
            again.journal.gate = trio.Event()
            async with again.listening():
                await again.journal.wait_called()
                assert again.journal.offered[-1].text == "missed"
                slack.say(alice, slack.dm(alice), "now")
                await trio.sleep(1)
                again.journal.gate.set()
                await again.journal.wait_event("the last one", lambda envelope: envelope.text == "now")
            assert again.journal.overlapped is None
            assert texts(again)[-2:] == ["missed", "now"]
