"""Printing: plain lines for pipes and NO_COLOR, colours for a terminal, tables that fit its width.

Foreign text is put into rich's Text objects and never parsed as markup: ``[red]`` in a name stays ``[red]``.
"""

import os
import sys
from collections.abc import Iterable, Sequence

from msgspec import Struct
from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from gatewayd.cli.ctl.exit_codes import OutputClosed
from gatewayd.cli.ctl.wording import visible

_UNBOUNDED = 1_000_000
_GAP = 2


def console() -> Console:
    """The console of stdout. It has colours on a terminal without $NO_COLOR. A pipe has no width, except $COLUMNS."""
    found = _Console(markup=False, emoji=False, highlight=False)
    if found.is_terminal and not os.environ.get("NO_COLOR") and not found.is_dumb_terminal:
        return found
    width = None if found.is_terminal or os.environ.get("COLUMNS") else _UNBOUNDED
    return _Console(markup=False, emoji=False, highlight=False, color_system=None, width=width)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise OutputClosed


def print_lines(lines: Iterable[Text | str], *, on: Console | None = None) -> None:
    """Print lines that have the right width. A ``str`` is printed as it is."""
    target = on or console()
    for line in lines:
        if isinstance(line, str):
            print_text(line)
        else:
            target.print(line, soft_wrap=True)


def print_text(text: str) -> None:
    """Plain text on stdout, flushed at once, also into a pipe."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputClosed from None


def print_note(text: str) -> None:
    """One line on stderr: a note that is no part of the result."""
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def confirm(question: str) -> bool:
    """A question on stderr, answered on stdin. True: the answer is y or yes."""
    sys.stdout.flush()
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class Column(Struct, frozen=True):
    """A narrow terminal drops the column with the highest ``drop`` first, and never one with 0. ``least`` is the width in cells
    to which the column may be cut (0: it is never cut)."""

    title: str
    cells: Sequence[Text]
    drop: int = 0
    least: int = 0


def table(columns: Sequence[Column], width: int, *, details: Sequence[Sequence[Text]] = ()) -> list[Text]:
    """Rows of cells below their titles. No line is wider than ``width``. ``details[i]`` are the lines below row i."""
    fitted = _fit(list(columns), width)
    lines = [_join([Text(column.title, style="bold") for column, _ in fitted], fitted, width)]
    for index in range(len(columns[0].cells)):
        lines.append(_join([column.cells[index] for column, _ in fitted], fitted, width))
        if index < len(details):
            lines += details[index]
    return lines


def wrapped(text: Text, width: int, *, indent: int, first: Text | None = None, at_most: int = 4) -> list[Text]:
    """``text`` in at most ``at_most`` indented lines. ``first`` is in the indentation of the first line."""
    pieces = text.wrap(Console(width=width, file=sys.stderr), max(8, width - indent))
    lines = []
    for index, piece in enumerate(pieces[:at_most]):
        piece.rstrip()
        if index == at_most - 1 and len(pieces) > at_most:
            piece.truncate(max(1, width - indent - 1))
            piece.append("…")
        head = first.copy() if first is not None and index == 0 else Text()
        head.pad_right(max(0, indent - cell_len(head.plain)))
        lines.append(head + piece)
    return lines


def field(label: str, text: str, *, width: int, indent: int = 9) -> list[str]:
    """A label, and the whole of a foreign text beside it. Every other line of the text is indented, also the lines that a
    terminal of this width would break itself. So only a label can begin a line."""
    cells = max(8, width - indent)
    pieces = [piece for line in visible(text).split("\n") for piece in (chop_cells(line, cells) or [""])]
    return [f"{label if index == 0 else '':<{indent}}{piece}" for index, piece in enumerate(pieces)]


def _widths(columns: Sequence[Column]) -> list[int]:
    return [max(cell_len(column.title), *(cell_len(cell.plain) for cell in column.cells), 1) for column in columns]


def _fit(columns: list[Column], width: int) -> list[tuple[Column, int]]:
    """Cut columns, then drop columns, until the row fits."""
    while True:
        widths = _widths(columns)
        excess = sum(widths) + _GAP * (len(columns) - 1) - width
        for index, column in enumerate(columns):
            if excess > 0 and column.least:
                cut = min(excess, max(0, widths[index] - column.least))
                widths[index] -= cut
                excess -= cut
        weakest = max(columns, key=lambda column: column.drop)
        if excess <= 0 or weakest.drop == 0:
            return list(zip(columns, widths, strict=True))
        columns = [column for column in columns if column is not weakest]


def _join(cells: Sequence[Text], fitted: Sequence[tuple[Column, int]], width: int) -> Text:
    line = Text()
    for cell, (_, size) in zip(cells, fitted, strict=True):
        piece = cell.copy()
        piece.truncate(size, overflow="ellipsis", pad=True)
        line += piece + Text(" " * _GAP)
    line.rstrip()
    line.truncate(width, overflow="ellipsis")
    return line
