"""Ids: what is taken is kept as it is by a store, and found again; what is not taken is said in words."""

import sqlite3
from contextlib import closing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewayd.model.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.errors import UnusableId
from gatewayd.model.storable import MAX_ID_BYTES, is_text, refuse_unusable, refuse_unusable_memo, why_unusable

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
}


@pytest.mark.parametrize("name", BAD)
def test_each_id_of_an_envelope_is_looked_at(name: str) -> None:
    refuse_unusable(ENVELOPE)
    with pytest.raises(UnusableId, match=rf"^{name} has "):
        refuse_unusable(BAD[name])


def test_a_memo_is_looked_at() -> None:
    refuse_unusable_memo("offset", "a\0b")
    with pytest.raises(UnusableId, match="key"):
        refuse_unusable_memo("a\0b", "1")
    with pytest.raises(UnusableId, match="value"):
        refuse_unusable_memo("offset", "\udc80")
