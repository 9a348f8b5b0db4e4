"""Whatever Slack sends again, in whatever order and mixture: one message, and its true edits."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.kit.json import Malformed
from gatewayd.model.message.envelope import InboundEnvelope
from tests.channels.slack.receiving.reading import PLACE, TEAM, TS, US, callback, changed, edited, mention, receiver_of, said
from tests.channels.slack.receiving.test_inbound import FILE, SHARED, TOUCHES

WORDS = f"<@{US}> what is this?"
FIRST, SECOND = "1700000010.000000", "1700000020.000000"

message: dict[str, Any] = said(WORDS)
once_edited: dict[str, Any] = {**message, "text": f"<@{US}> what was this?", "edited": {"user": message["user"], "ts": FIRST}}
twice_edited: dict[str, Any] = {
    **once_edited,
    "text": f"<@{US}> who was this?",
    "edited": {"user": message["user"], "ts": SECOND},
}
KEY = f"{TEAM}:{PLACE}:{TS}"
TEXTS = {KEY: "what is this?", f"{KEY}:{FIRST}": "what was this?", f"{KEY}:{SECOND}": "who was this?"}

EVENTS: list[dict[str, Any]] = [
    message,
    mention(WORDS),
    edited(message, str(once_edited["text"]), at=FIRST),
    mention(once_edited["text"], edited=once_edited["edited"]),
    edited(once_edited, twice_edited["text"], at=SECOND),
    mention(twice_edited["text"], edited=twice_edited["edited"]),
    *(changed(it, {**it, **touch}) for it in (message, once_edited, twice_edited) for touch in TOUCHES),
    {"type": "message", "message": message, "hidden": True, "channel": PLACE, "ts": SECOND},
]


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 9)), min_size=1, max_size=30))
def test_redelivered_events_in_any_order_give_one_message_and_its_true_edits(sent: list[tuple[dict[str, Any], int]]) -> None:
    receiver, seen = receiver_of(), dict[str, InboundEnvelope]()
    for event, number in sent:
        found = receiver.event(callback(event, event_id=f"Ev{number}"))
        for envelope in found.envelopes:
            assert seen.setdefault(envelope.event_key, envelope) == envelope
    assert {key: envelope.text for key, envelope in seen.items()}.items() <= TEXTS.items()
    assert all((envelope.kind == "message") == (key == KEY) for key, envelope in seen.items())
    places = {(envelope.peer, envelope.addressed, envelope.message_id) for envelope in seen.values()}
    assert len(places) <= 1
    assert (KEY in seen) == any(event in (message, mention(WORDS)) for event, _ in sent)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
shared = said("see", files=[FILE], attachments=[SHARED], thread_ts="1699999999.000100", parent_user_id=US, user_profile={})
reaction = {
    "type": "reaction_added",
    "user": "U0BOB",
    "reaction": "+1",
    "item": {"type": "message", "channel": PLACE, "ts": TS},
    "event_ts": FIRST,
}
whole = st.sampled_from(
    [message, mention(WORDS), shared, EVENTS[2], {**EVENTS[2], "subtype": "message_deleted", "deleted_ts": TS}, reaction]
)


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, Any]:
    """An event with any value in place of one of its fields, at any depth."""
    return dict(_spoil(draw, draw(whole)))


def _spoil(draw: st.DrawFn, value: Any) -> Any:
    """Half of the time here, otherwise deeper."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: _spoil(draw, value[key])}
    if isinstance(value, list) and value and draw(st.booleans()):
        return [_spoil(draw, value[0]), *value[1:]]
    return draw(json_values.filter(lambda it: isinstance(it, dict))) if isinstance(value, dict) else draw(json_values)


@given(spoilt())
def test_any_value_in_place_of_any_field_is_read_or_malformed(event: dict[str, Any]) -> None:
    try:
        found = receiver_of().event(callback(event))
    except Malformed:
        return
    assert bool(found.envelopes) == (found.ignored is None)
    for envelope in found.envelopes:
        for given_id in (
            envelope.event_key,
            envelope.peer.id,
            envelope.sender.id,
            envelope.message_id or "",
            envelope.team or "",
        ):
            assert "\x00" not in given_id
            assert len(given_id.encode()) < 2_000


@given(
    st.dictionaries(st.sampled_from(sorted(["type", "team_id", "authorizations", "event", "is_ext_shared_channel"])), json_values)
)
def test_any_value_around_an_event_is_read_or_malformed(fields: dict[str, Any]) -> None:
    try:
        found = receiver_of().event(callback(message, **fields))
    except Malformed:
        return
    assert bool(found.envelopes) == (found.ignored is None)


@given(st.binary(max_size=200))
def test_any_bytes_are_malformed(data: bytes) -> None:
    try:
        found = receiver_of().event(data)
    except Malformed:
        return
    assert found.ignored is not None
