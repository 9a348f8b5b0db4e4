"""Events in the platform's shape to envelopes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from gatewayd.channels.discord.receiving.cursors import DiscordState
from gatewayd.channels.discord.receiving.inbound import Unknown
from gatewayd.channels.discord.wire.events import decode_message
from gatewayd.kit.json import Malformed
from gatewayd.model.message.edits import is_deletion_of, is_edit_of
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Origin, Peer, Sender
from tests.channels.discord.receiving.reading import (
    ALICE,
    APP,
    AT,
    BOB,
    DIRECT,
    EDITED,
    EDITED_AT,
    GUILD,
    ID,
    NOW,
    PLACE,
    ROLE,
    THREAD,
    US,
    NoState,
    guild_of,
    id_at,
    ignored,
    one,
    raw,
    read,
    receiver_of,
    replied_to,
    said,
    user_of,
)

UPDATE = "MESSAGE_UPDATE"


def test_a_direct_message() -> None:
    assert one(said("Hello\x00 world", channel=DIRECT)) == InboundEnvelope(
        channel="discord",
        account="main",
        event_key=ID,
        kind="message",
        peer=Peer("dm", ALICE),
        sender=Sender(ALICE, "alice", "alice"),
        text="Hello  world",
        message_id=f"{DIRECT}:{ID}",
        addressed=True,
        sent_at=AT,
        received_at=NOW,
    )


def test_a_message_in_a_channel_and_one_in_a_thread() -> None:
    receiver = receiver_of()
    channel, thread = one(said(), receiver), one(said(channel=THREAD), receiver)
    assert (channel.peer, channel.guild, channel.addressed) == (Peer("group", PLACE), GUILD, False)
    assert (thread.peer, thread.guild, thread.message_id) == (Peer("group", PLACE, THREAD), GUILD, f"{THREAD}:{ID}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"<@{US}> help", "help"),
        (f" <@!{US}>, <@{US}>: help", "help"),
        (f"help, <@{US}>", "help, @gatebot"),
        (f"<@&{ROLE}> help", "help"),
        (f"<@{US}>", "@gatebot"),
    ],
)
def test_who_mentions_us_or_a_role_of_ours_speaks_to_us(text: str, words: str) -> None:
    envelope = one(said(text) | ({"mentions": [user_of(US)]} if US in text else {}))
    assert (envelope.addressed, envelope.text) == (True, words)


@pytest.mark.parametrize(
    "message",
    [
        said("@everyone look", mention_everyone=True),
        said(f"<@{BOB}> look", mentions=[user_of(BOB)]),
        said("<@&12345> look", mention_roles=["12345"]),
        said(f"write `<@{US}>` to call it", mentions=[]),
        said("I agree", **replied_to(said("so it is", user=BOB))),
    ],
)
def test_what_speaks_to_nobody_or_to_others_is_not_for_us(message: dict[str, Any]) -> None:
    assert not one(message).addressed


def test_a_reply_to_a_message_of_ours_is_for_us_without_a_mention() -> None:
    ours = said("what else?", id=id_at(AT - 5), author=user_of(US, "gatebot", bot=True))
    envelope = one(said("nothing", **replied_to(ours)))
    assert (envelope.addressed, envelope.text, envelope.reply_to) == (True, "nothing", f"{PLACE}:{ours['id']}")


def test_a_reply_to_somebody_else_has_their_message_behind_it() -> None:
    theirs = said("one\ntwo", user=BOB, id=id_at(AT - 5), attachments=[{"id": "7", "filename": "plan.pdf"}])
    theirs["author"] = user_of(BOB, "bob", global_name="Bob\nB.")
    envelope = one(said(f"<@{US}> sum it up", **replied_to(theirs)))
    assert envelope.text == "sum it up\n\n[a message of Bob B.:]\n> one\n> two\n> [file: plan.pdf]"
    command = one(said(f"<@{US}> /new", **replied_to(theirs)))
    assert command.text == "/new"


def test_a_reply_whose_message_is_deleted() -> None:
    reply = said("yes", **replied_to(said(user=BOB))) | {"referenced_message": None}
    assert (one(reply).text, one(reply).addressed) == ("yes", False)


async def test_what_follows_in_a_thread_that_we_are_in_is_for_us_also_after_a_restart() -> None:
    receiver = receiver_of()
    assert not one(said("hello?", channel=THREAD), receiver).addressed
    state = read(said(f"<@{US}> hi", channel=THREAD, user=BOB), receiver).state
    assert one(said("and then?", channel=THREAD), receiver).addressed
    assert not one(said("and then?"), receiver).addressed
    kept = DiscordState(NoState(state))
    await kept.load("")
    assert one(said("and then?", channel=THREAD), receiver_of(kept)).addressed


def test_where_only_mentions_count_a_thread_is_like_a_channel() -> None:
    receiver = receiver_of(thread_replies="mentioned")
    assert one(said(f"<@{US}> hi", channel=THREAD), receiver).addressed
    assert not one(said("and then?", channel=THREAD), receiver).addressed


@pytest.mark.parametrize(
    "fields",
    [
        {"author": user_of(US, "gatebot", bot=True)},
        {"author": user_of(BOB, "other", bot=True)},
        {"author": user_of(BOB, "hook", bot=True), "webhook_id": "123"},
        {"author": user_of(BOB, "hook"), "webhook_id": "123"},
        {"author": user_of(BOB, "Discord", system=True)},
        {"author": None},
        *({"type": kind} for kind in (1, 2, 3, 4, 6, 7, 8, 12, 18, 20, 21, 23, 24, 25, 46, 999)),
    ],
)
def test_whatever_no_person_says_is_ignored(fields: dict[str, Any]) -> None:
    assert ignored(said(f"<@{US}> hi", **fields))
    assert ignored(said(f"<@{US}> hi", **fields) | {"edited_timestamp": EDITED}, name=UPDATE)


def test_an_edit() -> None:
    receiver = receiver_of()
    before = one(said(f"<@{US}> hi"), receiver)
    edit = one(said(f"<@{US}> hi there", edited_timestamp=EDITED), receiver, UPDATE)
    assert (edit.kind, edit.event_key, edit.text, edit.sent_at) == ("edit", f"{ID}:{EDITED}", "hi there", EDITED_AT)
    assert is_edit_of(edit, before)


def test_what_discord_adds_to_an_edited_message_is_the_same_edit() -> None:
    receiver = receiver_of()
    edit = said("look: https://example.org", edited_timestamp=EDITED)
    preview = edit | {"embeds": [{"type": "link", "title": "Example"}]}
    assert one(edit, receiver, UPDATE).event_key == one(preview, receiver, UPDATE).event_key


@pytest.mark.parametrize(
    "event",
    [
        said("https://example.org", embeds=[{"type": "link", "title": "Example"}]),
        said(pinned=True),
        said(pinned=True, edited_timestamp="2027-01-13T00:00:00+00:00"),
        said(edited_timestamp="yesterday"),
        said(edited_timestamp="2027-01-15T07:59:55"),
        {"id": ID, "channel_id": PLACE, "guild_id": GUILD, "embeds": []},
        {"id": ID, "channel_id": PLACE, "guild_id": GUILD, "edited_timestamp": EDITED},
    ],
)
def test_an_update_that_no_person_made_is_no_edit(event: dict[str, Any]) -> None:
    assert ignored(event, name=UPDATE)


def test_deletions() -> None:
    receiver = receiver_of()
    messages = [one(said(id=id_at(AT, number), channel=THREAD), receiver) for number in range(3)]
    ids = [id_at(AT, number) for number in range(3)]
    found = [
        *read({"id": ids[0], "channel_id": THREAD, "guild_id": GUILD}, receiver, "MESSAGE_DELETE").envelopes,
        *read({"ids": ids[1:], "channel_id": THREAD, "guild_id": GUILD}, receiver, "MESSAGE_DELETE_BULK").envelopes,
    ]
    assert [is_deletion_of(deletion, message) for deletion, message in zip(found, messages, strict=True)] == [True] * 3
    assert {it.peer for it in found} == {Peer("group", PLACE, THREAD)}


def test_a_deletion_in_a_direct_message_is_known_by_its_channel() -> None:
    receiver, event = receiver_of(), {"id": ID, "channel_id": DIRECT}
    assert "not known" in ignored(event, receiver, "MESSAGE_DELETE")
    one(said(channel=DIRECT), receiver)
    assert one(event, receiver, "MESSAGE_DELETE").peer == Peer("dm", ALICE)


def test_files_are_known_by_their_message_and_what_is_over_is_forgotten() -> None:
    url = "https://cdn.discordapp.com/attachments/1/7/a.png?ex=1&is=2&hm=3"
    file = {"id": "7", "filename": "a.png", "content_type": "image/png", "size": 9, "url": url}
    voice = {"id": "8", "filename": "voice-message.ogg", "content_type": "audio/ogg", "waveform": "AA=="}
    receiver = receiver_of()
    envelope = one(said("look", channel=DIRECT, attachments=[file, voice]), receiver)
    assert envelope.attachments == (
        Attachment("photo", f"{DIRECT}:{ID}:7", "a.png", "image/png", 9),
        Attachment("voice", f"{DIRECT}:{ID}:8", "voice-message.ogg", "audio/ogg"),
    )
    assert (envelope.caption, envelope.is_own_word) == (True, False)
    assert receiver.addresses == {f"{DIRECT}:{ID}:7": url}
    assert url not in repr(envelope)
    for number in range(2_100):
        one(said(channel=DIRECT, id=id_at(AT, number + 1), attachments=[file]), receiver)
    assert len(receiver.addresses) == 2_000


def test_a_forward_has_the_words_and_files_of_the_first_message_and_decides_nothing() -> None:
    file = {"id": "7", "filename": "a.png", "content_type": "image/png"}
    snapshot = {"message": {"type": 0, "content": "/approve x", "timestamp": EDITED, "attachments": [file], "embeds": []}}
    reference = {"type": 1, "message_id": "1", "channel_id": "2", "guild_id": "3"}
    envelope = one(said("", channel=DIRECT, message_reference=reference, message_snapshots=[snapshot]))
    assert (envelope.text, envelope.forwarded, envelope.reply_to) == ("/approve x", Origin(sent_at=EDITED_AT), None)
    assert [it.ref for it in envelope.attachments] == [f"{DIRECT}:{ID}:7"]
    assert not envelope.is_own_word


def test_stickers_and_polls_are_lines() -> None:
    poll = {"question": {"text": "Lunch?"}, "answers": [{"poll_media": {"text": "yes"}}, {"poll_media": {"text": "no"}}]}
    envelope = one(said("", channel=DIRECT, sticker_items=[{"id": "1", "name": "Wave", "format_type": 1}], poll=poll))
    assert (envelope.text, envelope.described) == ("[sticker: Wave]\n[poll: Lunch? (yes / no)]", True)


def test_names_are_one_short_line() -> None:
    name = "Root\n\u202e<@1> " + "x" * 500
    envelope = one(said(author=user_of(ALICE, name, global_name=None)))
    assert envelope.sender.id == ALICE
    assert envelope.sender.name is not None
    assert "\n" not in envelope.sender.name
    assert len(envelope.sender.name) <= 80
    nick = one(said(member={"nick": "Al", "roles": []})).sender
    assert (nick.name, nick.username) == ("Al", "alice")


def test_what_has_to_be_known_first_is_asked_for_once() -> None:
    receiver = receiver_of(knows=False)
    thread, role = raw(said(channel=THREAD)), raw(said(f"<@&{ROLE}>", channel=THREAD))
    assert receiver.unknown("MESSAGE_CREATE", thread) == Unknown(GUILD, THREAD)
    assert receiver.unknown("MESSAGE_DELETE_BULK", raw({"ids": ["1"], "channel_id": THREAD, "guild_id": GUILD})) is not None
    receiver.dispatch("THREAD_CREATE", raw({"id": THREAD, "type": 11, "parent_id": PLACE, "guild_id": GUILD}))
    assert receiver.unknown("MESSAGE_CREATE", thread) is None
    assert receiver.unknown("MESSAGE_CREATE", role) == Unknown(GUILD)
    receiver.guilds.put_roles(GUILD, [])
    assert receiver.unknown("MESSAGE_CREATE", role) is None
    assert receiver.unknown("MESSAGE_CREATE", raw(said(channel=DIRECT))) is None
    assert receiver.unknown("MESSAGE_CREATE", raw(said(channel="999", author=user_of(BOB, bot=True)))) is None


def test_a_message_from_the_future_does_not_count_as_received() -> None:
    state = DiscordState(NoState())
    receiver = receiver_of(state)
    one(said(id=id_at(NOW + 1_000_000.0), channel=DIRECT), receiver)
    assert state.seen.upto == 0
    one(said(id=id_at(NOW + 60.0), channel=DIRECT), receiver)
    assert state.seen.upto == int(id_at(NOW + 60.0))


texts = st.one_of(st.text(max_size=40), st.sampled_from([f"<@{US}> ", f"<@&{ROLE}>", "<t:99999999999999:R>", "<:a:1>", "/new"]))


@given(texts, st.sampled_from([PLACE, THREAD, DIRECT]), st.sampled_from([{}, replied_to(said("before", user=BOB))]))
def test_one_message_is_one_key_over_the_gateway_a_resume_and_a_history(text: str, channel: str, fields: dict[str, Any]) -> None:
    event = said(text, channel=channel, **fields)
    first, receiver = one(event), receiver_of()
    assert one(event, receiver) == first
    assert one(event, receiver).event_key == first.event_key
    in_history = {name: value for name, value in event.items() if name not in ("guild_id", "member")}
    message = decode_message(raw(in_history))
    (read_back,) = receiver_of().message(replace(message, guild_id=event.get("guild_id")), missed=True).envelopes
    assert read_back == first


NAMES = ("MESSAGE_CREATE", UPDATE, "MESSAGE_DELETE", "MESSAGE_DELETE_BULK", "INTERACTION_CREATE", "READY", "GUILD_CREATE",
         "GUILD_DELETE", "CHANNEL_CREATE", "CHANNEL_UPDATE", "CHANNEL_DELETE", "THREAD_CREATE", "THREAD_UPDATE", "THREAD_DELETE",
         "THREAD_LIST_SYNC", "GUILD_MEMBER_UPDATE", "TYPING_START", "")  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.sampled_from([ID, US, APP]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
interaction = {
    "id": ID,
    "application_id": APP,
    "type": 2,
    "token": "t",
    "channel_id": PLACE,
    "guild_id": GUILD,
    "user": user_of(ALICE),
    "data": {"name": "ask", "type": 1, "options": [{"name": "text", "value": "hi"}]},
}
known = st.sampled_from(
    [said(), said(channel=DIRECT, edited_timestamp=EDITED, **replied_to(said())), interaction, guild_of(), {"ids": [ID]}]
)


@st.composite
def broken(draw: st.DrawFn) -> dict[str, Any]:
    """An event, some of whose fields are missing or are something else."""
    event = dict(draw(known))
    for name in draw(st.lists(st.sampled_from(sorted(event)), max_size=4)):
        if draw(st.booleans()):
            event.pop(name, None)
        else:
            event[name] = draw(json_values)
    return event


@given(st.sampled_from(NAMES), broken() | json_values)
def test_whatever_comes_is_read_or_malformed(name: str, event: Any) -> None:
    receiver = receiver_of()
    receiver.unknown(name, raw(event))
    try:
        found = receiver.dispatch(name, raw(event))
    except Malformed:
        return
    assert (found.ignored is None) == bool(found.envelopes) or name.startswith("MESSAGE_DELETE")
    for envelope in found.envelopes:
        assert envelope.event_key
        assert envelope.peer.id


@given(st.sampled_from(NAMES), st.binary(max_size=60))
def test_what_is_no_json_is_malformed(name: str, data: bytes) -> None:
    try:
        receiver_of().dispatch(name, Raw(data))
    except Malformed:
        return
    assert name in ("", "TYPING_START") or data.strip().startswith((b"{", b"["))
