import subprocess
import sys

import pytest
from hypothesis import given

from gatewayd.kit.text.markdown import MAX_MARKDOWN, align, is_live, render, width_of
from gatewayd.kit.text.sanitise import sanitise
from gatewayd.model.message.payload import RichText
from tests.kit.text.texts import texts


def formats(rich: RichText) -> list[tuple[str, str | None, str]]:
    return [(span.kind, span.arg, rich.text[span.start : span.end]) for span in rich.spans]


TITLED: list[tuple[str, str | None, str]] = [("link", "https://e.org", "t"), ("link", "https://e.org/i", "p")]


@pytest.mark.parametrize(
    ("markdown", "text", "spans"),
    [
        ("plain", "plain", []),
        ("one\ntwo  \nthree\\\nfour", "one\ntwo\nthree\nfour", []),
        ("one\n\n\n\ntwo", "one\n\ntwo", []),
        (
            "**b** *i* ~~s~~ `c`",
            "b i s c",
            [("bold", None, "b"), ("italic", None, "i"), ("strike", None, "s"), ("code", None, "c")],
        ),
        ("**b *i* b**", "b i b", [("bold", None, "b i b"), ("italic", None, "i")]),
        ("# Head **line**\ntext", "Head line\n\ntext", [("bold", None, "Head line")]),
        ("```py x\na = 1\n\nb\n```\nend", "a = 1\n\nb\n\nend", [("pre", "py", "a = 1\n\nb")]),
        ("```\nnever closed", "never closed", [("pre", None, "never closed")]),
        ("    indented", "indented", [("pre", None, "indented")]),
        ("> quote\n> more\n\nafter", "quote\nmore\n\nafter", [("quote", None, "quote\nmore")]),
        ("> a\n> > b", "a\n\nb", [("quote", None, "a\n\nb")]),
        ("- a\n- b\n  - c\n\nend", "• a\n• b\n  • c\n\nend", []),
        ("3. a\n4. b", "3. a\n4. b", []),
        ("- a\n\n  b\n- c", "• a\n  b\n• c", []),
        ("- a\n  ```\n  x\n  y\n  ```", "• a\n  x\ny", [("pre", None, "x\ny")]),
        ("a\n\n---\n\nb", "a\n\n———\n\nb", []),
        ("<b>&lt;x&gt;</b>", "<b>&lt;x&gt;</b>", []),
        (r"\*not\* a_b_c 2*3*4", "*not* a_b_c 2*3*4", []),
        ("[t](https://e.org/?a=1&b=2)", "t", [("link", "https://e.org/?a=1&b=2", "t")]),
        ("<https://e.org>", "https://e.org", [("link", "https://e.org", "https://e.org")]),
        ("[t](TG://user?id=1)", "t", [("link", "TG://user?id=1", "t")]),
        ("![alt](https://e.org/i.png)", "alt", [("link", "https://e.org/i.png", "alt")]),
        ("![](https://e.org/i.png)", "https://e.org/i.png", [("link", "https://e.org/i.png", "https://e.org/i.png")]),
        ("[![alt](https://e.org/i)](https://e.org)", "alt", [("link", "https://e.org", "alt")]),
        ("[x](javascript:alert(1))", "x (javascript:alert(1))", []),
        ("[x](src/a.py)", "x (src/a.py)", []),
        ("[me](mailto:a@b.org) <c@d.org>", "me (a@b.org) c@d.org", []),
        ("[x](http:foo)", "x (http:foo)", []),
        ("| a | b |\n|---|--:|\n| 漢 | **1** |", "a  │ b\n───┼──\n漢 │ 1", [("pre", None, "a  │ b\n───┼──\n漢 │ 1")]),
        ("[a]: https://e.org", "[a]: https://e.org", []),
        ('[t](https://e.org "title") ![p](https://e.org/i "title")', "t (title) p (title)", TITLED),
        ("```计算 x\ny\n```", "计算 x\ny", [("pre", None, "计算 x\ny")]),
        ("| a |\n|---|\n| 1 | 2 |", "a\n─────\n1 | 2", [("pre", None, "a\n─────\n1 | 2")]),
        ("a|b\n-|-\n`|`|`|", "a │ b\n──┼──\n| │ `", [("pre", None, "a │ b\n──┼──\n| │ `")]),
        ("`- ` and `a`s", "-  and as", [("code", None, "- "), ("code", None, "a")]),
        ("a\n#\nb\n-\nc", "a\n#\nb\n-\nc", []),
        ("\\[\nx = a \\\\\n- y\n\\]", "\\[\nx = a \\\\\n- y\n\\]", []),
        ("$$\n- y\n$$", "$$\n- y\n$$", []),
        ("\\[\n- y", "\\[\n\n• y", []),
        ("~~~\na*b*\n~~~", "a*b*", [("pre", None, "a*b*")]),
        (" /\\_/\\\n( o.o )", " /\\_/\\\n( o.o )", []),
        ("**a `b**` c", "**a b** c", [("code", None, "b**")]),
        ("[**a](https://e.org) b**", "**a b**", [("link", "https://e.org", "**a")]),
    ],
)
def test_render(markdown: str, text: str, spans: list[tuple[str, str | None, str]]) -> None:
    rich = render(markdown)
    assert rich.text == text
    assert formats(rich) == spans


def test_without_spans_every_target_is_written_out() -> None:
    rich = render("**b** [t](https://e.org) <https://e.org> ![i](https://e.org/i)", spans=False)
    assert rich == RichText("b t (https://e.org) https://e.org i (https://e.org/i)")


@given(texts)
def test_any_text_renders_and_its_spans_nest(text: str) -> None:
    rich = render(sanitise(text))
    open_ends = [len(rich.text)]
    for span in rich.spans:
        assert 0 <= span.start < span.end <= len(rich.text)
        while span.start >= open_ends[-1] and len(open_ends) > 1:
            open_ends.pop()
        assert span.end <= open_ends[-1], "crosses another span"
        assert span.kind != "link" or (span.arg is not None and is_live(span.arg))
        open_ends.append(span.end)


@pytest.mark.parametrize(
    "markdown", [">" * 300 + " deep", "- " * 300 + "deep", "> - " * 150 + "deep", "*" * 300 + "deep" + "*" * 300]
)
def test_deep_nesting_loses_no_text(markdown: str) -> None:
    assert "deep" in render(markdown).text


def test_a_longer_text_is_taken_as_it_is() -> None:
    text = "**x** " * (MAX_MARKDOWN // 6 + 1)
    assert render(text) == RichText(text)


@pytest.mark.parametrize(
    "target", ["", "src/a.py", "//e.org", "http:x", "http://[bad", "data:text/html,x", "JavaScript://e.org", "\x00"]
)
def test_only_web_and_telegram_links_are_live(target: str) -> None:
    assert not is_live(target)
    assert is_live("https://e.org")


def test_width_counts_columns() -> None:
    assert [width_of(text) for text in ("abc", "漢字", "e\u0301", "a\u200db")] == [3, 4, 1, 2]
    assert align([]) == ""


def test_the_parser_is_imported_only_when_it_is_used() -> None:
    code = "import sys, gatewayd.kit.text; sys.exit('markdown_it' in sys.modules or 'regex' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
