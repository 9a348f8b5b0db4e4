"""The inline rules of our markdown (docs/reference/markdown.md). markdown-it's own rules take some plain text for markup."""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline, backtick, link

from gatewayd.kit.text.emphasis import marker, pair
from gatewayd.kit.text.verbatim import is_escape, stretches

_STOPS = re.compile(r"[\n!*<\[\]\\_`~]")
_AUTOLINK = re.compile(r"<([A-Za-z][A-Za-z0-9+.-]{1,31}://[^\s<>]*|(?:mailto:)?[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(?:\.[\w-]+)+)>")
_TARGET_WITH_SCHEME = re.compile(r"\]\(\s*<?[A-Za-z][A-Za-z0-9+.-]*://")
_ESCAPED_BLOCK = re.compile(r"\\[#>+-]")
_LINE_START = re.compile(r"(?m:^)[ \t]{0,3}\Z")
_SINGLE_TICKS = re.compile(r"`([^`]+)`(?!`)")
_PADDED = re.compile(r" (?! *\Z).*+(?<= )")


def install(parser: MarkdownIt) -> None:
    """Replace the inline rules of ``parser`` by ours."""
    inline = parser.inline
    inline.terminator_re = _STOPS
    ours = {
        "text": _text,
        "newline": _newline,
        "escape": _escape,
        "backticks": _backtick,
        "emphasis": marker,
        "link": _link,
        "autolink": _autolink,
    }
    for name, rule in ours.items():
        inline.ruler.at(name, rule)
    inline.ruler.enableOnly([*ours, "image"])
    inline.ruler2.at("emphasis", pair)
    inline.ruler2.enableOnly(["emphasis", "fragments_join"])


def _text(state: StateInline, silent: bool) -> bool:
    """The text up to the next sign that may be markup, or a whole stretch without markup."""
    start, kept = state.pos, stretches(state.src)
    following = state.posMax
    if kept.starts and (index := kept.next_from(start)) < len(kept.starts):
        following = kept.starts[index]
        if following == start and kept.ends[index] <= state.posMax:
            state.pos = kept.ends[index]
            if not silent:
                _push_kept(state, start, is_url=start in kept.urls)
            return True
    stop = _STOPS.search(state.src, start, state.posMax)
    end = state.posMax if stop is None else stop.start()
    if start < following < end:
        end = following
    if end == start:
        return False
    if not silent:
        state.append_pending(state.src[start:end])
    state.pos = end
    return True


def _push_kept(state: StateInline, start: int, *, is_url: bool) -> None:
    content = state.src[start : state.pos]
    if is_url and not state.linkLevel:
        state.push("url", "", 0).content = content
    else:
        state.append_pending(content)


def _newline(state: StateInline, silent: bool) -> bool:
    """A line break stays one, and the next line keeps its indentation."""
    if state.src[state.pos] != "\n":
        return False
    if not silent:
        state.pending = state.pending.rstrip(" ")
        state.push("softbreak", "br", 0)
    state.pos += 1
    return True


def _escape(state: StateInline, silent: bool) -> bool:
    """A backslash is removed where the sign after it would be markup. Words that keep their backslashes are stretches."""
    source, at = state.src, state.pos
    if source[at] != "\\":
        return False
    if source.startswith("\n", at + 1) and source[at - 1 : at].isalnum():
        shown = ""  # a hard line break; the break itself follows
    elif is_escape(source, at) or (_ESCAPED_BLOCK.match(source, at) and _LINE_START.search(source, max(0, at - 4), at)):
        shown = source[at + 1]
    else:
        return False
    if not silent:
        state.append_pending(shown)
    state.pos += 1 + len(shown)
    return True


def _backtick(state: StateInline, silent: bool) -> bool:
    """Code, but for apostrophes and old quotes: can`t and won`t, `so' and `so'."""
    at = state.pos
    if state.src[at] != "`":
        return False
    code = _SINGLE_TICKS.match(state.src, at, state.posMax)
    if code is None:
        return backtick(state, silent)
    is_code = _is_code(state.src[at - 1 : at], code[1], state.src[code.end() : code.end() + 1])
    state.pos = code.end() if is_code else at + 1
    if not silent and is_code:
        inner = code[1].replace("\n", " ")
        state.push("code_inline", "code", 0).content = inner[1:-1] if _PADDED.fullmatch(inner) else inner
    elif not silent:
        state.append_pending("`")
    return True


def _is_code(before: str, inner: str, after: str) -> bool:
    in_words = before.isalnum() and inner[0].isalnum() and inner[-1].isalnum() and after.isalnum()
    opens_again = inner[-1].isspace() and not inner[0].isspace() and after.isalnum()
    return not in_words and not opens_again


def _link(state: StateInline, silent: bool) -> bool:
    """``[text](target)``. After a word only with a scheme: ``handlers[name](event)`` is a call."""
    source, at = state.src, state.pos
    if source[at] != "[":
        return False
    if source[at - 1 : at].isalnum() or source[at - 1 : at] in (")", "]"):
        end = state.md.helpers.parseLinkLabel(state, at, True)
        if end < 0 or not _TARGET_WITH_SCHEME.match(source, end):
            return False
    return link(state, silent)


def _autolink(state: StateInline, silent: bool) -> bool:
    if (found := _AUTOLINK.match(state.src, state.pos, state.posMax)) is None:
        return False
    if not silent:
        state.push("link_open", "a", 1).attrs = {
            "href": found[1] if "://" in found[1] else "mailto:" + found[1].removeprefix("mailto:")
        }
        state.push("text", "", 0).content = found[1]
        state.push("link_close", "a", -1)
    state.pos = found.end()
    return True
