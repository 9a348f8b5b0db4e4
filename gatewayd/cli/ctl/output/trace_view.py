"""The view of a trace: the time of each entry, the time since the entry before, what happened and why; the verdict last."""

from collections.abc import Mapping

from rich.text import Text

from gatewayd.cli.ctl.output.screen import wrapped
from gatewayd.cli.ctl.wording import clean, clock_time, duration
from gatewayd.model.records.trace import Trace, TraceEntry

_STYLES: Mapping[str, str] = {
    "dead": "bold red",
    "unknown": "yellow",
    "parked": "yellow",
    "sent": "green",
    "delivered": "green",
    "read": "green",
    "operator": "cyan",
}
_WIDE = 60
_INDENT = 20
_LINES = 12
_DETAIL = 1_000


def trace_lines(trace: Trace, now: float, width: int) -> list[Text]:
    """The output of ``gatewayctl trace``. No line is wider than ``width`` cells. Times are local."""
    lines = wrapped(Text(_found(trace)), width, indent=0)
    day, before = "", None
    for entry in trace.entries:
        date, _, clock = clock_time(entry.at).partition(" ")
        if date != day:
            lines += [Text(), *wrapped(Text(date, style="bold"), width, indent=0)]
            day = date
        lines += _entry_lines(entry, clock or date, _gap(before, entry.at), width)
        before = entry.at
    if trace.more:
        lines += wrapped(Text("The trace is longer than what is shown here. Ask for one of its messages."), width, indent=0)
    return [*lines, Text(), *wrapped(Text(clean(trace.verdict, at_most=2_000), style="bold"), width, indent=0, at_most=_LINES)]


def _found(trace: Trace) -> str:
    shown, others = trace.found[:10], len(trace.found) - 10
    more = f" and {others} more" if others > 0 else ""
    return f"{clean(trace.id, at_most=200)}: {', '.join(clean(ref, at_most=80) for ref in shown) or 'nothing'}{more}"


def _entry_lines(entry: TraceEntry, clock: str, gap: str, width: int) -> list[Text]:
    """An entry beside its time, or below it on a narrow terminal."""
    said = Text(f"{clean(entry.what).replace('_', ' ')}: ", style=_STYLES.get(entry.what, "bold"))
    said.append(clean(entry.text, at_most=_DETAIL), style="none")
    said.append(f" ({clean(entry.ref, at_most=80)})", style="dim")
    head = Text(f"{clock}  ").append(gap, style="dim")
    indent = _INDENT
    lines: list[Text] = []
    if width < _WIDE or len(head) >= indent:  # a time outside the calendar is a long number
        head.rstrip()
        head.truncate(width)
        lines, head, indent = [head], Text(), 2
    lines += wrapped(said, width, indent=indent, first=head, at_most=_LINES)
    if entry.detail:
        detail = Text(clean(entry.detail, at_most=_DETAIL), style="dim")
        lines += wrapped(detail, width, indent=indent, at_most=_LINES)
    return lines


def _gap(before: float | None, at: float) -> str:
    """The time since the entry before. It is negative where the clock was set back."""
    if before is None:
        return ""
    seconds = at - before
    size = abs(seconds)
    return f"{'-' if seconds < 0 else '+'}{duration(size) if size >= 10 else f'{size:.1f} s'}"
