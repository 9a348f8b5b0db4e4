"""The fake's chat.* methods, and the events of what is said."""

from typing import Any

import pytest

from tests.fakes.slack_platform import FakeSlack, Json
from tests.fakes.slack_tests.client import Client

LONG: Json = {"type": "section", "text": {"type": "mrkdwn", "text": "y" * 3000}}


def events(slack: FakeSlack) -> list[Json]:
    """The events so far."""
    return [one.payload["event"] for one in slack.deliveries.all if one.kind == "events_api"]


@pytest.mark.parametrize("by", ["json", "form"])
async def test_a_message_is_posted_by_json_and_by_form(client: Client, slack: FakeSlack, general: str, by: str) -> None:
    metadata = '{"event_type": "sent", "event_payload": {"key": "k"}}'
    params: Json = {"channel": general, "text": "hello", "metadata": metadata, "unfurl_links": "false"}
    request: dict[str, Any] = {"json" if by == "json" else "data": params}
    answer = (await client.ask("chat.postMessage", **request)).json()
    assert (answer["ok"], answer["channel"]) == (True, general)
    assert answer["message"]["metadata"]["event_payload"] == {"key": "k"}
    assert answer["message"]["bot_id"] == slack.bot_id
    (message,) = slack.messages(general)
    assert (message["ts"], message["text"]) == (answer["ts"], "hello")
    assert [event["text"] for event in events(slack)] == ["hello"]


