"""Texts: no line is too long, none ends early, nothing is lost, and nothing in them is a command."""

import pytest
from gatewayd_irc.text import SHORTEST_ROOM, ctcp_of, lines_of, plain, spoken_to, wire_size
from gatewayd_irc.wire import Support
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayd.kit.text import is_blank
from gatewayd.model.message.payload import RichText, Span, SpanKind

KINDS: tuple[SpanKind, ...] = ("bold", "italic", "strike", "code", "pre", "quote")
UNWRITABLE = frozenset([*map(chr, range(32)), "\x7f"])
fold = Support().fold


@st.composite
def bodies(draw: st.DrawFn) -> RichText:
    text = draw(
        st.text(st.sampled_from("aé😀 \n\t\0\x01\x02\x03\r1,") | st.characters(blacklist_categories=["Cs"]), max_size=400)
    )
    ends = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    spans = [Span(draw(st.sampled_from(KINDS)), start, end) for start, end in zip(ends[::2], ends[1::2], strict=False)]
    return RichText(text, tuple(span for span in spans if span.start < span.end))


def visible_in(text: str) -> str:
    """Without what a reader does not see, and without what no line may have."""
    return "".join(char for char in text if not is_blank(char) and char not in UNWRITABLE)


@given(bodies(), st.integers(SHORTEST_ROOM, 480))
@example(RichText("😀" * 300, (Span("bold", 0, 300),)), SHORTEST_ROOM)
def test_each_line_fits_and_nothing_is_lost(body: RichText, room: int) -> None:
    lines = lines_of(body, room)
    for line in lines:
        assert len(line.encode()) <= room  # and so no code point is cut
        assert not set(line) & set("\r\n\0\x01")
        assert not is_blank(line)
    quotes = any(span.kind == "quote" for span in body.spans)
    shown = "".join(plain(line.removeprefix("> ") if quotes else line) for line in lines)
    if quotes:
        shown, expected = shown.replace(">", ""), body.text.replace(">", "")
    else:
        expected = body.text
    assert visible_in(shown) == visible_in(expected)


@given(bodies())
def test_the_size_is_that_of_the_lines(body: RichText) -> None:
    lines = lines_of(body, 100_000)
    assert wire_size(body) >= len("\n".join(lines).encode())


def test_the_size_counts_formats_addresses_and_quotes() -> None:
    assert wire_size(RichText("a😀")) == 5
    assert wire_size(RichText("ab", (Span("bold", 0, 1),))) == 4
    assert wire_size(RichText("ab", (Span("link", 0, 1, "x:y"),))) == len("a (x:y)b")
    assert wire_size(RichText("ab\ncd", (Span("quote", 0, 5),))) == len("> ab\n> cd")


def test_lines_and_paragraphs_are_lines() -> None:
    assert lines_of(RichText("one\n\n  two  \n \nthree"), 400) == ["one", "  two", "three"]


def test_formats_are_switches_on_each_line() -> None:
    body = RichText("a bold\nb code", (Span("bold", 2, 8), Span("code", 9, 13), Span("pre", 7, 13)))
    assert lines_of(body, 400) == ["a \x02bold\x02", "\x02\x11b\x02 code\x11"]


def test_a_link_has_its_address() -> None:
    body = RichText("see here, and https://b.example", (Span("link", 4, 8, "https://a.example"), Span("bold", 4, 8)))
    assert lines_of(body, 400) == ["see \x02here\x02 (https://a.example), and https://b.example"]
    plain_link = RichText("https://b.example", (Span("link", 0, 17, "https://b.example"),))
    assert lines_of(plain_link, 400) == ["https://b.example"]


def test_an_address_cannot_end_the_line() -> None:
    assert lines_of(RichText("a", (Span("link", 0, 1, "x:\r\nQUIT \x01y"),)), 400) == ["a (x:QUITy)"]


@pytest.mark.parametrize("text", ["\x01VERSION\x01", "a\x01ACTION x\x01", "\r\nQUIT", "\0\x01DCC SEND\x01"])
def test_no_text_is_a_ctcp_or_a_command(text: str) -> None:
    [line] = lines_of(RichText(text), 400)
    assert ctcp_of(line) is None
    assert not set(line) & set("\x00\x01\r\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x02bold\x02 \x1ditalic\x0f", "bold italic"),
        ("\x0304,12red\x03 \x034x \x03,1", "red x ,1"),
        ("\x04ff0000,00ff00red\x04", "red"),
        ("\x11code\x11\x16\x1e\x1f\x07", "code"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_formats_are_taken_off(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text())
def test_what_is_plain_controls_nothing(text: str) -> None:
    assert not set(plain(text)) & (set(map(chr, range(32))) - {"\t"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x01ACTION waves\x01", ("ACTION", "waves")),
        ("\x01action waves", ("ACTION", "waves")),
        ("\x01VERSION\x01", ("VERSION", "")),
        ("no \x01VERSION\x01", None),
        ("", None),
    ],
)
def test_a_ctcp(text: str, expected: tuple[str, str] | None) -> None:
    assert ctcp_of(text) == expected


@pytest.mark.parametrize(
    ("text", "is_spoken_to", "rest"),
    [
        ("bot: hello", True, "hello"),
        ("Bot, hello", True, "hello"),
        ("@bot hello", True, "hello"),
        ("@bot: hello", True, "hello"),
        ("bot: /stop", True, "/stop"),
        ("/stop@bot now", True, "/stop now"),
        ("/stop@bots now", False, "/stop@bots now"),
        ("/stop@other", False, "/stop@other"),
        ("hello bot, how are you?", True, "hello bot, how are you?"),
        ("ask @bot about it", True, "ask @bot about it"),
        ("(@bot)", True, "(@bot)"),
        ("the bot is down", False, "the bot is down"),
        ("robot: hello", False, "robot: hello"),
        ("bots, hello", False, "bots, hello"),
        ("me@bot.example", False, "me@bot.example"),
        ("@bot_ hello", False, "@bot_ hello"),
        ("@bot|away hello", False, "@bot|away hello"),
        ("bot:", True, "bot:"),
        ("", False, ""),
    ],
)
def test_who_is_spoken_to(text: str, is_spoken_to: bool, rest: str) -> None:
    assert spoken_to(text, "bot", fold) == (is_spoken_to, rest)


def test_a_nick_with_signs_is_spoken_to() -> None:
    assert spoken_to("b{o}t|: x", "b[o]t\\", fold) == (True, "x")
    assert spoken_to("bxot: x", "b.ot", fold) == (False, "bxot: x")


@given(st.text(), st.sampled_from(["bot", "b[o]t", "a-b"]))
def test_any_text_is_judged(text: str, nick: str) -> None:
    is_spoken_to, rest = spoken_to(text, nick, fold)
    assert is_spoken_to or rest == text
    assert spoken_to(f"{nick}: {text}", nick, fold)[0]
