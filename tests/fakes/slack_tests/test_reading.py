"""The fake's conversations.*, users.* and files.*: pages, bounds, scopes."""

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.slack_platform import FakeSlack, Json
from tests.fakes.slack_tests.client import Client, client_of


async def pages(client: Client, method: str, **params: object) -> list[list[str]]:
    """The ts of each page, until there is no further cursor."""
    found: list[list[str]] = []
    cursor = ""
    while True:
        answer = await client.call(method, **params, **({"cursor": cursor} if cursor else {}))
        found.append([message["ts"] for message in answer["messages"]])
        cursor = answer.get("response_metadata", {}).get("next_cursor", "")
        assert answer["has_more"] == bool(cursor)
        if not cursor:
            return found


async def test_history_pages_back_from_the_newest(client: Client, slack: FakeSlack, alice: str, general: str) -> None:
    sent = [slack.say(alice, general, str(number)) for number in range(5)]
    assert await pages(client, "conversations.history", channel=general, limit=2) == [[*sent[:2:-1]], [*sent[2:0:-1]], sent[:1]]


async def test_history_with_oldest_alone_pages_forward(client: Client, slack: FakeSlack, alice: str, general: str) -> None:
    sent = [slack.say(alice, general, str(number)) for number in range(5)]
    found = await pages(client, "conversations.history", channel=general, limit=2, oldest=sent[0])
    assert found == [[sent[2], sent[1]], [sent[4], sent[3]]]
    both = await pages(client, "conversations.history", channel=general, oldest=sent[1], latest=sent[3], inclusive=True)
    assert both == [[sent[3], sent[2], sent[1]]]


async def test_history_has_no_replies_and_metadata_only_when_asked(
    client: Client, slack: FakeSlack, alice: str, general: str
) -> None:
    root = slack.say(alice, general, "a question")
    metadata = {"event_type": "sent", "event_payload": {"key": "k"}}
    await client.call("chat.postMessage", channel=general, text="a reply", thread_ts=root, metadata=metadata)
    (message,) = (await client.call("conversations.history", channel=general))["messages"]
    assert (message["ts"], message["thread_ts"], message["reply_count"]) == (root, root, 1)
    shown: list[Json] = []
    for asked in (False, True):
        answer = await client.call("conversations.replies", channel=general, ts=root, include_all_metadata=asked)
        shown.append(answer["messages"][1])
    assert ["metadata" in one for one in shown] == [False, True]


async def test_every_page_of_a_thread_begins_with_its_root(client: Client, slack: FakeSlack, alice: str, general: str) -> None:
    root = slack.say(alice, general, "a question")
    replies = [slack.say(alice, general, str(number), thread=root) for number in range(4)]
    assert await pages(client, "conversations.replies", channel=general, ts=root, limit=3) == [
        [root, *replies[:2]],
        [root, *replies[2:]],
    ]
    assert await pages(client, "conversations.replies", channel=general, ts=replies[0], oldest=replies[2]) == [[root, replies[3]]]
    assert (await client.call("conversations.replies", channel=general, ts="1.1"))["error"] == "thread_not_found"


@given(
    steps=st.lists(st.tuples(st.sampled_from(["say", "reply", "edit", "delete"]), st.integers(0, 5)), max_size=25),
    limit=st.integers(1, 7),
)
async def test_pages_show_each_message_once(steps: list[tuple[str, int]], limit: int) -> None:
    """Whatever was said, changed and deleted: all pages of history and replies together show what is there, once."""
    async with FakeSlack.serve() as slack, client_of(slack) as client:
        alice = slack.add_user("alice")
        general = slack.add_channel("general", [alice])
        slack.drop_events()
        for kind, place in steps:
            there = [one["ts"] for one in slack.messages(general) if one.get("subtype") != "tombstone"]
            roots = [one["ts"] for one in slack.messages(general) if "parent_user_id" not in one]
            if kind == "say" or not there:
                slack.say(alice, general, "words")
            elif kind == "reply":
                slack.say(alice, general, "more words", thread=roots[place % len(roots)])
            elif kind == "edit":
                slack.edit(general, there[place % len(there)], "other words")
            else:
                slack.delete(general, there[place % len(there)])
        whole: list[str] = []
        for page in reversed(await pages(client, "conversations.history", channel=general, limit=limit)):
            for ts in reversed(page):
                whole.append(ts)
                for replies in await pages(client, "conversations.replies", channel=general, ts=ts, limit=limit):
                    assert replies[0] == ts
                    whole += replies[1:]
        assert sorted(whole) == [one["ts"] for one in slack.messages(general)]


async def test_small_pages(client: Client, slack: FakeSlack, alice: str, general: str) -> None:
    slack.small_pages()
    for number in range(20):
        slack.say(alice, general, str(number))
    assert [len(page) for page in await pages(client, "conversations.history", channel=general, limit=200)] == [15, 5]


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"cursor": "bm9uc2Vuc2U6MQ=="}, "invalid_cursor"),
        ({"cursor": "&"}, "invalid_cursor"),
        ({"limit": 0}, "invalid_limit"),
        ({"oldest": "yesterday"}, "invalid_ts_oldest"),
        ({"channel": "C0NONE"}, "channel_not_found"),
    ],
)
async def test_what_history_refuses(client: Client, general: str, params: Json, error: str) -> None:
    assert (await client.call("conversations.history", **{"channel": general, **params}))["error"] == error


