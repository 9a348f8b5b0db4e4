"""Markdown to HTML that a page may insert without looking: agent text is untrusted.

Raw HTML in the markdown stays text. Links lead only to http, https and mailto, and tell the other side nothing
(``noopener noreferrer``). Images are not loaded but linked, so that reading a message calls nobody. Nothing needs an inline
style, so the page's Content-Security-Policy can forbid them.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

LONGEST_MARKDOWN: Final = 64_000
"""Characters. A longer text is shown as it is: the parser is not linear for hostile input."""

_SAFE_LINK: Final = re.compile(r"(?:https?://|mailto:)\S", re.IGNORECASE)
_BARE_URL: Final = re.compile(r"https?://[^\s<>\"]+", re.IGNORECASE)
_HEADING_SHIFT: Final = 2  # the page owns h1 and h2


@lru_cache(maxsize=256)
def markdown_to_html(text: str) -> str:
    """Render CommonMark with tables and strike-through. Line breaks are kept, as people expect in a chat.

    Costs about 2 ms per 1,000 characters: call it in a thread where more than one message is rendered.
    """
    if len(text) > LONGEST_MARKDOWN:
        return f'<p class="as-is">{escape(text)}</p>\n'
    parser = _parser()
    env: dict[str, object] = {}
    tokens = list(_tame_blocks(parser.parse(text, env)))
    rendered: str = parser.renderer.render(tokens, parser.options, env)
    return rendered


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt  # 30 ms, and only the web chat needs it

    parser = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    parser.validateLink = _is_safe_link  # type: ignore[method-assign]
    return parser


def _is_safe_link(url: str) -> bool:
    return _SAFE_LINK.match(url) is not None


def _tame_blocks(tokens: "Iterable[Token]") -> "Iterator[Token]":
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + _HEADING_SHIFT, 6)}"
        elif token.type in ("th_open", "td_open"):
            alignment = str(token.attrs.pop("style", ""))
            if alignment:
                token.attrs["class"] = alignment.replace("text-align:", "align-")
        elif token.children is not None:
            token.children = list(_tame_inline(token.children))
        yield token


def _tame_inline(tokens: "Iterable[Token]") -> "Iterator[Token]":
    in_link = False
    for token in tokens:
        if token.type == "link_open":
            # One that leads nowhere, [x](), is never asked about while it is parsed.
            in_link = _is_safe_link(str(token.attrs.get("href", "")))
            if in_link:
                yield _outward(token)
        elif token.type == "link_close":
            if in_link:
                yield token
            in_link = False
        elif token.type == "image":
            yield from _linked_image(token, in_link)
        elif token.type == "text" and not in_link:
            yield from _with_links(token.content)
        else:
            yield token


def _outward(token: "Token") -> "Token":
    if token.type == "link_open":
        token.attrs["rel"] = "noopener noreferrer nofollow"
        token.attrs["target"] = "_blank"
    return token


def _linked_image(image: "Token", in_link: bool) -> "Iterator[Token]":
    source = str(image.attrs.get("src", ""))
    alt = "".join(child.content for child in image.children or ()) or source
    yield from _link(source, alt) if _is_safe_link(source) and not in_link else [_text(alt)]


def _with_links(text: str) -> "Iterator[Token]":
    at = 0
    for found in _BARE_URL.finditer(text):
        url = _without_punctuation(found.group())
        yield _text(text[at : found.start()])
        yield from _link(url, url)
        at = found.start() + len(url)
    yield _text(text[at:])


def _without_punctuation(url: str) -> str:
    """Drop what ends a sentence, but keep the bracket of ``https://en.wikipedia.org/wiki/Trio_(library)``."""
    bare = url.rstrip(".,;:!?'*_)]}")
    return bare + ")" if "(" in bare and url[len(bare) :].startswith(")") else bare


def _link(url: str, shown: str) -> "Iterator[Token]":
    from markdown_it.token import Token

    if not _is_safe_link(url):
        yield _text(shown)
        return
    yield _outward(Token("link_open", "a", 1, attrs={"href": url}))
    yield _text(shown)
    yield Token("link_close", "a", -1)


def _text(content: str) -> "Token":
    from markdown_it.token import Token

    return Token("text", "", 0, content=content)
