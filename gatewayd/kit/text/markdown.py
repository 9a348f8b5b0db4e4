"""Converts agents' markdown (docs/reference/markdown.md) into text with spans, for platforms that take these.

Elements without a span become text: bullets and numbers for lists, aligned columns in a pre for tables, a line for thematic
breaks. A line break is kept: in a chat it is on purpose.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gatewayd.kit.text.writer import SpanWriter
from gatewayd.model.message.payload import RichText, SpanKind

if TYPE_CHECKING:
    from markdown_it.token import Token

MAX_MARKDOWN = 32_768
"""Longer texts (code points) are taken as they are: parsing runs on the event loop, where adversarial markup of this length
takes about half a second."""

LINK_SCHEMES = frozenset({"http", "https", "tg"})
"""Links that become spans. Any other target is written after its text: it is visible, and no link."""

_LANGUAGE = re.compile(r"[\w+#.-]{1,32}", re.ASCII)
_SPAN_OF: dict[str, SpanKind] = {"strong_open": "bold", "em_open": "italic", "s_open": "strike"}


def render(markdown: str, *, spans: bool = True) -> RichText:
    """Render ``markdown``. Without ``spans`` the result is plain text, with every link's target written out."""
    if len(markdown) > MAX_MARKDOWN:
        return RichText(markdown)
    from gatewayd.kit.text.parser import parse  # at first use: an idle daemon does not carry the parser

    tokens = parse(markdown)
    if tokens is None:
        return RichText(markdown)  # rather no format than no text
    renderer = _Renderer(SpanWriter(with_spans=spans))
    renderer.blocks(tokens)
    return renderer.writer.finish()


class _Renderer:
    def __init__(self, writer: SpanWriter) -> None:
        self.writer = writer
        self._lists = 0
        self._links: list[tuple[str, str, int, bool]] = []  # target, title, mark, is a span
        self._block: dict[str, Callable[[Token], None]] = {
            "paragraph_open": lambda token: self._gap(),
            "heading_open": self._heading_open,
            "heading_close": lambda token: writer.close(),
            "inline": lambda token: self.inline(token.children or ()),
            "fence": self._code,
            "code_block": self._code,
            "hr": self._rule,
            "blockquote_open": self._quote_open,
            "blockquote_close": lambda token: writer.close(),
            "bullet_list_open": self._list_open,
            "ordered_list_open": self._list_open,
            "bullet_list_close": self._list_close,
            "ordered_list_close": self._list_close,
            "list_item_open": self._item_open,
            "list_item_close": self._item_close,
        }
        self._indents = [""]

    def blocks(self, tokens: "Iterable[Token]") -> None:
        stream = iter(tokens)
        for token in stream:
            if token.type == "table_open":
                self._table(stream)
            elif handle := self._block.get(token.type):
                handle(token)

    def inline(self, tokens: "Sequence[Token]") -> None:
        for token in tokens:
            match token.type:
                case "strong_open" | "em_open" | "s_open":
                    self.writer.open(_SPAN_OF[token.type])
                case "strong_close" | "em_close" | "s_close":
                    self.writer.close()
                case "softbreak":
                    self.writer.write("\n")
                case "code_inline":
                    self._span("code", token.content)
                case "link_open":
                    self._link_open(token, "href")
                case "link_close":
                    self._link_close()
                case "image":
                    self._link_open(token, "src")
                    self.writer.write(token.content)
                    self._link_close()
                case _:
                    self.writer.write(token.content)

    def _gap(self) -> None:
        self.writer.gap(1 if self._lists else 2)

    def _span(self, kind: SpanKind, text: str, arg: str | None = None) -> None:
        self.writer.open(kind, arg)
        self.writer.write(text)
        self.writer.close()

    def _heading_open(self, token: "Token") -> None:
        self._gap()
        self.writer.open("bold")

    def _code(self, token: "Token") -> None:
        language = _LANGUAGE.match(token.info)
        further = "" if language else token.info  # words behind a language are for who shows the code
        code = token.content.removesuffix("\n")
        self._gap()
        self._span("pre", f"{further}\n{code}" if further else code, language.group() if language else None)

    def _rule(self, token: "Token") -> None:
        self._gap()
        self.writer.write("———")

    def _quote_open(self, token: "Token") -> None:
        self._gap()
        self.writer.open("quote")
        self.writer.hold()

    def _list_open(self, token: "Token") -> None:
        self._gap()
        self._lists += 1

    def _list_close(self, token: "Token") -> None:
        self._lists -= 1

    def _item_open(self, token: "Token") -> None:
        marker = f"{token.info}{token.markup} " if token.info else "• "
        self.writer.gap(1)
        self.writer.write(marker)
        self.writer.hold()
        self._indents.append(self.writer.indent)
        self.writer.indent += " " * len(marker)

    def _item_close(self, token: "Token") -> None:
        self.writer.indent = self._indents.pop()
        self.writer.hold(False)

    def _link_open(self, token: "Token", attribute: str) -> None:
        target = str(token.attrGet(attribute) or "")
        live = is_live(target)
        if live:
            self.writer.open("link", target)
        self._links.append((target, str(token.attrGet("title") or ""), self.writer.mark(), live))

    def _link_close(self) -> None:
        target, title, mark, live = self._links.pop()
        shown = self.writer.since(mark).strip()
        if not shown:
            self.writer.write(target)
        if live:
            self.writer.close()
        if shown and target and not (live and self.writer.with_spans) and shown not in (target, target.removeprefix("mailto:")):
            self.writer.write(f" ({target.removeprefix('mailto:')})")
        if title:
            self.writer.write(f" ({title})")

    def _table(self, stream: "Iterator[Token]") -> None:
        rows: list[list[str]] = []
        for token in stream:
            if token.type == "table_close":
                break
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "inline":
                cell = _Renderer(SpanWriter(with_spans=False))
                cell.inline(token.children or ())
                rows[-1].append(" ".join(cell.writer.finish().text.split()))
        self._gap()
        self._span("pre", align(rows))


def is_live(target: str) -> bool:
    """Whether a link to ``target`` may become a link on the platform."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return False
    return parts.scheme.lower() in LINK_SCHEMES and bool(parts.netloc)


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines with aligned columns; the first row is the head."""
    columns = max(map(len, rows), default=0)
    widths = [max((width_of(row[at]) for row in rows if at < len(row)), default=0) for at in range(columns)]

    def line(row: Sequence[str]) -> str:
        return " │ ".join(cell + " " * (width - width_of(cell)) for cell, width in zip(row, widths, strict=False)).rstrip()

    return "\n".join([line(rows[0]), "─┼─".join("─" * width for width in widths), *map(line, rows[1:])]) if rows else ""


def width_of(text: str) -> int:
    """Columns in a fixed-width font: East Asian wide characters take two (UAX #11), marks and joiners none."""
    if text.isascii():
        return len(text)
    return sum(_width_of_character(character) for character in text)


def _width_of_character(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
