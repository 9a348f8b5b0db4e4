"""The fake Bot API, held against the platform's rules by plain HTTP and by a real client library."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.fakes.bot_api import FakeBotApi, Json, RemoteBotApi, make_supergroup
from tests.fakes.bot_api.errors import ApiError
from tests.fakes.bot_api.http_server import Request, Response, listen, port_of, serve_http
from tests.fakes.bot_api.methods.entities import parse_html, utf16_length
from tests.fakes.bot_api.methods.parameters import METHODS

ALICE = 4711
FORUM = make_supergroup(-1001234567890, forum=True)
OTHER_POLL = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"


class Client:
    """Calls methods as a bot does."""

    def __init__(self, api: FakeBotApi, http: httpx2.AsyncClient) -> None:
        self.base = f"{api.url}/bot{api.token}"
        self.http = http

    async def call(self, method: str, **params: Any) -> Json:
        """By JSON body; the whole answer."""
        answer = await self.http.post(f"{self.base}/{method}", json=params)
        body: Json = answer.json()
        assert answer.status_code == (200 if body["ok"] else body["error_code"])
        return body

    async def ok(self, method: str, **params: Any) -> Any:
        body = await self.call(method, **params)
        assert body["ok"], body
        return body["result"]

    async def refused(self, method: str, **params: Any) -> tuple[int, str]:
        body = await self.call(method, **params)
        assert not body["ok"], body
        return body["error_code"], body["description"]


@asynccontextmanager
async def client_of(api: FakeBotApi) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(timeout=None) as http:
        yield Client(api, http)


@pytest.fixture
async def api() -> AsyncIterator[FakeBotApi]:
    async with FakeBotApi.serve() as api:
        yield api


@pytest.fixture
async def bot(api: FakeBotApi) -> AsyncIterator[Client]:
    async with client_of(api) as client:
        yield client


# Requests


async def test_get_me_knows_the_bot(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    me = await bot.ok("getMe")
    assert (me["id"], me["is_bot"], me["username"]) == (424242, True, "echo_bot")


@pytest.mark.parametrize("name", ["SENDMESSAGE", "sendmessage", "sendMessage"])
async def test_method_names_are_case_insensitive(api: FakeBotApi, bot: Client, autojump_clock: MockClock, name: str) -> None:
    api.add_chat(ALICE)
    assert (await bot.ok(name, chat_id=ALICE, text="hi"))["text"] == "hi"


async def test_parameters_come_as_json_form_multipart_or_query(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.add_chat(ALICE)
    url = f"{bot.base}/sendMessage"
    fields = {"chat_id": str(ALICE), "text": "ü", "disable_notification": "true", "link_preview_options": '{"is_disabled":true}'}
    await bot.http.post(url, json={"chat_id": ALICE, "text": "ü", "disable_notification": True})
    await bot.http.post(url, data=fields)
    await bot.http.post(url, files={name: (None, value) for name, value in fields.items()})
    await bot.http.get(url, params=fields)
    assert api.texts(ALICE) == ["ü"] * 4
    assert [call["disable_notification"] for call in api.calls("sendMessage")] == [True] * 4
    assert api.calls("sendMessage")[3]["link_preview_options"] == {"is_disabled": True}


async def test_an_upload_is_stored_and_can_be_fetched(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.add_chat(ALICE)
    content = b"--x\r\n\r\nnot a boundary\x00\xff"
    answer = await bot.http.post(
        f"{bot.base}/sendDocument", data={"chat_id": str(ALICE)}, files={"document": ("a.txt", content, "text/plain")}
    )
    document = answer.json()["result"]["document"]
    assert (document["file_name"], document["file_size"]) == ("a.txt", len(content))
    path = (await bot.ok("getFile", file_id=document["file_id"]))["file_path"]
    assert (await bot.http.get(f"{api.url}/file/bot{api.token}/{path}")).content == content
    assert (await bot.http.get(f"{api.url}/file/bot{api.token}/nowhere")).status_code == 404
    assert await bot.refused("getFile", file_id="nonsense") == (400, "Bad Request: invalid file_id")


@pytest.mark.parametrize(
    ("method", "params", "violation"),
    [
        ("sendMessage", {"chat_id": ALICE, "text": "x", "parsemode": "HTML"}, "parsemode is not a parameter"),
        ("sendMessage", {"chat_id": ALICE, "text": 5}, "text is not String"),
        ("sendMessage", {"text": "x"}, "chat_id is missing"),
        ("getUpdates", {"timeout": "soon"}, "timeout is not Integer"),
        ("getUpdates", {"allowed_updates": "message"}, "allowed_updates is not Array"),
        ("setWebhook", {"url": "", "drop_pending_updates": 1}, "drop_pending_updates is not Boolean"),
        ("sendTelegram", {}, "not a method"),
    ],
)
async def test_a_request_outside_the_parameter_list_is_a_violation(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, method: str, params: Json, violation: str
) -> None:
    api.add_chat(ALICE)
    await bot.call(method, **params)
    assert len(api.violations) == 1
    assert violation in api.violations[0]
    api.violations.clear()


async def test_violations_fail_the_test_that_made_them() -> None:
    with pytest.raises(AssertionError, match="no_such_thing"):
        async with FakeBotApi.serve() as api, client_of(api) as bot:
            await bot.call("getMe", no_such_thing=1)


async def test_wrong_tokens_and_paths(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    for path, status, description in [
        ("/bot1:wrong/getMe", 401, "Unauthorized"),
        ("/botnonsense/getMe", 401, "Unauthorized: invalid token specified"),
        ("/elsewhere", 404, "Not Found"),
    ]:
        answer = await bot.http.get(api.url + path)
        assert (answer.status_code, answer.json()["description"]) == (status, description)
    api.revoke_token()
    assert await bot.refused("getMe") == (401, "Unauthorized")


async def test_bots_of_one_server_are_strangers(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    other = api.add_bot("515151:AAother", "other_bot")
    api.user_sends(ALICE, "for the first")
    async with client_of(other) as second:
        assert (await second.ok("getMe"))["username"] == "other_bot"
        assert await second.ok("getUpdates") == []
        assert await second.refused("sendMessage", chat_id=ALICE, text="x") == (400, "Bad Request: chat not found")


# Polling


async def test_the_offset_confirms_and_forgets(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    ids = [api.user_sends(ALICE, str(number))["update_id"] for number in range(5)]
    assert ids == list(range(ids[0], ids[0] + 5))
    assert [update["update_id"] for update in await bot.ok("getUpdates", limit=2)] == ids[:2]
    assert [update["update_id"] for update in await bot.ok("getUpdates", offset=ids[2])] == ids[2:]
    assert api.pending_update_count == 3
    assert [update["update_id"] for update in await bot.ok("getUpdates", offset=-1)] == ids[4:]
    assert api.pending_update_count == 1


async def test_a_long_poll_waits_for_an_update(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def write_later() -> None:
        await trio.sleep(7)
        api.user_sends(ALICE, "late")

    nursery.start_soon(write_later)
    started = trio.current_time()
    updates = await bot.ok("getUpdates", timeout=30)
    assert updates[0]["message"]["text"] == "late"
    assert trio.current_time() - started == pytest.approx(7, abs=0.5)


async def test_a_long_poll_ends_with_its_time(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    started = trio.current_time()
    assert await bot.ok("getUpdates", timeout=80) == []
    assert trio.current_time() - started == pytest.approx(50, abs=0.5)


async def test_the_second_poll_ends_the_first(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    first: list[tuple[int, str]] = []

    async def poll_first() -> None:
        first.append(await bot.refused("getUpdates", timeout=30))

    nursery.start_soon(poll_first)
    await trio.sleep(5)
    assert await bot.ok("getUpdates", timeout=0) == []
    assert first == []
    assert await bot.ok("getUpdates", timeout=1) == []
    assert first == [(409, OTHER_POLL)]


async def test_polling_and_a_webhook_exclude_each_other(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    ended: list[tuple[int, str]] = []

    async def poll() -> None:
        ended.append(await bot.refused("getUpdates", timeout=30))

    nursery.start_soon(poll)
    await trio.sleep(5)
    await bot.ok("setWebhook", url="http://127.0.0.1:9/hook")
    assert await bot.refused("getUpdates") == (
        409,
        "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
    )
    assert ended == [(409, "Conflict: terminated by setWebhook request")]
    await bot.ok("deleteWebhook")
    assert await bot.ok("getUpdates") == []


async def test_asking_again_and_again_is_slowed_down(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    started = trio.current_time()
    for _ in range(3):
        await bot.ok("getUpdates", offset=1)
    assert trio.current_time() - started == pytest.approx(3, abs=0.5)


async def test_only_allowed_updates_arrive_and_the_setting_stays(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    await bot.ok("getUpdates", allowed_updates=["channel_post"])
    api.user_sends(ALICE, "not asked for")
    api.channel_posts(-1009876543210, "news")
    api.unknown_update("hologram_call")
    await trio.sleep(5)
    kinds = [set(update) - {"update_id"} for update in await bot.ok("getUpdates")]
    assert kinds == [{"channel_post"}, {"hologram_call"}]
    assert (await bot.ok("getWebhookInfo"))["allowed_updates"] == ["channel_post"]


async def test_updates_are_kept_for_a_day(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.user_sends(ALICE, "old")
    await trio.sleep(86_000)
    api.user_sends(ALICE, "new")
    await trio.sleep(600)
    assert [update["message"]["text"] for update in await bot.ok("getUpdates")] == ["new"]


async def test_a_redelivered_update_ignores_the_offset_once(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    update = api.user_sends(ALICE, "twice")
    offset = update["update_id"] + 1
    await bot.ok("getUpdates", offset=offset)
    api.redeliver(update)
    assert await bot.ok("getUpdates", offset=offset) == [update]
    assert await bot.ok("getUpdates", offset=offset) == []


# Messages


@pytest.mark.parametrize(
    ("text", "parse_mode", "description"),
    [
        ("", None, "Bad Request: message text is empty"),
        (" \n ", None, "Bad Request: text must be non-empty"),
        ("<b> </b>", "HTML", "Bad Request: text must be non-empty"),
        ("x" * 4097, None, "Bad Request: message is too long"),
        ("😀" * 2049, None, "Bad Request: message is too long"),
        ("x" * 40_000, None, "Bad Request: text is too long"),
        ("x", "Troff", "Bad Request: unsupported parse_mode"),
        ("a <u>b", "HTML", "Bad Request: can't parse entities: Can't find end tag corresponding to start tag \"u\""),
        ("ü <blink>", "HTML", 'Bad Request: can\'t parse entities: Unsupported start tag "blink" at byte offset 3'),
        (
            "<b><i>x</b></i>",
            "HTML",
            'Bad Request: can\'t parse entities: Unmatched end tag at byte offset 7, expected "</i>", found "</b>"',
        ),
        ("x</b>", "HTML", "Bad Request: can't parse entities: Unexpected end tag at byte offset 1"),
        ("1 < 2", "HTML", 'Bad Request: can\'t parse entities: Unsupported start tag "" at byte offset 2'),
        ("1 <2", "HTML", "Bad Request: can't parse entities: Unclosed start tag at byte offset 2"),
        ("<b x", "HTML", 'Bad Request: can\'t parse entities: Unclosed start tag "b" at byte offset 0'),
    ],
)
async def test_bad_texts_are_refused_in_the_platforms_words(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, text: str, parse_mode: str | None, description: str
) -> None:
    api.add_chat(ALICE)
    params = {"parse_mode": parse_mode} if parse_mode else {}
    assert await bot.refused("sendMessage", chat_id=ALICE, text=text, **params) == (400, description)
    assert api.texts(ALICE) == []


async def test_text_is_measured_after_parsing(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.add_chat(ALICE)
    text = "<b>" + "&lt;" * 2048 + "😀" * 1024 + "</b>"
    message = await bot.ok("sendMessage", chat_id=ALICE, text=text, parse_mode="html")
    assert message["text"] == "<" * 2048 + "😀" * 1024
    assert message["entities"] == [{"type": "bold", "offset": 0, "length": 4096}]


@pytest.mark.parametrize(
    ("source", "text", "entities"),
    [
        ("a &amp;&#39;&#x27;&nbsp;", "a &''&nbsp;", []),
        ("<i>😀</i><b>x</b>", "😀x", [("italic", 0, 2), ("bold", 2, 1)]),
        ("<b>a<i>b</i></b>", "ab", [("bold", 0, 2), ("italic", 1, 1)]),
        ('<a href="http://x.org/?a=1&amp;b=2">t</a>', "t", [("text_link", 0, 1, "http://x.org/?a=1&b=2")]),
        ("<a href=''>plain</a>", "plain", []),
        ('<pre><code class="language-py">x</code></pre>', "x", [("pre", 0, 1, "py")]),
        ("<code class='language-py'>x</code>", "x", [("code", 0, 1)]),
        ("<blockquote expandable>q</blockquote>", "q", [("expandable_blockquote", 0, 1)]),
        ('<span class="tg-spoiler">s</span><b></b>', "s", [("spoiler", 0, 1)]),
    ],
)
def test_html_is_parsed(source: str, text: str, entities: list[tuple[Any, ...]]) -> None:
    found, parsed = parse_html(source)
    assert found == text
    assert [
        (entity["type"], entity["offset"], entity["length"], *(entity[key] for key in ("url", "language") if key in entity))
        for entity in parsed
    ] == entities


@given(st.text())
def test_escaped_text_comes_back_whole(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert parse_html(f"<b>{escaped}</b>")[0] == text
    assert utf16_length(text) == len(text.encode("utf-16-le", "surrogatepass")) // 2


@given(st.text(alphabet='<>/&;="ab u#1😀'))
def test_any_html_is_parsed_or_refused(source: str) -> None:
    try:
        text, entities = parse_html(source)
    except ApiError as error:
        text, entities = error.description, []
        source = text if text.startswith("Bad Request: can't parse entities: ") else ""
    assert source or not text
    assert all(entity["offset"] + entity["length"] <= utf16_length(text) for entity in entities)


async def test_chats_that_the_bot_cannot_write_to(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    async def send(chat_id: int, **more: Any) -> tuple[int, str]:
        return await bot.refused("sendMessage", chat_id=chat_id, text="x", **more)

    assert await send(1) == (400, "Bad Request: chat not found")
    api.member_changes(ALICE, "kicked")
    assert await send(ALICE) == (403, "Forbidden: bot was blocked by the user")
    api.member_changes(FORUM, "kicked")
    assert await send(FORUM["id"]) == (403, "Forbidden: bot was kicked from the supergroup chat")
    api.member_changes(FORUM, "member", old="kicked")
    assert await send(FORUM["id"], message_thread_id=9) == (400, "Bad Request: message thread not found")
    assert await send(FORUM["id"], reply_parameters={"message_id": 999}) == (
        400,
        "Bad Request: message to be replied not found",
    )
    api.group_upgrades(-77, -1000000000077)
    refusal = await bot.call("sendMessage", chat_id=-77, text="x")
    assert refusal["description"] == "Bad Request: group chat was upgraded to a supergroup chat"
    assert refusal["parameters"] == {"migrate_to_chat_id": -1000000000077}


async def test_a_topic_and_a_reply_are_shown_where_they_belong(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    asked = api.user_sends(FORUM, "in a topic", thread=5)["message"]
    assert asked["is_topic_message"] is True
    reply = {"message_id": asked["message_id"]}
    sent = await bot.ok("sendMessage", chat_id=FORUM["id"], text="yes", message_thread_id=5, reply_parameters=reply)
    assert sent["reply_to_message"]["text"] == "in a topic"
    assert (api.texts(FORUM["id"], thread=5), api.texts(FORUM["id"], thread=6)) == (["yes"], [])


async def test_edits_change_what_is_seen(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    mine = api.user_sends(ALICE, "hi")["message"]
    sent = await bot.ok("sendMessage", chat_id=ALICE, text="draft")
    target = {"chat_id": ALICE, "message_id": sent["message_id"]}
    assert (await bot.ok("editMessageText", **target, text="final"))["text"] == "final"
    assert api.texts(ALICE) == ["final"]
    assert (await bot.refused("editMessageText", **target, text="final"))[1].startswith("Bad Request: message is not modified")
    assert await bot.refused("editMessageText", chat_id=ALICE, message_id=99, text="x") == (
        400,
        "Bad Request: message to edit not found",
    )
    assert await bot.refused("editMessageText", chat_id=ALICE, message_id=mine["message_id"], text="x") == (
        400,
        "Bad Request: message can't be edited",
    )
    await bot.ok("deleteMessage", **target)
    assert api.texts(ALICE) == []


async def test_a_button_is_answered_once(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.add_chat(ALICE)
    markup = {"inline_keyboard": [[{"text": "yes", "callback_data": "y"}]]}
    sent = await bot.ok("sendMessage", chat_id=ALICE, text="sure?", reply_markup=markup)
    query = api.user_presses(ALICE, sent["message_id"], "y")["callback_query"]
    assert query["message"]["reply_markup"] == markup
    await bot.ok("answerCallbackQuery", callback_query_id=query["id"])
    assert await bot.refused("answerCallbackQuery", callback_query_id=query["id"]) == (
        400,
        "Bad Request: query is too old and response timeout expired or query ID is invalid",
    )


async def test_chat_actions_are_checked(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.add_chat(ALICE)
    await bot.ok("sendChatAction", chat_id=ALICE, action="typing")
    assert await bot.refused("sendChatAction", chat_id=ALICE, action="dancing") == (
        400,
        "Bad Request: wrong parameter action in request",
    )


# Faults


async def test_errors_on_demand(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.add_chat(ALICE)
    api.add_chat(5)
    api.fail_next(
        "sendMessage",
        429,
        "Too Many Requests: retry after 7",
        parameters={"retry_after": 7},
        times=2,
        when=lambda params: params["chat_id"] == ALICE,
    )
    await bot.ok("sendMessage", chat_id=5, text="another chat")
    answer = await bot.http.post(f"{bot.base}/sendMessage", json={"chat_id": ALICE, "text": "x"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["parameters"] == {"retry_after": 7}
    assert (await bot.refused("sendMessage", chat_id=ALICE, text="x"))[0] == 429
    await bot.ok("sendMessage", chat_id=ALICE, text="through")
    assert api.texts(ALICE) == ["through"]
    assert [call.status for call in api.log] == [200, 429, 429, 200]


@pytest.mark.parametrize(("processed", "seen"), [(False, []), (True, ["x"])])
async def test_a_connection_drops_before_or_after_processing(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, processed: bool, seen: list[str]
) -> None:
    api.add_chat(ALICE)
    api.drop_next("sendMessage", processed=processed)
    with pytest.raises(httpx2.TransportError):
        await bot.call("sendMessage", chat_id=ALICE, text="x")
    assert api.texts(ALICE) == seen
    await bot.ok("getMe")


async def test_delays_silence_and_garbage(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.delay_next("getMe", 30)
    started = trio.current_time()
    await bot.ok("getMe")
    assert trio.current_time() - started >= 30
    api.garble_next("getMe")
    answer = await bot.http.get(f"{bot.base}/getMe")
    assert (answer.status_code, answer.content) == (502, b"<html>Bad Gateway</html>")
    api.hang_next("getMe")
    with trio.move_on_after(3600) as patience:
        await bot.call("getMe")
    assert patience.cancelled_caught
    api.fail_next("*", 500, "Internal Server Error", times=None)
    api.behave()
    await bot.ok("getMe")


# Webhooks


class Hook:
    """A webhook's receiver: records requests, answers what ``answers`` says, then 200."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.times: list[float] = []
        self.answers: list[Response | None] = []
        self.running = 0
        self.most_at_once = 0
        self.seconds = 0.0

    async def handle(self, request: Request) -> Response | None:
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        await trio.sleep(self.seconds)
        self.running -= 1
        self.requests.append(request)
        self.times.append(trio.current_time())
        return self.answers.pop(0) if self.answers else Response(200, b"")

    def texts(self) -> list[str]:
        return [msgspec.json.decode(request.body)["message"]["text"] for request in self.requests]