async def test_which_channels_there_are(client: Client, slack: FakeSlack, alice: str, general: str) -> None:
    other = slack.add_channel("elsewhere", [alice], with_bot=False)
    secret = slack.add_channel("secret", [alice], private=True)
    dm = slack.dm(alice)
    types = "public_channel,private_channel,im,mpim"
    listed = await client.call("conversations.list", types=types)
    assert [one["id"] for one in listed["channels"]] == [general, other, secret, dm]
    mine = await client.call("users.conversations", types=types)
    assert [one["id"] for one in mine["channels"]] == [general, secret, dm]
    assert (await client.call("conversations.history", channel=other))["error"] == "not_in_channel"
    assert (await client.call("conversations.members", channel=general))["members"] == [alice, slack.bot_user]
    assert (await client.call("conversations.info", channel=dm))["channel"]["user"] == alice
    opened = await client.call("conversations.open", users=f"{alice},{slack.add_user('bob')}")
    assert (await client.call("conversations.info", channel=opened["channel"]["id"]))["channel"]["is_mpim"] is True
    assert (await client.call("users.info", user=alice))["user"]["team_id"] == slack.team
    assert (await client.call("bots.info", bot=slack.bot_id))["bot"]["user_id"] == slack.bot_user
    assert (await client.call("team.info"))["team"]["id"] == slack.team


async def test_files_go_both_ways(client: Client, slack: FakeSlack, alice: str, general: str) -> None:
    begun = await client.call("files.getUploadURLExternal", filename="a.txt", length=4)
    assert (await client.call("files.completeUploadExternal", files=[{"id": begun["file_id"]}]))["error"] == "file_not_found"
    assert (await client.post(begun["upload_url"], content=b"text")).text == "OK - 4"
    done = await client.call("files.completeUploadExternal", files=[{"id": begun["file_id"], "title": "A"}], channel_id=general)
    file = done["files"][0]
    (message,) = slack.messages(general)
    assert (message["subtype"], message["files"][0]["title"]) == ("file_share", "A")
    assert (await client.get(file["url_private"], slack.bot_token)).content == b"text"
    assert (await client.call("files.info", file=file["id"]))["file"]["shares"]["public"][general][0]["ts"] == message["ts"]


async def test_the_bot_deletes_its_own_files_alone(client: Client, slack: FakeSlack, alice: str, general: str) -> None:
    theirs = slack.file(alice, "a.txt", b"1234")
    assert (await client.call("files.delete", file=theirs["id"]))["error"] == "cant_delete_file"
    assert (await client.call("files.delete", file="F0NONE"))["error"] == "file_not_found"
    begun = await client.call("files.getUploadURLExternal", filename="b.txt", length=4)
    await client.post(begun["upload_url"], content=b"5678")
    await client.call("files.completeUploadExternal", files=[{"id": begun["file_id"]}], channel_id=general)
    assert (await client.call("files.delete", file=begun["file_id"]))["ok"]
    assert (await client.call("files.info", file=begun["file_id"]))["file"]["mode"] == "tombstone"
    assert (await client.call("files.delete", file=begun["file_id"]))["error"] == "file_deleted"
    begun = await client.call("files.getUploadURLExternal", filename="c.txt", length=4)
    assert (await client.call("files.delete", file=begun["file_id"]))["ok"]


async def test_a_file_is_a_login_page_without_the_scope(client: Client, slack: FakeSlack, alice: str) -> None:
    url = slack.file(alice, "a.txt", b"text")["url_private"]
    slack.remove_scope("files:read")
    for token in (slack.bot_token, None):
        answer = await client.get(url, token)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b"Sign in" in answer.content


async def test_an_external_file_lies_elsewhere(slack: FakeSlack, alice: str) -> None:
    file = slack.file(alice, "plan", external_url="https://example.com/plan")
    assert (file["is_external"], file["url_private"]) == (True, "https://example.com/plan")


async def test_reactions_and_statuses(client: Client, slack: FakeSlack, alice: str, general: str) -> None:
    ts = slack.say(alice, general, "a question")
    params = {"channel": general, "timestamp": ts, "name": "eyes"}
    assert [(await client.call("reactions.add", **params)).get("error") for _ in range(2)] == [None, "already_reacted"]
    assert [(await client.call("reactions.remove", **params)).get("error") for _ in range(2)] == [None, "no_reaction"]
    assert (await client.call("assistant.threads.setStatus", channel_id=general, thread_ts=ts, status="thinking"))["ok"]
    assert slack.status(general, ts) == "thinking"


@pytest.mark.parametrize(
    ("content_type", "body", "error"),
    [
        ("application/json", b"{", "invalid_json"),
        ("application/json", b"[]", "json_not_object"),
        ("text/xml", b"<x/>", "invalid_post_type"),
        ("application/x-www-form-urlencoded", b"a=%ff", "invalid_form_data"),
    ],
)
async def test_a_body_that_is_none(client: Client, slack: FakeSlack, content_type: str, body: bytes, error: str) -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{slack.api_base}/auth.test", content=body, headers={"Content-Type": content_type})
    assert answer.json() == {"ok": False, "error": error}
    assert slack.violations == [f"auth.test: {error}"]
    slack.violations.clear()
