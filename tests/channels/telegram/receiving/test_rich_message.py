import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gatewayd.channels.telegram.receiving.rich_message import text_of
from tests.channels.telegram.receiving.test_wire import json_values


def read(blocks: object) -> str:
    return text_of(Raw(json.dumps({"blocks": blocks}).encode()))


def test_blocks_become_lines() -> None:
    bold = {"type": "bold", "text": ["b", {"type": "italic", "text": "i"}]}
    assert (
        read(
            [
                {"type": "heading", "text": "Head", "size": 1},
                {
                    "type": "paragraph",
                    "text": ["plain ", bold, {"type": "custom_emoji", "custom_emoji_id": "1", "alternative_text": "😀"}],
                },
                {"type": "divider"},
                {"type": "list", "items": [{"label": "1.", "blocks": [{"type": "paragraph", "text": "one"}]}]},
                {"type": "table", "cells": [[{"text": "a"}, {"text": "b"}], [{"text": "1"}]], "caption": "Table"},
                {"type": "details", "summary": "More", "blocks": [{"type": "paragraph", "text": "inside"}]},
                {"type": "photo", "photo": [], "caption": {"text": "Photo", "credit": "Me"}},
                {"type": "hologram", "shape": {"text": "round"}},
            ]
        )
        == "Head\nplain bi😀\n1.\none\na │ b\n1\nTable\nMore\ninside\nPhoto\nMe"
    )


@pytest.mark.parametrize("blocks", [None, 5, "x", [None, 5], [{"text": None}], [{"text": {"text": 5}}], {}])
def test_odd_blocks_are_harmless(blocks: object) -> None:
    assert isinstance(read(blocks), str)


def test_deep_nesting_ends() -> None:
    deep: object = "bottom"
    for _ in range(300):
        deep = {"type": "bold", "text": deep}
    assert read([{"text": "top"}, {"text": deep}]) == "top"


@given(json_values)
def test_any_json_has_a_text(value: object) -> None:
    assert isinstance(text_of(Raw(json.dumps(value).encode())), str)


@given(st.binary(max_size=40))
def test_any_bytes_have_a_text(data: bytes) -> None:
    assert isinstance(text_of(Raw(data)), str)
