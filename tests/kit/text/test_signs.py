"""Signs anywhere between letters of any script: what is no markup stays, what is markup loses its markers alone."""

import re
import sys
from collections.abc import Callable
from functools import partial
from html import unescape

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gatewayd.kit.html import markdown_to_html
from gatewayd.kit.text import compose
from gatewayd.kit.text.markdown import render
from gatewayd.kit.text.parser import parse
from gatewayd.kit.text.sanitise import is_blank, sanitise
from gatewayd.model.message.payload import RichText, Span, SpanKind
from gatewayd.ports.channel import TextFormat, TextLimit
from tests.kit.text.texts import limits, texts

SIGNS = "*_~`[]\\|>#$"
LATIN, OTHER = "a1", "中א😀"
sprinkled = st.lists(st.sampled_from([*SIGNS, *LATIN, *OTHER, " ", "**"]), max_size=30).map(
    lambda parts: ("a" + "".join(parts)).rstrip()
)

# The rule once more, for these characters only: what may stand outside and inside of one marker, and of two.
OUTSIDE_ONE, BEFORE_ONE, INSIDE_ONE, INSIDE_LAST = " |>*_~" + OTHER, "[", "[#$*_~\\`" + LATIN + OTHER, "]>#*_~`" + LATIN + OTHER


def may_open(length: int, before: str, after: str) -> bool:
    if length == 1:
        return before in OUTSIDE_ONE + BEFORE_ONE and after in INSIDE_ONE
    return after not in " ]" and not (before in LATIN and after in SIGNS)


def may_close(length: int, before: str, after: str) -> bool:
    if length == 1:
        return before in INSIDE_LAST and after in OUTSIDE_ONE + "]`"
    return before not in " [\\" and not (before in SIGNS and after in LATIN)


def may_have_emphasis(text: str) -> bool:
    """Whether any two runs of one sign could be a pair."""
    padded = f" {text} "
    runs = [
        (run.group()[0], 1 if run.group()[0] == "_" else len(run.group()), padded[run.start() - 1], padded[run.end()])
        for run in re.finditer(r"\*+|_+|~+", padded)
    ]
    return any(
        opener[0] == closer[0]
        and may_open(*opener[1:])
        and may_close(*closer[1:])
        and not {opener[2], opener[3]} | {closer[2], closer[3]} <= set(LATIN)
        for at, opener in enumerate(runs)
        for closer in runs[at + 1 :]
    )


@example("a*1*a_a__a~~a~a**1**a")
@example("a中*א*中 _中_a")
@given(sprinkled)
def test_signs_that_are_no_markup_stay(text: str) -> None:
    assume(text.count("`") < 2 and not re.search(r"\\([*_~`]|\$1)", text) and not may_have_emphasis(text))
    assert render(text) == RichText(text)


@given(sprinkled)
def test_nothing_but_markers_goes(text: str) -> None:
    """And those that stay are in their order: without markers (and the spaces inside of backticks) both are the same."""
    markers = re.compile(r"[*_~`\\ ]")
    assert markers.sub("", render(text).text) == markers.sub("", text)


def letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


@given(texts, limits)
def test_no_letter_is_lost_not_even_by_splitting(text: str, limit: TextLimit) -> None:
    """Links and languages of code apart, whose letters are in the spans."""
    text = sanitise(re.sub(r"\]\(|```\w*", "", text))
    formats: tuple[TextFormat, ...] = ("rich", "plain", "markdown")
    for text_format in formats:
        pieces = compose(text, text_format=text_format, text_limit=limit)
        assert "".join(letters(piece.text) for piece in pieces) == ("" if is_blank(text) else letters(text))


WORDS = (
    "a",
    "two words",
    "1",
    "中文",
    "שלום",
    "مرحبا",
    "👋 hi",
    "「A」",
    "(x)",
    "한국어:",
    "C#",
    "e\u0301",
    "ไทย",
    "हिन्दी",
    "x_y_z",
    "2*3*4",
)
MARKED: dict[str, SpanKind] = {"**": "bold", "*": "italic", "_": "italic", "~~": "strike"}


@given(st.lists(st.tuples(st.sampled_from(["", *MARKED]), st.sampled_from(WORDS)), min_size=1, max_size=12))
def test_what_is_marked_is_formatted_in_every_script(parts: list[tuple[str, str]]) -> None:
    shown, spans = "", []
    for marker, word in parts:
        at = len(shown)
        shown += word + " "
        spans += [Span(MARKED[marker], at, at + len(word))] if marker else []
    written = "".join(f"{marker}{word}{marker} " for marker, word in parts)
    assert render("= " + written + "=") == RichText(
        "= " + shown + "=", tuple(Span(span.kind, span.start + 2, span.end + 2) for span in spans)
    )


TIGHT = ("中", "文。", "」", "א", "ب", "ไ", "한", "🎉", "한국어")


@given(st.sampled_from(TIGHT), st.sampled_from(["**", "~~"]), st.sampled_from(WORDS), st.sampled_from(TIGHT))
def test_other_scripts_need_no_space_around_what_is_marked(before: str, marker: str, word: str, after: str) -> None:
    rich = render(before + marker + word + marker + after)
    assert rich == RichText(before + word + after, (Span(MARKED[marker], len(before), len(before + word)),))


urls = st.text("ab1*_~%&;=/?#.,-!$'中", min_size=1, max_size=20).map(lambda rest: "https://e.org/" + rest)


def hrefs(html: str) -> list[str]:
    return [unescape(href) for href in re.findall('href="([^"]*)"', html)]


@given(urls, st.sampled_from(["[t]({})", "<{}>", "![t]({})", "a [**t**](<{}>) b"]))
def test_a_link_leads_where_it_was_written(url: str, form: str) -> None:
    [target] = [span.arg for span in render(form.format(url)).spans if span.kind == "link"]
    assert target == url
    assert hrefs(markdown_to_html(form.format(url))) == [url]


@given(urls.filter(lambda url: "**" not in url and url[-1] not in ".,!';?*_~"))
def test_an_address_in_a_text_is_a_link_to_itself(url: str) -> None:
    assert render(f"see {url} (or {url}), {url}。").text == f"see {url} (or {url}), {url}。"
    assert hrefs(markdown_to_html(f"see {url} (or {url}), {url}。")) == [url] * 3


REPEATED = [
    *SIGNS,
    *(
        "**a ",
        "*a",
        "a*",
        "_a_ ",
        "[a](",
        "$a ",
        "\\(",
        "\\[",
        "`a",
        "`a ` ",
        "<a ",
        "<a b=",
        "://",
        "a://b_ ",
        "C:\\ ",
        "..\\a b ",
        "![",
    ),
    *(
        "a|b\n-|-\n",
        "a|b\n-|-\n1|2|3\n",
        "~~~\n",
        "\\*",
        "__a",
        "¯",
        "(*a)",
        "*(",
        "> ",
        "- ",
        "\\[\n",
        "$$\n",
        "https://x/)",
        "#\n",
    ),
]


def calls_of(work: Callable[[], object]) -> int:
    """How many functions, of Python and of C, it calls."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("part", REPEATED)
def test_twice_the_text_takes_twice_the_steps(part: str) -> None:
    text = part * 800
    small, large = calls_of(partial(parse, text[:400])), calls_of(partial(parse, text[:800]))
    assert large <= 2.3 * small + 200
