"""The fake's buttons and edits, held against the platform's rules by plain HTTP."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.fakes.bot_api import FakeBotApi, Json, make_user
from tests.fakes.bot_client import ALICE, FORUM, Client

YES = {"text": "yes", "callback_data": "y"}
TOO_OLD = (400, "Bad Request: query is too old and response timeout expired or query ID is invalid")


def keyboard(*rows: list[Json]) -> Json:
    return {"inline_keyboard": list(rows)}


async def ask(bot: Client, markup: Json, chat_id: int = ALICE) -> Json:
    sent: Json = await bot.ok("sendMessage", chat_id=chat_id, text="sure?", reply_markup=markup)
    return sent


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        (keyboard([{"text": "yes", "callback_data": "é" * 33}]), "BUTTON_DATA_INVALID"),
        (keyboard([{"text": "yes", "callback_data": ""}]), "Text buttons are unallowed in the inline keyboard"),
        (keyboard([{"text": "yes"}]), "Text buttons are unallowed in the inline keyboard"),
        (keyboard([{"callback_data": "y"}]), 'Can\'t find field "text"'),
        ({"inline_keyboard": [YES]}, "must be an Array of Arrays"),
        ({"inline_keyboard": [["yes"]]}, "InlineKeyboardButton must be an Object"),
        ({"inline_keyboard": "yes"}, "must be of type Array"),
        (keyboard(*([YES] for _ in range(101))), "reply markup is too long"),
        (keyboard(*([{"text": "x" * 64, "callback_data": "y" * 64}] for _ in range(90))), "reply markup is too long"),
    ],
)
async def test_a_keyboard_is_checked(api: FakeBotApi, bot: Client, markup: Json, words: str, autojump_clock: MockClock) -> None:
    api.add_chat(ALICE)
    code, description = await bot.refused("sendMessage", chat_id=ALICE, text="sure?", reply_markup=markup)
    assert code == 400
    assert words in description
    assert api.texts(ALICE) == []


@pytest.mark.parametrize(
    ("markup", "violation"),
    [
        (keyboard([{**YES, "callbackdata": "y"}]), "callbackdata is not a field of InlineKeyboardButton"),
        ({**keyboard([YES]), "resize": True}, "resize is not a field of InlineKeyboardMarkup"),
        (keyboard([{"text": "", "callback_data": "y"}, YES]), "a button without a text"),
        (keyboard([YES] * 9), "9 buttons in a row"),
        (keyboard([], [YES]), "a row without buttons"),
    ],
)
async def test_what_the_server_overlooks_is_a_violation(
    api: FakeBotApi, bot: Client, markup: Json, violation: str, autojump_clock: MockClock
) -> None:
    api.add_chat(ALICE)
    await ask(bot, markup)
    assert any(violation in found for found in api.violations)
    api.violations.clear()


async def test_the_limits_are_within_the_limits(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.add_chat(ALICE)
    sent = await ask(bot, keyboard([{"text": "x", "callback_data": "é" * 32}]))
    assert api.buttons(ALICE, sent["message_id"]) == [["x"]]
    sent = await ask(bot, keyboard(*([YES] for _ in range(100))))
    assert len(api.buttons(ALICE, sent["message_id"])) == 100


async def test_an_edit_takes_the_buttons_unless_it_brings_some(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.add_chat(ALICE)
    sent = await ask(bot, keyboard([YES]))
    target: dict[str, Any] = {"chat_id": ALICE, "message_id": sent["message_id"]}
    code, description = await bot.refused("editMessageText", **target, text="sure?", reply_markup=keyboard([YES]))
    assert (code, description[:40]) == (400, "Bad Request: message is not modified: sp")
    edited = await bot.ok("editMessageText", **target, text="sure?")
    assert "reply_markup" not in edited
    assert (await bot.refused("editMessageText", **target, text="sure?"))[1].startswith("Bad Request: message is not modified")
    edited = await bot.ok("editMessageText", **target, text="sure?", reply_markup=keyboard([YES]))
    assert edited["reply_markup"] == keyboard([YES])
    wrong = {"keyboard": [["yes"]]}
    assert await bot.refused("editMessageText", **target, text="!", reply_markup=wrong) == (
        400,
        "Bad Request: inline keyboard expected",
    )


async def test_a_message_without_a_text_has_no_text_to_edit(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.add_chat(ALICE)
    answer = await bot.http.post(
        f"{bot.base}/sendDocument", data={"chat_id": str(ALICE)}, files={"document": ("a.txt", b"x", "text/plain")}
    )
    target = {"chat_id": ALICE, "message_id": answer.json()["result"]["message_id"]}
    assert await bot.refused("editMessageText", **target, text="x") == (
        400,
        "Bad Request: there is no text in the message to edit",
    )


async def test_anybody_presses_anything_as_often_as_they_like(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.user_sends(FORUM, "hello", thread=77)
    await bot.ok("sendMessage", chat_id=FORUM["id"], text="sure?", message_thread_id=77, reply_markup=keyboard([YES]))
    bob = make_user(99, "Bob", "bob")
    first = api.user_presses_button(FORUM, "yes", user=bob)
    second = api.user_presses_button(FORUM, "yes", user=bob)
    elsewhere = api.user_sends(ALICE, "hi")["message"]["message_id"]
    forged = api.user_presses(ALICE, elsewhere, "y")
    old = api.user_presses(ALICE, elsewhere, "y", accessible=False)
    updates = await bot.ok("getUpdates", offset=first["update_id"])
    assert [update for update in updates if "callback_query" in update] == [first, second, forged, old]
    assert first["callback_query"]["from"] == bob
    assert first["callback_query"]["message"]["message_thread_id"] == 77
    assert first["callback_query"]["id"] != second["callback_query"]["id"]
    assert old["callback_query"]["message"] == {
        "message_id": elsewhere,
        "chat": forged["callback_query"]["message"]["chat"],
        "date": 0,
    }
    with pytest.raises(KeyError):
        api.user_presses_button(FORUM, "no")


async def test_answers_are_kept_by_their_press(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.add_chat(ALICE)
    await ask(bot, keyboard([YES]))
    press = api.user_presses_button(ALICE, "yes")
    query_id = press["callback_query"]["id"]
    assert api.answer_to(press) is None
    assert await bot.refused("answerCallbackQuery", callback_query_id=query_id, text="x" * 201) == (
        400,
        "Bad Request: MESSAGE_TOO_LONG",
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_answer, bot, query_id)
        assert await api.wait_answer(press) == {"callback_query_id": query_id, "text": "Thanks", "show_alert": True}
    assert await bot.refused("answerCallbackQuery", callback_query_id=query_id, text="again") == TOO_OLD
    answer = api.answer_to(press)
    assert answer is not None
    assert answer["text"] == "Thanks"


async def _answer(bot: Client, query_id: str) -> None:
    await bot.ok("answerCallbackQuery", callback_query_id=query_id, text="Thanks", show_alert=True)


async def test_a_press_is_forgotten_after_a_while_and_a_message_is_not(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock
) -> None:
    shown = api.user_sends(ALICE, "hi")["message"]["message_id"]
    api.user_presses(ALICE, shown, "y")
    assert api.pending_update_count == 2
    await trio.sleep(149)
    assert api.pending_update_count == 2
    await trio.sleep(2)
    assert [list(update) for update in await bot.ok("getUpdates")] == [["update_id", "message"]]


async def test_waiting_for_a_button(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    api.add_chat(ALICE)
    with trio.move_on_after(60) as scope:
        await api.wait_buttons(ALICE, "yes")
    assert scope.cancelled_caught
    sent = await ask(bot, keyboard([YES]))
    assert await api.wait_buttons(ALICE, "yes") == sent["message_id"]
