"""The fake's chat.startStream, .appendStream, .stopStream."""

import pytest
import trio

from tests.fakes.slack_platform import FakeSlack, Json
from tests.fakes.slack_tests.client import Client


@pytest.fixture
async def started(client: Client, slack: FakeSlack, alice: str, general: str) -> Json:
    """Where to append: the arguments of a stream that has begun."""
    root = slack.say(alice, general, "a question")
    whom = {"recipient_team_id": slack.team, "recipient_user_id": alice}
    answer = await client.call("chat.startStream", channel=general, thread_ts=root, markdown_text="one", **whom)
    assert answer["ok"]
    return {"channel": general, "ts": answer["ts"]}


async def test_a_stream_grows_and_ends(client: Client, slack: FakeSlack, general: str, started: Json) -> None:
    assert (await client.call("chat.appendStream", **started, markdown_text=" two"))["ok"]
    assert (await client.call("chat.update", **started, text="x"))["error"] == "streaming_state_conflict"
    metadata = {"event_type": "sent", "event_payload": {"key": "k"}}
    chunks = [{"type": "markdown_text", "text": " three"}]
    stopped = await client.call("chat.stopStream", **started, chunks=chunks, metadata=metadata)
    assert stopped["message"]["text"] == "one two three"
    assert slack.texts(general) == ["one two three"]
    found = await client.call("conversations.replies", channel=general, ts=started["ts"], include_all_metadata=True)
    assert found["messages"][1]["metadata"] == metadata
    assert (await client.call("chat.update", **started, text="x"))["ok"]


async def test_a_stream_is_over_after_five_minutes(
    client: Client, slack: FakeSlack, general: str, started: Json, autojump_clock: object
) -> None:
    for _ in range(4):
        await trio.sleep(70)
        assert (await client.call("chat.appendStream", **started, markdown_text="."))["ok"]
    await trio.sleep(30)
    for method in ("chat.appendStream", "chat.stopStream"):
        assert (await client.call(method, **started, markdown_text="."))["error"] == "message_not_in_streaming_state"
    assert slack.texts(general) == ["one...."]
    assert (await client.call("chat.update", **started, text="whole"))["ok"]


async def test_a_reader_and_slack_can_end_a_stream(client: Client, slack: FakeSlack, started: Json) -> None:
    slack.end_stream(started["channel"], started["ts"])
    assert (await client.call("chat.appendStream", **started, markdown_text="."))["error"] == "message_not_in_streaming_state"
    slack.stop_stream(started["channel"], started["ts"])
    assert (await client.call("chat.appendStream", **started, markdown_text="."))["error"] == "stopped_by_user"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"thread_ts": None}, "invalid_arguments"),
        ({"recipient_team_id": None}, "missing_recipient_team_id"),
        ({"recipient_user_id": None}, "missing_recipient_user_id"),
        ({"metadata": {"event_type": "a", "event_payload": {}}}, "invalid_arguments"),
        ({"markdown_text": "x" * 12_001}, "msg_too_long"),
        ({"chunks": [{"type": "song"}]}, "invalid_chunks"),
        ({"channel": "C0NONE"}, "channel_not_found"),
    ],
)
async def test_what_a_stream_needs(client: Client, slack: FakeSlack, alice: str, general: str, changed: Json, error: str) -> None:
    root = slack.say(alice, general, "a question")
    whole = {"channel": general, "thread_ts": root, "recipient_team_id": slack.team, "recipient_user_id": alice}
    assert (await client.call("chat.startStream", **{**whole, **changed}))["error"] == error
    assert slack.texts(general) == []


async def test_a_stream_in_a_dm_needs_no_recipient(client: Client, slack: FakeSlack, alice: str) -> None:
    dm = slack.dm(alice)
    root = slack.say(alice, dm, "a question")
    assert (await client.call("chat.startStream", channel=dm, thread_ts=root))["ok"]


async def test_an_append_says_something_and_is_the_bots_own(
    client: Client, slack: FakeSlack, alice: str, general: str, started: Json
) -> None:
    assert (await client.call("chat.appendStream", **started))["error"] == "no_text"
    theirs = slack.say(alice, general, "mine")
    answer = await client.call("chat.appendStream", channel=general, ts=theirs, markdown_text="x")
    assert answer["error"] == "message_not_owned_by_app"
