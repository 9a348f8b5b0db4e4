"""Updates in the platform's shape to envelopes."""

import json
from typing import Any

import msgspec
import pytest

from gatewayd.channels.telegram.receiving.inbound import Bot, Receiver, to_inbound
from gatewayd.channels.telegram.wire import Update
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Origin, Peer, Sender

RECEIVER = Receiver("telegram", "main", Bot(424242, "Echo_Bot"))
ALICE = {"id": 4711, "is_bot": False, "first_name": "Alice", "last_name": "Liddell", "username": "alice", "language_code": "en"}
ECHO = {"id": 424242, "is_bot": True, "first_name": "Echo", "username": "Echo_Bot"}
PRIVATE = {"id": 4711, "type": "private", "first_name": "Alice", "username": "alice"}
GROUP = {"id": -100500, "type": "supergroup", "title": "Team", "is_forum": True}
SERVICE = {"message_id": 1, "date": 1, "chat": {"id": -100500, "type": "supergroup"}, "from": ALICE}
CHANNEL = {"id": -100600, "type": "channel", "title": "News", "username": "news"}


def read(update: dict[str, Any], receiver: Receiver = RECEIVER) -> InboundEnvelope | None:
    data = json.dumps({"update_id": 1000, **update}).encode()
    return to_inbound(msgspec.json.decode(data, type=Update), receiver, received_at=99.0)


def message(**fields: Any) -> InboundEnvelope | None:
    return read({"message": {"message_id": 5, "date": 1700, "from": ALICE, "chat": PRIVATE, **fields}})


def in_group(**fields: Any) -> InboundEnvelope:
    envelope = message(chat=GROUP, **fields)
    assert envelope is not None
    return envelope


