"""Ids: what is taken is kept as it is by a store, and found again; what is not taken is said in words."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect
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


def _texts_of(kind: inspect.Type, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every ``str`` in a value of this type. A field with a few words only (``Literal``) is none."""
    match kind:
        case inspect.StrType():
            yield path
        case inspect.UnionType(types):
            for each in types:
                yield from _texts_of(each, path)
        case inspect.StructType():
            for field in kind.fields:
                yield from _texts_of(field.type, (*path, field.encode_name))
        case inspect.VarTupleType(item_type):
            yield from _texts_of(item_type, (*path, 0))
        case inspect.LiteralType() | inspect.BoolType() | inspect.IntType() | inspect.FloatType() | inspect.NoneType():
            pass
        case _:
            raise AssertionError(f"{path}: the walk does not know how to look into {kind}")


def _full(kind: inspect.Type) -> Any:
    """A value of this type, as builtins, with every optional field set and one item in every tuple."""
    match kind:
        case inspect.StrType():
            return "6"
        case inspect.UnionType(types):
            return _full(next(each for each in types if not isinstance(each, inspect.NoneType)))
        case inspect.StructType():
            return {field.encode_name: _full(field.type) for field in kind.fields}
        case inspect.VarTupleType(item_type):
            return [_full(item_type)]
        case inspect.LiteralType(values):
            return values[0]
        case _:
            return 1 if isinstance(kind, inspect.IntType | inspect.FloatType) else False


def _with_half(value: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return "\udc80"
    first, *rest = path
    items = dict(value) if isinstance(value, dict) else list(value)
    items[first] = _with_half(items[first], tuple(rest))
    return items


TYPE = inspect.type_info(InboundEnvelope)
TEXTS = list(_texts_of(TYPE))


def test_there_are_texts_to_look_for() -> None:
    assert {("text",), ("via_bot",), ("peer", "thread"), ("attachments", 0, "mime"), ("forwarded", "id")} <= set(TEXTS)
    refuse_unusable(msgspec.convert(_full(TYPE), InboundEnvelope))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: ".".join(map(str, path)))
def test_every_text_of_an_envelope_is_looked_at(path: tuple[str | int, ...]) -> None:
    """The paths come from the type, so a new field is among them. What is not looked at is not encoded: the store would raise
    something that nobody expects."""
    broken = msgspec.convert(_with_half(_full(TYPE), path), InboundEnvelope)
    with pytest.raises(UnusableId):
        refuse_unusable(broken)
