"""The fake Bot API, held against the platform's rules: texts, chats, edits, buttons, and faults on demand."""

from typing import Any

import httpx2
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.fakes.bot_api import FakeBotApi
from tests.fakes.bot_api.errors import ApiError
from tests.fakes.bot_api.methods.entities import parse_html, utf16_length
from tests.fakes.bot_client import ALICE, FORUM, Client


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
    release = api.hold_next("getMe")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bot.ok, "getMe")
        await trio.sleep(3600)
        assert len(nursery.child_tasks) == 1
        release.set()
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