@pytest.fixture
async def hook(api: FakeBotApi, nursery: trio.Nursery) -> Hook:
    """Listens behind https://bot.example, as behind a TLS proxy."""
    hook = Hook()
    listener = await listen(0)
    nursery.start_soon(serve_http, listener, hook.handle)
    api.route_webhooks("https://bot.example", f"http://127.0.0.1:{port_of(listener)}")
    return hook


async def test_a_webhook_gets_each_update_with_the_secret(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, hook: Hook
) -> None:
    api.user_sends(ALICE, "before")
    answer = await bot.call("setWebhook", url="https://bot.example/in?x=1", secret_token="s-3_T")
    assert (answer["result"], answer["description"]) == (True, "Webhook was set")
    api.user_sends(ALICE, "after")
    await api.wait_delivered()
    assert hook.texts() == ["before", "after"]
    request = hook.requests[0]
    assert (request.method, request.path, request.query) == ("POST", "/in", "x=1")
    assert request.headers["x-telegram-bot-api-secret-token"] == "s-3_T"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == "bot.example"
    info = await bot.ok("getWebhookInfo")
    assert (info["url"], info["pending_update_count"], info["max_connections"]) == ("https://bot.example/in?x=1", 0, 40)


async def test_a_failed_delivery_is_repeated_with_growing_pauses(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, hook: Hook
) -> None:
    hook.answers = [Response(503, b""), None, Response(500, b""), Response(429, b"", headers=(("Retry-After", "30"),))]
    await bot.ok("setWebhook", url="https://bot.example/in")
    api.user_sends(ALICE, "one")
    api.user_sends(ALICE, "two")
    await trio.sleep(1)
    info = await bot.ok("getWebhookInfo")
    assert info["pending_update_count"] == 2
    assert info["last_error_message"] == "Webhook connection closed"
    await api.wait_delivered()
    assert hook.texts() == ["one"] * 5 + ["two"]
    pauses = [later - earlier for earlier, later in zip(hook.times, hook.times[1:], strict=False)]
    assert pauses == pytest.approx([0, 2, 4, 30, 0], abs=0.2)


