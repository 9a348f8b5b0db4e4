"""Ids: what is taken is kept as it is by a store, and found again; what is not taken is said in words."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewayd.model.errors import UnusableId
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Origin, Peer, Sender
from gatewayd.model.records.storable import MAX_ID_BYTES, is_text, refuse_unusable, refuse_unusable_state, why_unusable

ENVELOPE = InboundEnvelope("chat", "main", "1", "message", Peer("group", "7", "9"), Sender("8", "Ann", "ann"), "hello")
ANY = st.text(st.characters(exclude_categories=()), max_size=8) | st.text(st.sampled_from("aé😀\0\udc80"), max_size=1200)


@given(ANY)
def test_what_is_taken_is_kept_as_it_is(text: str) -> None:
    if why_unusable(text) is not None:
        assert "\0" in text or not is_text(text) or len(text.encode()) > MAX_ID_BYTES
        return
    assert len(text.encode()) <= MAX_ID_BYTES
    assert msgspec.json.decode(msgspec.json.encode(text)) == text
    with closing(sqlite3.connect(":memory:")) as connection:
        assert connection.execute("SELECT ?, length(?)", (text, text)).fetchone() == (text, len(text))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x" * MAX_ID_BYTES, None),
        ("x" * (MAX_ID_BYTES + 1), f"has {MAX_ID_BYTES + 1} bytes, more than {MAX_ID_BYTES}"),
        ("é" * (MAX_ID_BYTES // 2), None),
        ("é" * (MAX_ID_BYTES // 2 + 1), f"has {MAX_ID_BYTES + 2} bytes, more than {MAX_ID_BYTES}"),
        ("a\0b", "has a NUL character"),
        ("é\0", "has a NUL character"),
        ("\ud83d", "has half a surrogate pair"),
        ("", None),
    ],
)
def test_why_an_id_is_not_taken(text: str, why: str | None) -> None:
    assert why_unusable(text) == why


FIELDS = ("channel", "account", "event_key", "message_id", "reply_to", "guild", "team", "press", "via", "formerly")
BAD = {
    **{name: replace(ENVELOPE, **{name: "a\0b"}) for name in FIELDS},
    "peer.id": replace(ENVELOPE, peer=Peer("dm", "a\0b")),
    "peer.thread": replace(ENVELOPE, peer=Peer("dm", "7", "a\0b")),
    "sender.id": replace(ENVELOPE, sender=Sender("a\0b")),
    "sender.name": replace(ENVELOPE, sender=Sender("8", "\udc80")),
    "username": replace(ENVELOPE, sender=Sender("8", username="\udc80")),
    "text": replace(ENVELOPE, text="\udc80"),
    "via_bot": replace(ENVELOPE, via_bot="\udc80"),
    "ref": replace(ENVELOPE, attachments=(Attachment("photo", "\udc80"),)),
    "name": replace(ENVELOPE, attachments=(Attachment("photo", "1", "\udc80"),)),
    "mime": replace(ENVELOPE, attachments=(Attachment("photo", "1", mime="\udc80"),)),
    "forwarded.name": replace(ENVELOPE, forwarded=Origin("\udc80")),
    "forwarded.id": replace(ENVELOPE, forwarded=Origin(id="\udc80")),
}


@pytest.mark.parametrize("name", BAD)
def test_each_id_of_an_envelope_is_looked_at(name: str) -> None:
    refuse_unusable(ENVELOPE)
    with pytest.raises(UnusableId, match=rf"^{name} has "):
        refuse_unusable(BAD[name])


def test_state_is_checked() -> None:
    refuse_unusable_state("offset", "a\0b")
    with pytest.raises(UnusableId, match="key"):
        refuse_unusable_state("a\0b", "1")
    with pytest.raises(UnusableId, match="value"):
        refuse_unusable_state("offset", "\udc80")


def test_every_text_of_an_envelope_is_looked_at() -> None:
    """What is not looked at is not encoded: the store would raise something that nobody expects."""
    whole = replace(ENVELOPE, attachments=(Attachment("photo", "1", "2", "3"),), forwarded=Origin("4", "5"))
    given = msgspec.to_builtins(replace(whole, **dict.fromkeys(["via_bot", *FIELDS[3:]], "6")))
    for path in _texts_in(given):
        if path[-1] == "kind":
            continue  # one of some words
        broken = _with_half(given, path)
        with pytest.raises(UnusableId):
            refuse_unusable(msgspec.convert(broken, InboundEnvelope))


def _texts_in(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts_in(each, (*path, key))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _texts_in(each, (*path, number))


def _with_half(value: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return "\udc80"
    first, *rest = path
    items = dict(value) if isinstance(value, dict) else list(value)
    items[first] = _with_half(items[first], tuple(rest))
    return items
