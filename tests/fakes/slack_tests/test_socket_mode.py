"""The fake's Socket Mode: tickets, envelopes, acknowledgements, retries, refreshes, faults."""

import httpx2
import msgspec
import pytest
import trio
import trio.testing

from gatewayd.kit.network import websocket
from tests.fakes.slack_platform import FakeSlack
from tests.fakes.slack_platform.delivery.socket_mode import DisconnectReason
from tests.fakes.slack_tests.client import Client

Clock = trio.testing.MockClock


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
    slack: FakeSlack, client: Client, autojump_clock: Clock
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
        assert slack.outcomes() == ["lost"]


async def test_an_event_that_came_while_nobody_listened_is_sent_again(
    slack: FakeSlack, client: Client, autojump_clock: Clock
) -> None:
    alice = slack.add_user("alice")
    slack.say(alice, slack.dm(alice), "hello")
    await trio.sleep(30)
    async with client.socket() as socket:
        await socket.receive()
        frame = await socket.receive()
        await socket.acknowledge(frame)
        await slack.wait_delivered()
        assert (frame["retry_attempt"], frame["payload"]["event"]["text"], round(trio.current_time())) == (2, "hello", 60)


async def test_dropped_events_are_told_by_history_alone(slack: FakeSlack, client: Client, autojump_clock: Clock) -> None:
    alice = slack.add_user("alice")
    dm = slack.dm(alice)
    slack.drop_events()
    ts = slack.say(alice, dm, "hello")
    slack.drop_events(False)
    assert slack.outcomes() == ["lost"]
    assert [one["ts"] for one in (await client.call("conversations.history", channel=dm))["messages"]] == [ts]


@pytest.mark.parametrize("kind", ["press", "command"])
async def test_presses_and_commands_are_never_sent_again(
    slack: FakeSlack, client: Client, autojump_clock: Clock, kind: str
) -> None:
    alice = slack.add_user("alice")
    general = slack.add_channel("general", [alice])
    button = {"type": "button", "text": {"type": "plain_text", "text": "Yes"}, "action_id": "a", "value": "v"}
    blocks = [{"type": "actions", "elements": [button]}]
    ts = (await client.call("chat.postMessage", channel=general, text="?", blocks=blocks))["ts"]
    slack.deliveries.all.clear()
    async with client.socket() as socket:
        await socket.receive()
        delivery = slack.press(alice, general, ts) if kind == "press" else slack.command(alice, general, "/ask", "x")
        frame = await socket.receive()
        while frame["type"] == "events_api":  # the bot's own message, from before
            await socket.acknowledge(frame)
            frame = await socket.receive()
        assert "retry_attempt" not in frame
        assert frame["accepts_response_payload"] == (kind == "command")
        await slack.wait_delivered()
        assert (delivery.outcome, delivery.tried) == ("lost", ["timeout"])


async def test_payloads_go_to_all_connections(slack: FakeSlack, client: Client) -> None:
    alice = slack.add_user("alice")
    dm = slack.dm(alice)
    async with client.socket() as one, client.socket() as two:
        assert [(await socket.receive())["num_connections"] for socket in (one, two)] == [1, 2]
        for number in range(4):
            slack.say(alice, dm, str(number))
        for socket in (one, two, one, two):
            await socket.acknowledge(await socket.receive())
        await slack.wait_delivered()
        assert slack.outcomes() == ["delivered"] * 4


async def test_an_acknowledgement_counts_where_its_envelope_came(slack: FakeSlack, client: Client, autojump_clock: Clock) -> None:
    alice = slack.add_user("alice")
    slack.retry_events(False)
    async with client.socket() as one, client.socket() as two:
        await one.receive()
        await two.receive()
        slack.say(alice, slack.dm(alice), "hello")
        await two.acknowledge(await one.receive())
        await slack.wait_delivered()
        assert slack.outcomes() == ["lost"]


