import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gatewayd.channels.slack.wire.frames import (
    Callback,
    ConnectionInfo,
    Frame,
    acknowledgement,
    decode_callback,
    decode_frame,
    is_rate_limited,
)
from gatewayd.kit.json import Malformed

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
FIELDS = ["type", "envelope_id", "payload", "retry_attempt", "retry_reason", "num_connections", "connection_info", "reason"]

# Slack, "Using Socket Mode"; the retry fields as in slackapi/bolt-js issue 2487.
HELLO = {
    "type": "hello",
    "connection_info": {"app_id": "A1234"},
    "num_connections": 1,
    "debug_info": {
        "host": "applink-1",
        "started": "2020-10-11 12:12:12.120",
        "build_number": 54,
        "approximate_connection_time": 3600,
    },
}
EVENT = {
    "payload": {"type": "event_callback", "event": {"type": "app_mention"}},
    "envelope_id": "dbdd0ef3-1543-4f94-bfb4-133d0e6c1545",
    "type": "events_api",
    "accepts_response_payload": False,
    "retry_attempt": 1,
    "retry_reason": "timeout",
}


def test_the_frames_of_the_guide() -> None:
    assert decode_frame(json.dumps(HELLO)) == Frame("hello", num_connections=1, connection_info=ConnectionInfo("A1234"))
    warning = {"type": "disconnect", "reason": "warning", "debug_info": {"host": "wss-111.slack.com"}}
    assert decode_frame(json.dumps(warning)) == Frame("disconnect", reason="warning")
    frame = decode_frame(json.dumps(EVENT).encode())
    assert (frame.type, frame.envelope_id) == ("events_api", EVENT["envelope_id"])
    assert (frame.retry_attempt, frame.retry_reason) == (1, "timeout")
    assert json.loads(bytes(frame.payload)) == EVENT["payload"]


@given(st.dictionaries(st.sampled_from(FIELDS), json_values), json_values)
def test_any_json_is_a_frame_or_malformed(fields: dict[str, Any], other: Any) -> None:
    """A field of another type than it should have is left out, but for the type of the frame."""
    for value in (fields, other):
        try:
            frame = decode_frame(json.dumps(value))
        except Malformed:
            assert not isinstance(value, dict) or not isinstance(value.get("type"), str)
        else:
            assert frame.type == value["type"].encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_are_a_frame_or_malformed(data: bytes | str) -> None:
    with suppress(Malformed):
        assert isinstance(decode_frame(data), Frame)


@given(st.integers(0, len(json.dumps(EVENT)) - 1))
def test_a_frame_that_is_cut_is_malformed(length: int) -> None:
    with pytest.raises(Malformed):
        decode_frame(json.dumps(EVENT)[:length])


@given(st.text())
def test_an_acknowledgement_is_the_id_alone(envelope_id: str) -> None:
    assert json.loads(acknowledgement(envelope_id)) == {"envelope_id": envelope_id}


def test_a_rate_limit_is_not_a_message_about_one() -> None:
    assert is_rate_limited(Raw(b'{"type": "app_rate_limited", "minute_rate_limited": 1518467820}'))
    assert not is_rate_limited(Raw(b'{"type": "event_callback", "event": {"text": "app_rate_limited"}}'))
    assert not is_rate_limited(Raw(b'{"type": "event_callback"}'))


def test_the_head_of_a_callback() -> None:
    assert decode_callback(b'{"type": "url_verification", "challenge": "abc", "token": "x"}') == Callback(
        "url_verification", challenge="abc"
    )
    assert decode_callback(b'{"type": 1, "api_app_id": 2}') == Callback()
    with pytest.raises(Malformed):
        decode_callback(b"[]")