@pytest.mark.parametrize(
    ("method", "params", "error"),
    [
        ("chat.postMessage", {"channel": "C0NONE", "text": "x"}, "channel_not_found"),
        ("chat.postMessage", {"text": " "}, "no_text"),
        ("chat.postMessage", {"text": "x", "thread_ts": ""}, "invalid_thread_ts"),
        ("chat.postMessage", {"text": "x", "metadata": {"event_type": "a"}}, "invalid_metadata_format"),
        ("chat.postMessage", {"text": "x", "blocks": "no JSON"}, "invalid_blocks_format"),
        ("chat.postMessage", {"text": "x", "markdown_text": "y"}, "markdown_text_conflict"),
        ("chat.postMessage", {"markdown_text": "y" * 12_001}, "msg_too_long"),
        ("chat.postMessage", {"text": "x", "blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
        ("chat.postMessage", {"text": "x", "blocks": [LONG] * 5}, "msg_blocks_too_long"),
        ("chat.update", {"ts": "1700000000.000001", "text": "x"}, "message_not_found"),
        ("chat.delete", {"ts": "1700000000.000001"}, "message_not_found"),
        ("chat.postEphemeral", {"user": "U0NONE", "text": "x"}, "user_not_in_channel"),
        ("views.open", {}, "unknown_method"),
    ],
)  # fmt: skip
async def test_what_slack_refuses(client: Client, slack: FakeSlack, general: str, method: str, params: Json, error: str) -> None:
    answer = await client.call(method, **{"channel": general, **params})
    assert (answer["ok"], answer["error"]) == (False, error)
    assert slack.messages(general) == []
    slack.violations.clear()


async def test_where_the_bot_may_write(client: Client, slack: FakeSlack, alice: str) -> None:
    places = {
        "not_in_channel": slack.add_channel("elsewhere", [alice], with_bot=False),
        "channel_not_found": slack.add_channel("secret", [alice], private=True, with_bot=False),
        "is_archived": slack.add_channel("old", [alice]),
    }
    slack.archive(places["is_archived"])
    found = {name: (await client.call("chat.postMessage", channel=place, text="x"))["error"] for name, place in places.items()}
    assert found == {name: name for name in places}
    answer = await client.call("chat.postMessage", channel=alice, text="x")
    assert answer["channel"] == slack.dm(alice)


async def test_the_bot_changes_its_own_messages_alone(client: Client, slack: FakeSlack, alice: str, general: str) -> None:
    theirs = slack.say(alice, general, "mine")
    assert (await client.call("chat.update", channel=general, ts=theirs, text="x"))["error"] == "cant_update_message"
    assert (await client.call("chat.delete", channel=general, ts=theirs))["error"] == "cant_delete_message"
    ts = (await client.call("chat.postMessage", channel=general, text="one"))["ts"]
    assert (await client.call("chat.update", channel=general, ts=ts, text="é" * 2001))["error"] == "msg_too_long"
    assert (await client.call("chat.update", channel=general, ts=ts, text="é" * 2000))["ok"]
    assert (await client.call("chat.delete", channel=general, ts=ts))["ok"]
    assert [one["ts"] for one in slack.messages(general)] == [theirs]
    assert [event.get("subtype") for event in events(slack)] == [None, None, "message_changed", "message_deleted"]


async def test_a_reply_to_a_message_that_is_gone_lands_in_the_channel(
    client: Client, slack: FakeSlack, alice: str, general: str
) -> None:
    root = slack.say(alice, general, "a question")
    slack.delete(general, root)
    answer = await client.call("chat.postMessage", channel=general, text="an answer", thread_ts=root)
    assert "thread_ts" not in answer["message"]


async def test_a_deleted_root_stays_as_a_tombstone_while_it_has_replies(slack: FakeSlack, alice: str, general: str) -> None:
    root = slack.say(alice, general, "a question")
    reply = slack.say(alice, general, "more", thread=root)
    slack.delete(general, root)
    assert [one.get("subtype") for one in slack.messages(general)] == ["tombstone", None]
    slack.delete(general, reply)
    assert "reply_count" not in slack.messages(general)[0]


async def test_ts_grow_even_within_one_moment(slack: FakeSlack, alice: str, general: str, autojump_clock: object) -> None:
    sent = [slack.say(alice, general, str(number)) for number in range(5)]
    assert sent == sorted(set(sent))
    assert all(len(ts) == 17 for ts in sent)


@pytest.mark.parametrize("kind", ["unfurl", "thread", "language", "attachments", "pin"])
async def test_a_touch_is_no_edit(slack: FakeSlack, alice: str, general: str, kind: Any) -> None:
    ts = slack.say(alice, general, "see https://example.com/")
    slack.touch(general, ts, kind)
    changed = events(slack)[-1]
    assert changed["subtype"] == "message_changed"
    assert "edited" not in changed["message"]
    assert changed["message"]["text"] == changed["previous_message"]["text"]
    assert changed["message"] != changed["previous_message"]
    edited = slack.edit(general, ts, "other words")
    assert events(slack)[-1]["message"]["edited"] == {"user": alice, "ts": edited}


async def test_an_edit_that_adds_a_mention_is_a_mention(slack: FakeSlack, alice: str, general: str) -> None:
    ts = slack.say(alice, general, "hello")
    slack.edit(general, ts, f"<@{slack.bot_user}> hello")
    slack.edit(general, ts, f"<@{slack.bot_user}> hello!")
    mentions = [event for event in events(slack) if event["type"] == "app_mention"]
    assert [(event["ts"], "edited" in event) for event in mentions] == [(ts, True)]


async def test_mentions_are_told_where_the_bot_is_and_not_in_dms(slack: FakeSlack, alice: str) -> None:
    mention = f"<@{slack.bot_user}> hello"
    slack.say(alice, slack.add_channel("elsewhere", [alice], with_bot=False), mention)
    assert events(slack) == []
    slack.say(alice, slack.dm(alice), mention)
    slack.say(alice, slack.group_dm(alice, slack.add_user("bob")), mention)
    seen = [(event["type"], event.get("channel_type")) for event in events(slack)]
    assert seen == [("message", "im"), ("app_mention", None), ("message", "mpim")]


async def test_people_of_another_workspace_are_told_apart(slack: FakeSlack, alice: str) -> None:
    eve = slack.add_stranger("eve")
    shared = slack.add_channel("shared", [alice, eve], shared_with=["T0OTHER000"])
    slack.say(eve, shared, "hello")
    payload = slack.deliveries.all[-1].payload
    assert payload["is_ext_shared_channel"] is True
    assert payload["team_id"] == slack.team
    assert payload["event"]["user_team"] == "T0OTHER000"
    assert payload["authorizations"][0]["user_id"] == slack.bot_user


async def test_the_kinds_of_messages_that_are_no_persons_words(slack: FakeSlack, alice: str, general: str) -> None:
    root = slack.say(alice, general, "a question")
    slack.say(slack.add_bot("other"), general, "beep")
    slack.integration_says(general, "built")
    slack.join(general, slack.add_user("bob"))
    slack.say(alice, general, "to all", thread=root, broadcast=True)
    slack.say(alice, general, "waves", subtype="me_message")
    slack.say(alice, general, "", files=[slack.file(alice, "a.txt", b"text")])
    slack.assistant_thread(alice, "hello")
    slack.replied(general, root)
    slack.react(alice, general, root, "eyes")
    subtypes = [event.get("subtype") for event in events(slack) if event["type"] == "message"]
    assert subtypes == [None, None, "bot_message", "channel_join", "thread_broadcast", "me_message", "file_share",
                        "assistant_app_thread", None, None]  # fmt: skip
    assert {event["type"] for event in events(slack)} == {"message", "member_joined_channel", "reaction_added"}


async def test_scopes_and_tokens(client: Client, slack: FakeSlack, general: str) -> None:
    slack.remove_scope("channels:history")
    answer = await client.call("conversations.history", channel=general)
    assert (answer["error"], answer["needed"]) == ("missing_scope", "channels:history")
    assert "chat:write" in answer["provided"].split(",")
    slack.set_token_state("token_revoked")
    assert (await client.call("auth.test"))["error"] == "token_revoked"
    slack.set_token_state("active")
    assert (await client.ask("auth.test", token="xoxb-other")).json()["error"] == "invalid_auth"
    me = await client.call("auth.test")
    assert (me["user_id"], me["bot_id"], me["team_id"]) == (slack.bot_user, slack.bot_id, slack.team)


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("a &lt; b &amp;amp; c", [{"type": "text", "text": "a < b &amp; c"}]),
        ("hi <@U1> in <#C1|general>", [{"type": "text", "text": "hi "}, {"type": "user", "user_id": "U1"},
                                       {"type": "text", "text": " in "}, {"type": "channel", "channel_id": "C1"}]),
        ("<!here><!subteam^S1>", [{"type": "broadcast", "range": "here"}, {"type": "usergroup", "usergroup_id": "S1"}]),
        ("<https://a.example/?a=1&amp;b=2>", [{"type": "link", "url": "https://a.example/?a=1&b=2"}]),
        ("<https://a.example/|A &gt; B>", [{"type": "link", "url": "https://a.example/", "text": "A > B"}]),
        ("", []),
    ],
)  # fmt: skip
async def test_the_blocks_beside_a_text(slack: FakeSlack, alice: str, general: str, text: str, elements: list[Json]) -> None:
    slack.say(alice, general, text)
    assert slack.messages(general)[-1]["blocks"][0]["elements"][0]["elements"] == elements
