"""The block rules of our markdown (docs/reference/markdown.md): markdown-it's own rules, with stricter patterns for their
lines."""

import re
from collections.abc import Callable

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, blockquote, fence, heading, hr, lheading, list_block, paragraph, table
from markdown_it.rules_block.table import escapedSplit
from markdown_it.token import Token

Rule = Callable[[StateBlock, int, int, bool], bool]

_RULE = re.compile(r"[*_-]")
_HEADING = re.compile(r"#{1,6}[ \t]+(?!#*[ \t]*$)")
_QUOTE = re.compile(r">(?:[ \t]|$|[^\W\d_]|[*\"'\[]|[^\x00-\x7f])")
_ITEM = re.compile(r"(?:[-*]|\d{1,9}[.)])[ \t]+\S")
_CELL = re.compile(r"(?:\\.|`[^`]*+`|[^|])*+")  # up to a | outside of code
_FORMULAS = {"\\[": "\\]", "$$": "$$"}
_SHORTEST_UNDERLINE = 3


def install(parser: MarkdownIt) -> None:
    """Replace the block rules of ``parser`` by ours. A link cannot be defined elsewhere: ``[INFO]: started`` is text."""
    ruler = parser.block.ruler
    inner = ["paragraph", "blockquote"]
    ruler.at("table", _table, {"alt": ["paragraph"]})
    ruler.at("fence", _fenced, {"alt": [*inner, "list"]})
    ruler.at("hr", _if_line(_RULE, hr), {"alt": [*inner, "list"]})
    ruler.at("blockquote", _if_line(_QUOTE, blockquote), {"alt": [*inner, "list"]})
    ruler.at("list", _if_line(_ITEM, list_block), {"alt": inner})
    ruler.at("heading", _if_line(_HEADING, heading), {"alt": inner})
    ruler.at("lheading", _lheading)
    ruler.at("paragraph", _paragraph)
    ruler.enableOnly(["table", "code", "fence", "blockquote", "hr", "list", "heading", "lheading", "paragraph"])


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]


def _if_line(pattern: re.Pattern[str], rule: Rule) -> Rule:
    def checked(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        begin = state.bMarks[start] + state.tShift[start]
        return pattern.match(state.src, begin, state.eMarks[start]) is not None and rule(state, start, end, silent)

    return checked


def _undone(state: StateBlock, rule: Rule, start: int, end: int, is_good: Callable[[], bool]) -> bool:
    """Apply ``rule``, and undo it if its result is not good."""
    tokens, level, parent = len(state.tokens), state.level, state.parentType
    if not rule(state, start, end, False):
        return False
    if is_good():
        return True
    del state.tokens[tokens:]
    state.line, state.level, state.parentType = start, level, parent
    return False


def _lheading(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Underlined with at least three signs."""
    return not silent and _undone(
        state, lheading, start, end, lambda: len(_line(state, state.line - 1).rstrip()) >= _SHORTEST_UNDERLINE
    )


def _fenced(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Code, or a formula over several lines: the first sign of the line decides."""
    begin = state.bMarks[start] + state.tShift[start]
    match state.src[begin : begin + 1]:
        case "`":
            return fence(state, start, end, silent)
        case "~":
            return _waves(state, start, end, silent)
        case "\\" | "$":
            return _formula(state, start, end, silent)
    return False


def _waves(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A fence of tildes has to end: a line of waves is none."""
    if silent:
        return fence(state, start, end, True) and any(_is_waves(_line(state, line)) for line in range(start + 1, end))
    return _undone(state, fence, start, end, lambda: state.line > start + 1 and _is_waves(_line(state, state.line - 1)))


def _is_waves(line: str) -> bool:
    return len(line.rstrip()) >= 3 and not line.rstrip().strip("~")


def _table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Keeps all cells of a row that has more than the head: a ``|`` in code is no divider, and the last cell takes the rest."""
    begin = len(state.tokens)
    if not table(state, start, end, silent):
        return False
    row: list[Token] = []
    for token in state.tokens[begin:]:
        if token.type == "tr_open":
            row.clear()
        elif token.type == "inline":
            row.append(token)
        elif token.type == "tr_close" and row[0].map:
            _fill(row, _line(state, row[0].map[0]).strip())
    return True


def _fill(row: list[Token], line: str) -> None:
    if len(_without_edges(escapedSplit(line))) <= len(row):
        return
    cells = _without_edges(_cells(line))
    texts = [*cells[: len(row) - 1], "|".join(cells[len(row) - 1 :])]
    for token, text in zip(row, texts, strict=False):
        token.content = text.strip().replace("\\|", "|")
    for token in row[len(texts) :]:
        token.content = ""


def _cells(line: str) -> list[str]:
    cells: list[str] = []
    at = 0
    while at <= len(line) and (cell := _CELL.match(line, at)):
        cells.append(cell.group())
        at = cell.end() + 1
    return cells


def _without_edges(cells: list[str]) -> list[str]:
    """The line may begin and end with a divider."""
    cells = cells[1:] if cells[0] == "" else cells
    return cells[:-1] if cells and cells[-1] == "" else cells


def _formula(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    r"""A formula over several lines, between ``\[`` and ``\]`` or between ``$$``: in it no line begins a list."""
    opening = _line(state, start)[:2]
    closing = _FORMULAS.get(opening)
    if closing is None or state.is_code_block(start) or closing in _line(state, start)[2:]:
        return False
    for line in range(start + 1, end):
        content = _line(state, line)
        if state.isEmpty(line) or state.sCount[line] < state.blkIndent or (opening == "\\[" and content.startswith(opening)):
            return False
        if closing in content:
            break
    else:
        return False
    if silent:
        return True
    state.line = line + 1
    state.push("paragraph_open", "p", 1).map = [start, state.line]
    inline = state.push("inline", "", 0)
    inline.content = state.getLines(start, state.line, state.blkIndent, False).strip()
    inline.map, inline.children = [start, state.line], []
    state.push("paragraph_close", "p", -1)
    return True


def _paragraph(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A paragraph keeps the indentation of its first line."""
    indent = state.sCount[start] - state.blkIndent
    paragraph(state, start, end, silent)
    if 0 < indent < 4:
        state.tokens[-2].content = " " * indent + state.tokens[-2].content
    return True
