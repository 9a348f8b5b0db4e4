"""The fake's Socket Mode: tickets, envelopes, acknowledgements, retries, refreshes."""

import trio.testing

from tests.fakes.slack_platform import FakeSlack
from tests.fakes.slack_tests.client import Client


async def test_a_mention_comes_twice_with_one_ts(slack: FakeSlack, client: Client) -> None:
    alice = slack.add_user("alice")
    general = slack.add_channel("general", [alice])
    async with client.socket() as socket:
        hello = await socket.receive()
        assert (hello["type"], hello["num_connections"]) == ("hello", 1)
        ts = slack.say(alice, general, f"<@{slack.bot_user}> hello")
        first, second = await socket.receive(), await socket.receive()
        await socket.acknowledge(first)
        await socket.acknowledge(second)
        events = [one["payload"]["event"] for one in (first, second)]
        assert {event["type"] for event in events} == {"app_mention", "message"}
        assert {event["ts"] for event in events} == {ts}
        assert first["payload"]["event_id"] != second["payload"]["event_id"]
        await slack.wait_delivered()
        answer = await client.call("chat.postMessage", channel=general, thread_ts=ts, text="hello yourself")
        assert answer["ok"]
        own = await socket.receive()
        assert own["payload"]["event"]["bot_id"] == slack.bot_id
        assert own["payload"]["event"]["thread_ts"] == ts
        assert slack.texts(general, thread=ts) == ["hello yourself"]


async def test_an_event_that_nobody_acknowledges_is_sent_four_times(
    slack: FakeSlack, client: Client, autojump_clock: trio.testing.MockClock
) -> None:
    alice = slack.add_user("alice")
    dm = slack.dm(alice)
    async with client.socket() as socket:
        await socket.receive()
        slack.say(alice, dm, "hello")
        seen = []
        for _ in range(4):
            frame = await socket.receive()
            seen.append((frame["retry_attempt"], frame["retry_reason"], round(trio.current_time())))
        await slack.wait_delivered()
        assert seen == [(0, "", 0), (1, "timeout", 3), (2, "timeout", 66), (3, "timeout", 369)]
        assert slack.deliveries.all[0].outcome == "lost"
