import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.channels.telegram.receiving.inbound import Bot, Receiver, to_inbound
from gatewayd.channels.telegram.wire import ALLOWED_UPDATES, Batch, Update, decode_batch
from gatewayd.kit.json import Malformed, decode

RECEIVER = Receiver("telegram", "main", Bot(424242, "echo_bot"))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
ids = st.integers(-(2**53), 2**53)
users = st.fixed_dictionaries(
    {"id": ids},
    optional={"is_bot": st.booleans(), "first_name": st.text(), "last_name": st.text(), "username": st.text()},
)
chats = st.fixed_dictionaries(
    {"id": ids, "type": st.sampled_from(["private", "group", "supergroup", "channel", "hologram"])}, optional={"title": st.text()}
)
offsets = st.integers(-5, 40)
entities = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["mention", "text_mention", "bot_command", "text_link", "bold", "hologram"]),
            "offset": offsets,
            "length": offsets,
        },
        optional={"url": st.text(), "user": users},
    ),
    max_size=4,
)
media = st.fixed_dictionaries({"file_id": st.text()}, optional={"file_size": ids, "file_name": st.text(), "mime_type": st.text()})
texts = st.text(st.characters(), max_size=30) | st.sampled_from(["/stop@echo_bot now", "hey @echo_bot 😀", "\x00", "\ud83d"])
messages = st.fixed_dictionaries(
    {"message_id": ids, "chat": chats},
    optional={
        "date": ids,
        "edit_date": ids,
        "from": users,
        "sender_chat": chats,
        "message_thread_id": ids,
        "is_topic_message": st.booleans(),
        "reply_to_message": st.fixed_dictionaries({"message_id": ids}, optional={"from": users}),
        "text": texts,
        "entities": entities,
        "caption": texts,
        "caption_entities": entities,
        "photo": st.lists(media, max_size=3),
        "document": media,
        "sticker": media,
        "location": st.just({"latitude": 1.5, "longitude": 2}),
        "new_chat_title": st.text(),
        "rich_message": json_values,
        "unknown": json_values,
    },
)
updates = st.fixed_dictionaries(
    {"update_id": ids},
    optional={
        **dict.fromkeys(("message", "edited_message", "channel_post", "edited_channel_post"), messages),
        "callback_query": st.fixed_dictionaries({"id": st.text(), "from": users}, optional={"message": messages, "data": texts}),
        "my_chat_member": st.fixed_dictionaries({"chat": chats, "from": users, "new_chat_member": st.just({"status": "kicked"})}),
        "hologram_call": json_values,
    },
)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_and_json_give_a_batch_or_malformed(data: bytes) -> None:
    try:
        batch = decode_batch(data)
    except Malformed:
        return
    assert isinstance(batch, Batch)


@given(st.lists(updates | json_values, max_size=5))
def test_every_update_is_read_or_skipped_with_a_reason(items: list[object]) -> None:
    data = json.dumps(items).encode()
    numbers = [item["update_id"] for item in items if isinstance(item, dict) and type(item.get("update_id")) is int]
    try:
        batch = decode_batch(data)
    except Malformed:
        assert items
        assert not numbers
        return
    assert len(batch.updates) + len(batch.skipped) == len(items)
    assert batch.next_offset == (max(numbers) + 1 if numbers else None)
    for update in batch.updates:
        try:
            envelope = to_inbound(update, RECEIVER, received_at=1.0)
        except Malformed:
            continue
        assert (envelope is not None) == any(getattr(update, kind) for kind in ALLOWED_UPDATES)
        if envelope is not None:
            assert envelope.event_key == f"424242:{update.update_id}"
            assert envelope.text or envelope.attachments or envelope.kind in ("button", "membership")
            envelope.text.encode()


def test_a_bad_update_does_not_cost_the_others() -> None:
    good = {"update_id": 7, "message": {"message_id": 1, "date": 1, "chat": {"id": 1, "type": "private"}}}
    batch = decode_batch(
        json.dumps([good, {"update_id": 9, "message": []}, {"update_id": 8, "message": {"message_id": "x"}}, {}]).encode()
    )
    assert [update.update_id for update in batch.updates] == [7, 9, 8]
    assert batch.next_offset == 10
    assert batch.skipped == ("update None: Object missing required field `update_id`",)
    for update in batch.updates[1:]:
        with pytest.raises(Malformed):
            to_inbound(update, RECEIVER, received_at=1.0)


def test_the_offset_may_go_down() -> None:
    """#update: after a week without updates the numbers start anew anywhere."""
    assert decode_batch(b'[{"update_id": 5}]').next_offset == 6
    assert decode_batch(b"[]") == Batch()


def test_updates_without_any_number_are_malformed() -> None:
    with pytest.raises(Malformed, match="without a number"):
        decode_batch(b'[{"message": 1}, 5]')


def test_half_a_surrogate_pair_does_not_cost_the_batch() -> None:
    data = (
        rb'[{"update_id": 1, "message": {"message_id": 1, "date": 1, "text": "a\ud83db", "chat": {"id": 1, "type": "private"}}}]'
    )
    [update] = decode_batch(data).updates
    envelope = to_inbound(update, RECEIVER, received_at=1.0)
    assert envelope is not None
    assert envelope.text == "a\ufffdb"


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b"[" * 100_000, b'{"update_id":1,"x":' + b"[" * 100_000, b'{"update_id":' + b"9" * 5000 + b"}"]
)
def test_hostile_json_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data, Update)
