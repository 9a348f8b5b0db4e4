"""docs/reference/markdown.md is true: each of its examples."""

import re
from pathlib import Path
from typing import get_args

import pytest

from gatewayd.kit.text.markdown import render
from gatewayd.model.message.payload import RichText, SpanKind

PAGE = (Path(__file__).parents[3] / "docs/reference/markdown.md").read_text("utf-8")
BLOCKS = re.findall(r"^(```+)(stays|shown)\n(.*?)\n\1$", PAGE, re.MULTILINE | re.DOTALL)
STAYS = [line for _, kind, body in BLOCKS if kind == "stays" for line in body.splitlines()]
SHOWN = [body for _, kind, body in BLOCKS if kind == "shown"]
FORMATS = "|".join(get_args(SpanKind))


def formats(rich: RichText) -> list[str]:
    return [f"{span.kind}{f' {span.arg}' if span.arg else ''}: {rich.text[span.start : span.end]}" for span in rich.spans]


def test_the_page_has_examples() -> None:
    assert len(STAYS) > 30
    assert len(SHOWN) > 10


@pytest.mark.parametrize("line", STAYS)
def test_what_is_no_markup_stays(line: str) -> None:
    assert render(line) == RichText(line)


@pytest.mark.parametrize("body", SHOWN)
def test_what_is_markup_is_shown(body: str) -> None:
    written, _, below = body.partition("\n-->\n")
    shown, *found = re.split(rf"\n(?=(?:{FORMATS})(?: \S+)?: )", below)
    rich = render(written)
    assert (rich.text, formats(rich)) == (shown, found)


@pytest.mark.parametrize("body", SHOWN)
def test_channels_without_formats_show_the_same_words(body: str) -> None:
    written, _, _ = body.partition("\n-->\n")
    plain = re.sub(r" \(https?://[^\s]*\)", "", render(written, spans=False).text)
    assert plain == render(written).text
