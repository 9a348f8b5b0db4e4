"""What a message goes without when Telegram refuses it, each cause once."""

from functools import partial

import pytest
from trio.testing import MockClock

from gatewayd.kit.text import compose
from gatewayd.model.errors import OutcomeUnknown, SendRejected
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, EditText, Receipt, RichText, SendText, Span
from gatewayd.ports.channel import TextLimit
from tests.channels.telegram.rig import rig_for
from tests.fakes.bot_api import FakeBotApi, make_supergroup

ALICE = Peer("dm", "4711")
FORUM = Peer("group", "-1001", "77")
BOLD = RichText("a & b", (Span("bold", 0, 5),))
BUTTONS = ((Choice("Allow once", "ap:1"),),)
GONE = "Bad Request: message thread not found"


def has(parameter: str, call: dict[str, object]) -> bool:
    return parameter in call


def forum(api: FakeBotApi) -> None:
    api.user_sends(make_supergroup(-1001, forum=True), "?", thread=77)


async def test_every_part_of_one_message_is_left_out_once(autojump_clock: MockClock) -> None:
    payload = SendText(FORUM, BOLD, reply_to="1", choices=BUTTONS, instead="Answer with /approve 7.")
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        forum(api)
        causes = {
            "parse_mode": "Bad Request: ENTITIES_TOO_LONG",
            "message_thread_id": GONE,
            "reply_parameters": "Bad Request: message to be replied not found",
            "reply_markup": "Bad Request: BUTTON_DATA_INVALID",
        }
        for parameter, words in causes.items():
            api.fail_next("sendMessage", 400, words, times=None, when=partial(has, parameter))
        await rig.channel.send(payload, key="k")
        assert api.texts(-1001) == ["a & b\n\nAnswer with /approve 7."]
        assert len(api.calls("sendMessage")) == 5


@pytest.mark.parametrize(
    "words", ["Bad Request: ENTITY_BOUNDS_INVALID", GONE, "Bad Request: BUTTON_DATA_INVALID", "Bad Request: something new"]
)
async def test_an_error_that_stays_is_raised(words: str, autojump_clock: MockClock) -> None:
    payload = SendText(FORUM, BOLD, reply_to="1", choices=BUTTONS, instead="Answer with /approve 7.")
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        forum(api)
        api.fail_next("sendMessage", 400, words, times=None)
        with pytest.raises(SendRejected):
            await rig.channel.send(payload, key="k")
        assert len(api.calls("sendMessage")) == (3 if words == GONE else 2)


async def test_what_a_message_has_not_is_not_taken_from_it(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(4711)
        for words in ("Bad Request: ENTITY_BOUNDS_INVALID", GONE, "Bad Request: BUTTON_DATA_INVALID"):
            api.clear_calls()
            api.fail_next("sendMessage", 400, words)
            with pytest.raises(SendRejected):
                await rig.channel.send(SendText(ALICE, RichText("plain")), key="k")
            assert len(api.calls("sendMessage")) == 1


async def test_a_reply_of_many_parts_asks_once_for_a_topic_that_is_gone(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        forum(api)
        api.fail_next("sendMessage", 400, GONE, times=None, when=lambda call: "message_thread_id" in call)
        for part in range(1, 8):
            await rig.channel.send(SendText(FORUM, RichText(str(part)), part=part, parts=7), key="k")
        assert api.texts(-1001) == list("1234567")
        assert len(api.calls("sendMessage")) == 8
        api.behave()
        await rig.channel.send(SendText(FORUM, RichText("the topic is open again")), key="k")
        assert api.calls("sendMessage")[-1]["message_thread_id"] == 77
        await rig.channel.send(SendText(FORUM, RichText("2"), part=2, parts=2), key="k")
        assert api.calls("sendMessage")[-1]["message_thread_id"] == 77


async def test_a_group_may_want_nothing_outside_of_its_topics(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api, on_lost_topic="dead") as rig:
        forum(api)
        api.add_chat(4711)
        api.fail_next("sendMessage", 400, "Bad Request: TOPIC_CLOSED", times=None, when=lambda call: "message_thread_id" in call)
        with pytest.raises(SendRejected, match=r"^topic gone"):
            await rig.channel.send(SendText(FORUM, BOLD), key="k")
        assert api.texts(-1001) == []
        await rig.channel.send(SendText(Peer("dm", "4711", "77"), BOLD), key="k")
        assert api.texts(4711) == ["a & b"]


async def test_an_edit_is_mended_like_a_message(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(4711)
        receipt = await rig.channel.send(SendText(ALICE, RichText("?")), key="k")
        edit = EditText(ALICE, BOLD, of=1, message_id=receipt.message_id, choices=BUTTONS, instead="Answer with /approve 7.")
        api.fail_next("editMessageText", 400, "Bad Request: Wrong HTTP URL specified", when=lambda call: "parse_mode" in call)
        api.fail_next("editMessageText", 400, "Bad Request: BUTTON_TYPE_INVALID", when=lambda call: "reply_markup" in call)
        await rig.channel.send(edit, key="k")
        assert api.texts(4711) == ["a & b\n\nAnswer with /approve 7."]


async def test_buttons_that_nothing_stands_for_are_not_left_out(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(4711)
        api.fail_next("sendMessage", 400, "Bad Request: BUTTON_DATA_INVALID")
        with pytest.raises(SendRejected, match=r"^buttons"):
            await rig.channel.send(SendText(ALICE, BOLD, choices=BUTTONS), key="k")
        assert len(api.calls("sendMessage")) == 1


def too_long(call: dict[str, str]) -> bool:
    return len(call["text"]) > 2000


async def test_a_text_that_a_server_finds_too_long_comes_in_pieces(autojump_clock: MockClock) -> None:
    [body] = compose("word " * 800, text_format="rich", text_limit=TextLimit(4096, "utf16"))
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(4711)
        api.fail_next("sendMessage", 400, "Bad Request: message is too long", times=None, when=too_long)
        receipt = await rig.channel.send(SendText(ALICE, body, choices=BUTTONS), key="k")
        assert " ".join(api.texts(4711)) == body.text
        assert len(api.texts(4711)) == 2
        first, last = api.chat(4711).messages.values()
        assert (receipt, "reply_markup" in first, "reply_markup" in last) == (Receipt(str(last["message_id"])), False, True)


async def test_what_is_out_in_part_is_not_sent_again(autojump_clock: MockClock) -> None:
    body = RichText("word " * 800)
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(4711)
        api.fail_next("sendMessage", 400, "Bad Request: message is too long", when=too_long)
        api.fail_next("sendMessage", 500, "Internal Server Error", when=lambda call: len(api.texts(4711)) == 1)
        with pytest.raises(OutcomeUnknown, match="sent in part: 1 of 2 pieces; Telegram failed"):
            await rig.channel.send(SendText(ALICE, body), key="k")
        assert len(api.texts(4711)) == 1