async def test_a_refused_connection_is_repeated(api: FakeBotApi, bot: Client, autojump_clock: MockClock, hook: Hook) -> None:
    await bot.ok("setWebhook", url="http://127.0.0.1:9/closed")
    api.user_sends(ALICE, "kept")
    await trio.sleep(100)
    assert (await bot.ok("getWebhookInfo"))["last_error_message"].startswith("Connection failed")
    await bot.ok("setWebhook", url="https://bot.example/in")
    await api.wait_delivered()
    assert hook.texts() == ["kept"]


@pytest.mark.parametrize("connections", [1, 3])
async def test_chats_are_delivered_side_by_side_and_each_in_order(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, hook: Hook, connections: int
) -> None:
    hook.seconds = 1.0
    for number in range(3):
        for chat in range(1, 7):
            api.user_sends(chat, f"{chat}.{number}")
    await bot.ok("setWebhook", url="https://bot.example/in", max_connections=connections)
    await api.wait_delivered()
    assert hook.most_at_once == connections
    assert len(hook.texts()) == 18
    for chat in range(1, 7):
        own = [text for text in hook.texts() if text.startswith(f"{chat}.")]
        assert own == [f"{chat}.0", f"{chat}.1", f"{chat}.2"]


async def test_deleting_a_webhook_keeps_or_drops_what_waits(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    await bot.ok("setWebhook", url="http://127.0.0.1:9/closed")
    api.user_sends(ALICE, "waits")
    assert (await bot.call("deleteWebhook"))["description"] == "Webhook was deleted"
    assert api.pending_update_count == 1
    assert (await bot.call("deleteWebhook", drop_pending_updates=True))["description"] == "Webhook is already deleted"
    assert api.pending_update_count == 0
    assert (await bot.ok("getWebhookInfo")) == {"url": "", "has_custom_certificate": False, "pending_update_count": 0}


@pytest.mark.parametrize(
    ("params", "description"),
    [
        ({"url": "bot.example"}, "Bad Request: invalid webhook URL specified"),
        (
            {"url": "https://bot.example:444/"},
            "Bad Request: bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443",
        ),
        ({"url": "https://b.example/", "secret_token": "a b"}, "Bad Request: secret token contains unallowed characters"),
        ({"url": "https://b.example/", "secret_token": "x" * 257}, "Bad Request: secret token is too long"),
    ],
)
async def test_bad_webhooks_are_refused(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, params: Json, description: str
) -> None:
    assert await bot.refused("setWebhook", **params) == (400, description)
    assert await bot.refused("setWebhook", url="https://b.example/") == (429, "Too Many Requests: retry after 1")
    assert api.webhook_url == ""


async def test_an_update_can_be_posted_past_the_queue(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, hook: Hook
) -> None:
    await bot.ok("setWebhook", url="https://bot.example/in", secret_token="right")
    update = api.user_sends(ALICE, "again")
    await api.wait_delivered()
    hook.answers = [Response(200, b""), Response(403, b"")]
    assert await api.post_update(update) == 200
    assert await api.post_update(update, secret_token="wrong") == 403
    assert [request.headers["x-telegram-bot-api-secret-token"] for request in hook.requests] == ["right", "right", "wrong"]
    assert hook.texts() == ["again"] * 3


# Other processes


async def test_the_fake_runs_as_a_process_and_is_driven_from_here() -> None:
    async with RemoteBotApi.start() as remote, httpx2.AsyncClient() as http:
        base = f"{remote.url}/bot{remote.token}"
        await remote.do("user_sends", chat=ALICE, text="hello")
        updates = (await http.get(f"{base}/getUpdates")).json()["result"]
        assert updates[0]["message"]["text"] == "hello"
        await remote.do("fail_next", method="sendMessage", error_code=500, description="Internal", where={"chat_id": ALICE})
        assert (await http.post(f"{base}/sendMessage", json={"chat_id": ALICE, "text": "x"})).status_code == 500
        assert (await remote.do("wait_call", method="sendMessage"))["text"] == "x"
        other = await remote.do("add_bot", token="515151:AAother", username="other_bot")
        assert (await http.get(f"{remote.url}/bot{other}/getMe")).json()["result"]["username"] == "other_bot"
        with pytest.raises(RuntimeError, match="not something the fake can do"):
            await remote.do("serve")


CLIENT_SCRIPT = Path(__file__).with_name("aiogram_client.py")


async def run_aiogram(*arguments: str) -> Json:
    """Run the client library's script (asyncio lives there alone); what it prints, as JSON."""
    with trio.fail_after(60):
        process = await trio.run_process(
            [sys.executable, "-W", "error", str(CLIENT_SCRIPT), *arguments], capture_stdout=True, capture_stderr=True, check=False
        )
    assert process.returncode == 0, process.stderr.decode()
    return msgspec.json.decode(process.stdout, type=Json)


@pytest.mark.slow
async def test_a_real_client_library_accepts_the_fake(api: FakeBotApi) -> None:
    api.user_sends(ALICE, "/start hello @echo_bot")
    asked = api.user_sends(FORUM, "topic", thread=5)["message"]
    api.user_sends(-4001, "group", reply_to=None)
    api.user_edits(FORUM, asked["message_id"], "topic, edited")
    api.user_sends_photo(ALICE, "a caption")
    api.user_sends_document(ALICE, "a.txt", b"text of a file")
    api.user_sends_voice(ALICE)
    api.user_presses(FORUM, asked["message_id"], "pressed")
    api.channel_posts(-1009876543210, "news")
    api.member_changes(-4001, "administrator")
    api.member_changes(4712, "kicked")
    api.group_upgrades(-4002, -1000000004002)
    api.unknown_update()
    api.fail_next("sendMessage", 429, "Too Many Requests: retry after 7", parameters={"retry_after": 7})
    seen = await run_aiogram(api.url, api.token, str(ALICE))
    assert seen["me"] == "echo_bot"
    assert seen["updates"] == [
        "message: /start hello @echo_bot [bot_command 0 6, mention 13 9]",
        "message: topic thread 5",
        "message: group",
        "edited_message: topic, edited thread 5",
        "message: a caption photo 3",
        "message: None document a.txt text of a file",
        "message: None voice 3",
        "callback_query: pressed",
        "channel_post: news",
        "my_chat_member: administrator",
        "my_chat_member: kicked",
        "message: None migrate_to -1000000004002",
        "message: None migrate_from -4002",
        "unknown",
    ]
    assert seen["retry_after"] == 7
    assert seen["migrate_to"] == -1000000004002
    assert seen["forbidden"] == "Telegram server says - Forbidden: bot was blocked by the user"
    assert seen["sent"] == ["text_link", "bold"]
    assert seen["webhook"] == ["http://127.0.0.1:9/hook", 7, ""]
    assert seen["chat"] == "private"
    assert api.texts(ALICE) == ["final"]
    assert [call["action"] for call in api.calls("sendChatAction")] == ["typing"]


@pytest.mark.slow
async def test_the_parameter_lists_are_those_of_a_real_client_library() -> None:
    listed = await run_aiogram("--parameters", *METHODS)
    ours = {name: {"required": sorted(method.required), "optional": sorted(method.optional)} for name, method in METHODS.items()}
    assert ours == listed