def entity(kind: str, text: str, part: str, **fields: Any) -> dict[str, Any]:
    """An entity over ``part`` of ``text``, in UTF-16 units."""
    offset = len(text[: text.index(part)].encode("utf-16-le")) // 2
    return {"type": kind, "offset": offset, "length": len(part.encode("utf-16-le")) // 2, **fields}


def test_a_private_message() -> None:
    assert message(text="Hello\x00 world") == InboundEnvelope(
        channel="telegram",
        account="main",
        event_key="424242:1000",
        kind="message",
        peer=Peer("dm", "4711"),
        sender=Sender("4711", "Alice Liddell", "alice"),
        text="Hello  world",
        message_id="5",
        addressed=True,
        sent_at=1700.0,
        received_at=99.0,
    )


def test_a_topic_is_a_thread() -> None:
    envelope = in_group(text="hi", message_thread_id=77, is_topic_message=True, reply_to_message={"message_id": 77, "from": ECHO})
    assert envelope.peer == Peer("group", "-100500", "77")
    assert envelope.reply_to is None, "the message that made the topic is not one that is answered"
    assert not envelope.addressed


def test_a_thread_of_replies_is_no_topic() -> None:
    envelope = in_group(text="hi", message_thread_id=3, reply_to_message={"message_id": 3, "from": ALICE})
    assert envelope.peer == Peer("group", "-100500")
    assert envelope.reply_to == "3"
    assert not envelope.addressed


def test_a_topic_in_a_private_chat_is_a_thread() -> None:
    envelope = message(text="hi", message_thread_id=7, is_topic_message=True)
    assert envelope is not None
    assert envelope.peer == Peer("dm", "4711", "7")


def test_a_plain_group_message_is_not_addressed() -> None:
    envelope = in_group(text="hello everybody, also echo_bot")
    assert (envelope.peer.kind, envelope.addressed) == ("group", False)


@pytest.mark.parametrize(
    ("text", "kind", "part", "addressed"),
    [
        ("😀👨‍👩‍👧 @echo_bot please", "mention", "@echo_bot", True),
        ("ask @ECHO_BOT", "mention", "@ECHO_BOT", True),
        ("ask @other_bot", "mention", "@other_bot", False),
        ("/stop", "bot_command", "/stop", True),
        ("/stop@echo_bot", "bot_command", "/stop@echo_bot", True),
        ("please /stop@echo_bot", "bot_command", "/stop@echo_bot", True),
        ("/stop@other_bot", "bot_command", "/stop@other_bot", False),
        ("see /etc", "bot_command", "/etc", False),
    ],
)
@pytest.mark.parametrize("field", ["text", "caption"])
def test_who_is_addressed_by_an_entity(text: str, kind: str, part: str, addressed: bool, field: str) -> None:
    entities = {"text": "entities", "caption": "caption_entities"}[field]
    envelope = in_group(**{field: text, entities: [entity(kind, text, part)]})
    assert envelope.addressed is addressed


def test_a_mention_of_the_bots_id_and_a_reply_to_it_address_it() -> None:
    text = "Echo, hi"
    assert in_group(text=text, entities=[entity("text_mention", text, "Echo", user=ECHO)]).addressed
    assert not in_group(text=text, entities=[entity("text_mention", text, "Echo", user=ALICE)]).addressed
    reply = in_group(text="yes", reply_to_message={"message_id": 4, "from": ECHO, "date": 1, "chat": GROUP})
    assert (reply.addressed, reply.reply_to) == (True, "4")


def test_before_the_name_is_known_only_the_id_addresses() -> None:
    receiver = Receiver("telegram", "main", Bot(424242))
    text = "@echo_bot hi"
    fields = {"message_id": 5, "date": 1, "from": ALICE, "chat": GROUP, "text": text}
    by_name = read({"message": {**fields, "entities": [entity("mention", text, "@echo_bot")]}}, receiver)
    by_reply = read({"message": {**fields, "reply_to_message": {"message_id": 1, "from": ECHO}}}, receiver)
    assert by_name is not None
    assert by_reply is not None
    assert (by_name.addressed, by_reply.addressed) == (False, True)


def test_a_command_for_us_loses_our_name() -> None:
    text = "/new@echo_bot some words"
    assert in_group(text=text, entities=[entity("bot_command", text, "/new@echo_bot")]).text == "/new some words"
    text = "/new@other_bot some words"
    assert in_group(text=text, entities=[entity("bot_command", text, "/new@other_bot")]).text == text


def test_a_hidden_link_is_written_out() -> None:
    text = "😀 see here and https://e.org"
    entities = [
        entity("text_link", text, "here", url="https://example.org/x"),
        entity("text_link", text, "https://e.org", url="https://e.org/"),
        entity("bold", text, "see"),
    ]
    envelope = message(text=text, entities=entities)
    assert envelope is not None
    assert envelope.text == "😀 see here (https://example.org/x) and https://e.org"


@pytest.mark.parametrize(("offset", "length"), [(-3, 2), (0, -1), (99, 5), (3, 99), (0, 0)])
def test_an_entity_outside_the_text_is_harmless(offset: int, length: int) -> None:
    bad = [{"type": kind, "offset": offset, "length": length, "url": "https://e.org"} for kind in ("mention", "bot_command")]
    assert in_group(text="hello", entities=bad).text == "hello"


def test_an_edit() -> None:
    edited = {"message_id": 5, "date": 1700, "edit_date": 1800, "from": ALICE, "chat": PRIVATE, "text": "better"}
    envelope = read({"edited_message": edited})
    assert envelope is not None
    assert (envelope.kind, envelope.text, envelope.sent_at, envelope.message_id) == ("edit", "better", 1800.0, "5")
    del edited["text"]
    moved = read({"edited_message": {**edited, "location": {"latitude": 1, "longitude": 2}}})
    assert moved is not None
    assert (moved.kind, moved.text) == ("edit", "[location: 1, 2]"), "a live location"


def test_channel_posts() -> None:
    post = {"message_id": 9, "date": 1, "chat": CHANNEL, "sender_chat": CHANNEL, "text": "news"}
    for kind, field in (("message", "channel_post"), ("edit", "edited_channel_post")):
        envelope = read({field: post})
        assert envelope is not None
        assert (envelope.kind, envelope.peer) == (kind, Peer("channel", "-100600"))
        assert envelope.sender == Sender("-100600", "News", "news")
        assert not envelope.addressed
    del post["sender_chat"]
    anonymous = read({"channel_post": post})
    assert anonymous is not None
    assert anonymous.sender.id == "-100600"


def test_an_anonymous_administrator_is_the_group() -> None:
    placeholder = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
    envelope = in_group(text="hi", sender_chat=GROUP, **{"from": placeholder})
    assert envelope.sender == Sender("-100500", "Team")


@pytest.mark.parametrize("sender", [ECHO, {"id": 9, "is_bot": True, "first_name": "Other"}])
def test_a_bot_is_one(sender: dict[str, Any]) -> None:
    assert in_group(text="hi", **{"from": sender}).sender.is_bot


def test_photo_with_caption() -> None:
    sizes = [
        {"file_id": f"p{side}", "file_unique_id": "u", "width": side, "height": side, "file_size": side * 10}
        for side in (90, 800, 320)
    ]
    envelope = message(photo=sizes, caption="look")
    assert envelope is not None
    assert envelope.text == "look"
    assert envelope.attachments == (Attachment("photo", "p800", None, "image/jpeg", 8000),)


FILE = {"file_id": "f", "file_unique_id": "u", "file_size": 12}


@pytest.mark.parametrize(
    ("fields", "attachment"),
    [
        (
            {"document": {**FILE, "file_name": "a.pdf", "mime_type": "application/pdf"}},
            Attachment("document", "f", "a.pdf", "application/pdf", 12),
        ),
        ({"voice": {**FILE, "duration": 3, "mime_type": "audio/ogg"}}, Attachment("voice", "f", None, "audio/ogg", 12)),
        ({"audio": {**FILE, "duration": 3, "file_name": "x.mp3"}}, Attachment("audio", "f", "x.mp3", None, 12)),
        ({"video": {**FILE, "width": 1, "height": 1, "duration": 3}}, Attachment("video", "f", None, "video/mp4", 12)),
        ({"video_note": {**FILE, "length": 1, "duration": 3}}, Attachment("video", "f", None, "video/mp4", 12)),
        ({"animation": {**FILE, "width": 1}, "document": FILE}, Attachment("video", "f", None, "video/mp4", 12)),
        ({"sticker": {**FILE, "emoji": "😀", "is_video": False}}, Attachment("sticker", "f", "😀", "image/webp", 12)),
        ({"sticker": {**FILE, "is_animated": True}}, Attachment("sticker", "f", None, "application/x-tgsticker", 12)),
        ({"sticker": {**FILE, "is_video": True}}, Attachment("sticker", "f", None, "video/webm", 12)),
        ({"document": {"file_id": "f"}}, Attachment("document", "f")),
    ],
)
def test_attachments(fields: dict[str, Any], attachment: Attachment) -> None:
    envelope = message(**fields)
    assert envelope is not None
    assert envelope.attachments == (attachment,)
    assert envelope.text == ""


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"location": {"latitude": 52.5, "longitude": 13.4}}, "[location: 52.5, 13.4]"),
        (
            {
                "location": {"latitude": 1, "longitude": 2},
                "venue": {"location": {"latitude": 1, "longitude": 2}, "title": "Zoo", "address": "A 1"},
            },
            "[venue: Zoo, A 1 (1, 2)]",
        ),
        ({"contact": {"phone_number": "+49", "first_name": "Bob"}}, "[contact: Bob, +49]"),
        ({"poll": {"id": "1", "question": "Tea?", "options": [{"text": "yes"}, {"text": "no"}]}}, "[poll: Tea? (yes / no)]"),
        ({"dice": {"emoji": "🎲", "value": 6}}, "[🎲: 6]"),
    ],
)
def test_what_is_no_text_is_described(fields: dict[str, Any], text: str) -> None:
    envelope = message(**fields)
    assert envelope is not None
    assert envelope.text == text


