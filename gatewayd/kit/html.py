"""Converts untrusted markdown of agents into HTML that is safe to insert into a page.

Raw HTML in the markdown stays text. Links lead only to http, https and mailto, and send no referrer (``noopener noreferrer``). If
a link's text shows another host than its target's, the real host is written after it. Images become links, so that reading a
message loads nothing. Inline styles are not used: the page's Content-Security-Policy can forbid them.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Final

from gatewayd.kit.hosts import unshown_host

if TYPE_CHECKING:
    from markdown_it.token import Token

LONGEST_MARKDOWN: Final = 64_000
"""Characters. A longer text is shown as it is, and so is one that is nested too deeply for the parser."""

_SAFE_LINK: Final = re.compile(r"(?:https?://|mailto:)\S", re.IGNORECASE)
_HEADING_SHIFT: Final = 2  # the page owns h1 and h2


@lru_cache(maxsize=256)
def markdown_to_html(text: str) -> str:
    """Render what is markup by docs/reference/markdown.md. Line breaks are kept, as people expect in a chat.

    Costs about 2 ms per 1,000 characters: call it in a thread where more than one message is rendered.
    """
    from gatewayd.kit.text.parser import parse, parser  # 30 ms, and only the web chat needs it

    tokens = parse(text) if len(text) <= LONGEST_MARKDOWN else None
    if tokens is None:
        return f'<p class="as-is">{escape(text)}</p>\n'
    rendered: str = parser().renderer.render(list(_tame_blocks(tokens)), parser().options, {})
    return rendered


def _is_safe_link(url: str) -> bool:
    return _SAFE_LINK.match(url) is not None


def _tame_blocks(tokens: "Iterable[Token]") -> "Iterator[Token]":
    numbers: list[int] = []  # of the next item, in each list that is open
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + _HEADING_SHIFT, 6)}"
        elif token.type in ("th_open", "td_open"):
            alignment = str(token.attrs.pop("style", ""))
            if alignment:
                token.attrs["class"] = alignment.replace("text-align:", "align-")
        elif token.type == "ordered_list_open":
            numbers.append(int(token.attrs.get("start", 1)))
        elif token.type == "ordered_list_close":
            numbers.pop()
        elif token.type == "list_item_open" and token.info:
            if int(token.info) != numbers[-1]:
                token.attrs["value"] = token.info  # a list that counts in its own way keeps its numbers
            numbers[-1] = int(token.info) + 1
        elif token.children is not None:
            token.children = list(_tame_inline(token.children))
        yield token


def _tame_inline(tokens: "Iterable[Token]") -> "Iterator[Token]":
    """An unsafe link becomes its text and its target. A link whose text shows another host gets its real host after it."""
    unsafe: str | None = None
    in_link = False
    target, shown = "", ""
    for token in tokens:
        shown += _words(token)
        match token.type:
            case "link_open":
                target, shown = str(token.attrs.get("href", "")), _words(token)
                in_link = _is_safe_link(target)
                unsafe = None if in_link else target
                if in_link:
                    yield _outward(token)
            case "link_close":
                yield _text(_written_out(unsafe)) if unsafe is not None else token
                if in_link:
                    yield from _real_host(target, shown)
                in_link, unsafe = False, None
            case "image":
                yield from _linked_image(token, in_link)
            case "url" if not in_link:
                yield from _link(token.content, token.content)
            case "url":
                yield _text(token.content)
            case _:
                yield token


def _outward(token: "Token") -> "Token":
    token.attrs["rel"] = "noopener noreferrer nofollow"
    token.attrs["target"] = "_blank"
    return token


def _linked_image(image: "Token", in_link: bool) -> "Iterator[Token]":
    source = str(image.attrs.get("src", ""))
    alt = image.content or source
    if in_link or not _is_safe_link(source):
        yield _text(alt if in_link or alt == source else alt + _written_out(source))
    else:
        yield from _link(source, alt)


def _words(token: "Token") -> str:
    """The visible text of a token, with its title."""
    return (
        "\n"
        if token.type == "softbreak"
        else str(token.attrs.get("title", "")) + " " * (token.type == "link_open") + token.content
    )


def _real_host(target: str, shown: str) -> "Iterator[Token]":
    """In a bdi element, so that no text before it changes its direction."""
    from markdown_it.token import Token

    host = unshown_host(target, shown)
    if host is not None:
        yield _text(" (")
        yield Token("bdi_open", "bdi", 1)
        yield _text(host)
        yield Token("bdi_close", "bdi", -1)
        yield _text(")")


def _written_out(target: str) -> str:
    return f" ({target})" if target else ""


def _link(url: str, shown: str) -> "Iterator[Token]":
    from markdown_it.token import Token

    if not _is_safe_link(url):
        yield _text(shown)
        return
    yield _outward(Token("link_open", "a", 1, attrs={"href": url}))
    yield _text(shown)
    yield Token("link_close", "a", -1)
    yield from _real_host(url, shown)


def _text(content: str) -> "Token":
    from markdown_it.token import Token

    return Token("text", "", 0, content=content)
