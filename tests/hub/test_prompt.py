"""The prompt says who and where, and nobody can forge that by choosing a name."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.hub.prompt import render_prompt
from gatewayd.model.envelope import Attachment, InboundEnvelope, Peer, Sender


def envelope(text: str = "hello", **changes: object) -> InboundEnvelope:
    fields: dict[str, object] = {
        "channel": "telegram",
        "account": "main",
        "event_key": "1",
        "kind": "message",
        "peer": Peer("group", "-100", "7"),
        "sender": Sender("42", "Alice", "alice"),
        "text": text,
        "sent_at": 1_700_000_000.0,
    }
    return InboundEnvelope(**(fields | changes))  # type: ignore[arg-type]


def test_header_text_and_attachments() -> None:
    photo = Attachment("photo", "AgAC", mime="image/jpeg", size_bytes=1234)
    assert render_prompt([envelope(attachments=(photo,))]) == (
        "[telegram/main group -100 thread 7, from Alice (@alice), 2023-11-14 22:13 UTC]\n"
        "hello\n"
        "[attachment: photo, image/jpeg, 1234 bytes; ref AgAC]"
    )


def test_several_messages_are_apart() -> None:
    first, second = render_prompt([envelope("one"), envelope("two", kind="edit")]).split("\n\n")
    assert first.endswith("\none")
    assert ", edited]\ntwo" in second


@given(st.text())
def test_a_name_stays_inside_its_header(name: str) -> None:
    lines = render_prompt([envelope("text", sender=Sender("42", name))]).split("\n")
    assert lines[1:] == ["text"]
    assert lines[0].count("[") == lines[0].count("]") == 1
    assert len(lines[0]) < 200


@pytest.mark.parametrize("sent_at", [1e30, -1e30, math.nan, math.inf])
def test_a_time_that_is_none_is_not_told(sent_at: float) -> None:
    assert "2023-11-14 22:13 UTC" in render_prompt([envelope(sent_at=sent_at, received_at=1_700_000_000.0)])
    assert "at an unknown time" in render_prompt([envelope(sent_at=sent_at)])