@pytest.mark.parametrize(
    ("update", "text"),
    [
        ({"message": {**SERVICE, "new_chat_members": [ALICE]}}, "[service message: new_chat_members]"),
        ({"message": {**SERVICE, "pinned_message": {"message_id": 2, "text": "x"}}}, "[service message: pinned_message]"),
        ({"message": SERVICE}, "[empty message]"),
        ({"edited_message": {**SERVICE, "reply_markup": {}}}, "[empty message]"),
        ({"message": {**SERVICE, "chat": {"id": 1, "type": "hologram"}, "text": "x"}}, "x"),
        ({"message": {"message_id": 1, "date": 1, "chat": GROUP, "text": "from nobody"}}, "from nobody"),
        ({"message": {**SERVICE, "text": "from an odd one", "from": {"id": "4711"}}}, "from an odd one"),
        ({"message": {**SERVICE, "text": "by an odd one", "via_bot": "gif"}}, "by an odd one"),
        ({"message": {**SERVICE, "text": "from odd places", "forward_origin": []}}, "from odd places"),
        ({"callback_query": {"id": "1", "from": ALICE, "inline_message_id": "x", "data": "d"}}, "d"),
        (
            {"callback_query": {"id": "1", "from": ALICE, "message": {"message_id": 1, "date": 0, "chat": PRIVATE}}},
            "[a press without data]",
        ),
    ],
)
def test_what_is_nothing_for_an_agent_is_kept_as_news(update: dict[str, Any], text: str) -> None:
    envelope = read(update)
    assert envelope is not None
    assert (envelope.kind, envelope.text) == ("service", text)


