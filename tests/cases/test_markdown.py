"""Replies whose signs were taken for markup, or whose markup was taken for signs (docs/reference/markdown.md)."""

import re
from html import unescape
from typing import Any

import pytest

from gatewayd.kit.html import markdown_to_html
from gatewayd.kit.text import compose
from gatewayd.model.message.payload import RichText
from tests.cases import cases

# What ``right`` says in words: the text that is shown (None: the one that was written), and its formats.
RIGHT: dict[str, tuple[str | None, list[tuple[str, str]]]] = {
    "40-md-cjk-emphasis": (
        "重要：请先备份。「A」なので「B」です。중요(필수):입니다.",
        [("bold", "重要："), ("bold", "「A」"), ("bold", "「B」"), ("bold", "중요(필수):")],
    ),
    "41-md-bare-url": (None, []),
    "42-md-latex": (None, []),
    "43-md-backslashes-and-dunders": (None, []),
}


def formats(rich: RichText) -> list[tuple[str, str]]:
    return [(span.kind, rich.text[span.start : span.end]) for span in rich.spans]


def test_each_case_has_its_right_outcome() -> None:
    assert {name for name, _ in cases("markdown")} == set(RIGHT)


@pytest.mark.parametrize(("name", "case"), cases("markdown"))
def test_it_is_shown_as_it_was_meant(name: str, case: dict[str, Any]) -> None:
    shown, formatted = RIGHT[name]
    shown = case["markdown"] if shown is None else shown
    [rich] = compose(case["markdown"], text_format="rich", text_limit=None)
    assert (rich.text, formats(rich)) == (shown, formatted)
    assert compose(case["markdown"], text_format="plain", text_limit=None) == [RichText(shown)]
    html = markdown_to_html(case["markdown"])
    assert unescape(re.sub("<[^>]*>", "", html)) == f"{shown}\n"
    assert re.findall("<strong>([^<]*)", html) == [words for _, words in formatted]
