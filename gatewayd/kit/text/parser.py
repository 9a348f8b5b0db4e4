"""The one parser of agents' markdown, for every channel and page: markdown-it with the rules of docs/reference/markdown.md.

Imported at first use only: an idle daemon does not carry it.
"""

import re
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt, helpers
from markdown_it.token import Token

from gatewayd.kit.text import blocks, inline

if TYPE_CHECKING:
    from markdown_it.helpers.parse_link_destination import _Result

_DEEPEST = 50
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")


def parse(markdown: str) -> list[Token] | None:
    """The tokens of ``markdown``; None if it is nested too deeply: the parser would drop the deeper part in silence."""
    tokens = parser().parse(markdown)
    return None if any(token.level >= _DEEPEST - 2 for token in tokens) else tokens


@lru_cache(maxsize=1)
def parser() -> MarkdownIt:
    """The configured parser. Its own renderer writes line breaks as ``<br>``."""
    made = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": _DEEPEST}).enable("table")
    made.core.ruler.enableOnly(["normalize", "block", "inline"])
    blocks.install(made)
    inline.install(made)
    # The renderers decide which targets become links, and each target is as it was written.
    made.validateLink = lambda url: True  # type: ignore[method-assign]
    made.normalizeLink = lambda url: url  # type: ignore[method-assign]
    made.helpers = SimpleNamespace(  # type: ignore[assignment]
        parseLinkLabel=helpers.parseLinkLabel, parseLinkTitle=helpers.parseLinkTitle, parseLinkDestination=_destination
    )
    return made


def _destination(text: str, start: int, end: int) -> "_Result":
    """The target as it was written: no entity is decoded, and a backslash escapes only in an address."""
    found = helpers.parseLinkDestination(text, start, end)
    if found.ok:
        written = text[start : found.pos].removeprefix("<").removesuffix(">") if text[start] == "<" else text[start : found.pos]
        found.str = _ESCAPED.sub(r"\1", written) if "://" in written else written
    return found