@pytest.mark.parametrize("update", [{"hologram_call": {"id": "1", "shape": ["round"]}}, {"poll": {"id": "1"}}, {}])
def test_an_update_that_was_not_asked_for_is_none_of_ours(update: dict[str, Any]) -> None:
    assert read(update) is None


@pytest.mark.parametrize("odd", [{"photo": 3}, {"entities": [{"type": 4}]}, {"media_group_id": 5}, {"via_bot": None}])
def test_a_field_of_an_odd_type_costs_no_message(odd: dict[str, Any]) -> None:
    envelope = message(text="hello", **odd)
    assert envelope is not None
    assert (envelope.kind, envelope.text, envelope.is_own_word) == ("message", "hello", True)


def test_a_kind_that_nobody_knows_is_told() -> None:
    envelope = message(hologram={"shape": "round"})
    assert envelope is not None
    assert (envelope.kind, envelope.text) == ("message", "[a message of a kind that gatewayd does not know: hologram]")
    assert envelope.described


def test_what_a_caption_stands_under_is_told_too() -> None:
    envelope = message(caption="look", paid_media={"star_count": 5, "paid_media": []})
    assert envelope is not None
    assert (envelope.text, envelope.caption, envelope.described) == ("look\n[paid media for 5 stars]", True, False)


def test_a_rich_message_is_a_text() -> None:
    envelope = message(rich_message={"blocks": [{"type": "paragraph", "text": ["to ", {"type": "bold", "text": "read"}]}]})
    assert envelope is not None
    assert (envelope.text, envelope.described) == ("to read", False)


def test_a_press_of_a_button() -> None:
    shown = {
        "message_id": 8,
        "date": 1,
        "chat": GROUP,
        "from": ECHO,
        "text": "?",
        "message_thread_id": 77,
        "is_topic_message": True,
    }
    envelope = read({"callback_query": {"id": "c1", "from": ALICE, "chat_instance": "i", "data": "allow:1", "message": shown}})
    assert envelope is not None
    assert (envelope.kind, envelope.text, envelope.message_id, envelope.addressed) == ("button", "allow:1", "8", True)
    assert envelope.press == "c1"
    assert envelope.peer == Peer("group", "-100500", "77")
    assert envelope.sender.id == "4711"