async def test_a_client_that_never_reads_loses_its_connection(slack: FakeSlack, client: Client, autojump_clock: Clock) -> None:
    alice = slack.add_user("alice")
    slack.retry_events(False)
    url = (await client.ask("apps.connections.open", token=slack.app_token)).json()["url"]
    host, _, path = url.removeprefix("ws://").partition("/")
    stream = await trio.open_tcp_stream("127.0.0.1", int(host.partition(":")[2]))
    async with stream:
        head = (
            f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        )
        await stream.send_all(head.encode() + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        await slack.wait_connections()
        slack.say(alice, slack.dm(alice), "x" * 20_000_000)
        await slack.wait_delivered()
        assert slack.outcomes() == ["lost"]
        await slack.wait_until(lambda: not slack.connections)


async def test_a_connection_that_is_asked_to_go_gets_nothing_more(
    slack: FakeSlack, client: Client, autojump_clock: Clock
) -> None:
    alice = slack.add_user("alice")
    async with client.socket() as old, client.socket() as new, trio.open_nursery() as nursery:
        await old.receive()
        await new.receive()
        nursery.start_soon(slack.disconnect, "refresh_requested")
        frame = await old.receive()
        assert (frame["type"], frame["reason"]) == ("disconnect", "refresh_requested")
        slack.say(alice, slack.dm(alice), "hello")
        await new.acknowledge(await new.receive())
        await slack.wait_delivered()
        with pytest.raises(websocket.WebSocketClosed):
            await old.receive()
        assert round(trio.current_time()) == 10


async def test_a_connection_is_renewed_with_a_warning_before(slack: FakeSlack, client: Client, autojump_clock: Clock) -> None:
    alice = slack.add_user("alice")
    async with client.socket() as socket, trio.open_nursery() as nursery:
        await socket.receive()
        nursery.start_soon(slack.refresh)
        assert (await socket.receive())["reason"] == "warning"
        slack.say(alice, slack.dm(alice), "until the end payloads come")
        await socket.acknowledge(await socket.receive())
        await slack.wait_delivered()
        assert ((await socket.receive())["reason"], round(trio.current_time())) == ("refresh_requested", 10)
        with pytest.raises(websocket.WebSocketClosed):
            await socket.receive()


async def test_any_payload_can_come(slack: FakeSlack, client: Client) -> None:
    async with client.socket() as socket:
        await socket.receive()
        slack.payload({"type": "app_rate_limited", "team_id": slack.team, "minute_rate_limited": 1, "api_app_id": slack.app_id})
        assert (await socket.receive())["payload"]["type"] == "app_rate_limited"
        await slack.send_garbage(text="no envelope")
        with pytest.raises(msgspec.DecodeError):
            await socket.receive()


@pytest.mark.parametrize(("reason", "foreign"), [("too_many_websockets", 10), ("link_disabled", 0)])
async def test_a_connection_too_many_is_refused_by_name(
    slack: FakeSlack, client: Client, reason: DisconnectReason, foreign: int
) -> None:
    slack.foreign_connections(foreign)
    slack.link(enabled=reason != "link_disabled")
    async with client.socket() as socket:
        assert (await socket.receive())["reason"] == reason
        with pytest.raises(websocket.WebSocketClosed):
            await socket.receive()


async def test_a_ticket_is_good_once(slack: FakeSlack, client: Client) -> None:
    url = (await client.ask("apps.connections.open", token=slack.app_token)).json()["url"]
    async with httpx2.AsyncClient(trust_env=False) as http:
        async with websocket.connect(http, url) as connection:
            assert msgspec.json.decode(await connection.receive())["type"] == "hello"
        with pytest.raises(websocket.WebSocketClosed) as refused:
            async with websocket.connect(http, url):
                pass
        assert refused.value.status == 401
    slack.refuse_sockets(status=408)
    with pytest.raises(websocket.WebSocketClosed):
        async with client.socket():
            pass


async def test_the_bot_token_opens_no_socket(client: Client) -> None:
    assert (await client.call("apps.connections.open"))["error"] == "not_allowed_token_type"


@pytest.mark.parametrize("fault", ["cut", "cut in a frame", "raw garbage"])
async def test_a_broken_connection_is_an_error_for_its_client(slack: FakeSlack, client: Client, fault: str) -> None:
    async with client.socket() as socket:
        await socket.receive()
        if fault == "raw garbage":
            await slack.send_garbage(raw=True)
        else:
            await slack.cut(in_a_frame=fault != "cut")
        with pytest.raises(websocket.WebSocketClosed):
            await socket.receive()
    await slack.wait_until(lambda: not slack.connections)


async def test_a_silent_connection_answers_no_ping(slack: FakeSlack, client: Client, autojump_clock: Clock) -> None:
    async with client.socket() as socket:
        await socket.receive()
        slack.silence()
        with pytest.raises(websocket.WebSocketClosed) as closed:
            await socket.receive()
        assert closed.value.by == "network"


async def test_a_deaf_connection_hears_no_acknowledgement(slack: FakeSlack, client: Client, autojump_clock: Clock) -> None:
    alice = slack.add_user("alice")
    slack.retry_events(False)
    async with client.socket() as socket:
        await socket.receive()
        slack.deafen()
        slack.say(alice, slack.dm(alice), "hello")
        await socket.acknowledge(await socket.receive())
        await slack.wait_delivered()
        assert slack.outcomes() == ["lost"]


async def test_a_lingering_connection_stays_open_in_tcp(slack: FakeSlack, client: Client, autojump_clock: Clock) -> None:
    async with client.socket() as socket:
        await socket.receive()
        slack.linger()
    assert len(slack.connections) == 1
    await slack.cut()
    await slack.wait_until(lambda: not slack.connections)