def test_a_press_under_a_message_that_is_not_accessible_any_more() -> None:
    """InaccessibleMessage: the chat, the number, the date 0. Its topic is not told."""
    old = {"message_id": 8, "date": 0, "chat": GROUP}
    envelope = read({"callback_query": {"id": "c1", "from": ALICE, "chat_instance": "i", "data": "allow:1", "message": old}})
    assert envelope is not None
    assert (envelope.kind, envelope.text, envelope.message_id, envelope.press) == ("button", "allow:1", "8", "c1")
    assert envelope.peer == Peer("group", "-100500")


def test_membership() -> None:
    change = {
        "chat": PRIVATE,
        "from": ALICE,
        "date": 7,
        "old_chat_member": {"status": "member"},
        "new_chat_member": {"status": "kicked"},
    }
    envelope = read({"my_chat_member": change})
    assert envelope is not None
    assert (envelope.kind, envelope.text, envelope.peer, envelope.addressed) == (
        "membership",
        "kicked",
        Peer("dm", "4711"),
        False,
    )


BOB = {"id": 4712, "is_bot": False, "first_name": "Bob", "username": "bob"}


@pytest.mark.parametrize(
    ("fields", "origin"),
    [
        ({"forward_origin": {"type": "user", "date": 9, "sender_user": BOB}}, Origin("Bob", "4712", 9.0)),
        ({"forward_origin": {"type": "hidden_user", "date": 9, "sender_user_name": "Ca\x00rol"}}, Origin("Ca rol", None, 9.0)),
        ({"forward_origin": {"type": "chat", "date": 9, "sender_chat": GROUP}}, Origin("Team", "-100500", 9.0)),
        (
            {"forward_origin": {"type": "channel", "date": 9, "chat": CHANNEL, "message_id": 3, "author_signature": "Ed"}},
            Origin("News", "-100600", 9.0),
        ),
        ({"forward_origin": {"type": "hologram", "date": 9}}, Origin(None, None, 9.0)),
        (
            {"is_automatic_forward": True, "forward_origin": {"type": "channel", "date": 9, "chat": CHANNEL}},
            Origin("News", "-100600", 9.0),
        ),
        ({"is_automatic_forward": True}, Origin()),
        ({"forward_date": 9, "forward_sender_name": "of a server before Bot API 7.0"}, Origin(sent_at=9.0)),
    ],
)
@pytest.mark.parametrize("kind", ["message", "edited_message", "channel_post", "edited_channel_post"])
def test_where_a_forward_comes_from(fields: dict[str, Any], origin: Origin, kind: str) -> None:
    chat = CHANNEL if "channel" in kind else PRIVATE
    envelope = read({kind: {"message_id": 5, "date": 1700, "from": ALICE, "chat": chat, "text": "/approve CODE", **fields}})
    assert envelope is not None
    assert envelope.forwarded == origin
    assert not envelope.is_own_word


@pytest.mark.parametrize(
    ("fields", "via_bot"),
    [
        ({"via_bot": {"id": 9, "is_bot": True, "first_name": "Gif", "username": "gif"}}, "gif"),
        ({"via_bot": {"id": 9, "is_bot": True, "first_name": "Gif"}}, "9"),
        ({"sender_business_bot": {"id": 9, "is_bot": True, "first_name": "B", "username": "secretary_bot"}}, "secretary_bot"),
    ],
)
def test_what_a_bot_wrote_in_the_name_of_a_person(fields: dict[str, Any], via_bot: str) -> None:
    envelope = message(text="/approve CODE", **fields)
    assert envelope is not None
    assert (envelope.via_bot, envelope.is_own_word) == (via_bot, False)


def test_a_text_under_a_file_is_a_caption() -> None:
    under, alone, without = message(document=FILE, caption="/new"), message(text="/new"), message(document=FILE)
    assert under is not None
    assert alone is not None
    assert without is not None
    assert [it.caption for it in (under, alone, without)] == [True, False, False]
    assert (under.is_own_word, alone.is_own_word) == (False, True)
