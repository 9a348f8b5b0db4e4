"""Lines over time as an SVG, one panel for each, drawn from zero so that a flat line looks flat. Nothing but text is needed."""

from collections.abc import Sequence
from html import escape
from math import log10
from typing import Final

from msgspec import Struct

WIDTH: Final = 860
PANEL: Final = 150
LEFT: Final = 70
RIGHT: Final = 20
HEAD: Final = 60
_GAP: Final = 40
_STYLE: Final = (
    "text{font:12px sans-serif;fill:#444}.title{font-size:15px;fill:#111}.line{fill:none;stroke:#1f6feb;stroke-width:1.5}"
    ".grid{stroke:#ddd;stroke-width:1}"
)


class Series(Struct, frozen=True):
    """``points`` are (seconds, value), in order of time."""

    name: str
    points: Sequence[tuple[float, float]]


def draw(title: str, notes: Sequence[str], panels: Sequence[Series]) -> str:
    """The whole file.

    :raises ValueError: a series without points.
    """
    height = HEAD + 18 * len(notes) + len(panels) * (PANEL + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text class="title" x="{LEFT}" y="28">{escape(title)}</text>',
    ]
    parts += [f'<text x="{LEFT}" y="{48 + 18 * place}">{escape(note)}</text>' for place, note in enumerate(notes)]
    top = HEAD + 18 * len(notes)
    for series in panels:
        parts += _panel(series, top)
        top += PANEL + _GAP
    return "\n".join([*parts, "</svg>", ""])


def _panel(series: Series, top: float) -> list[str]:
    if not series.points:
        raise ValueError(f"nothing to draw of {series.name}")
    longest = max(at for at, _ in series.points) or 1.0
    highest = _round_up(max(value for _, value in series.points) or 1.0)
    bottom, width = top + PANEL - 20, WIDTH - LEFT - RIGHT

    def place(at: float, value: float) -> str:
        return f"{LEFT + width * at / longest:.1f},{bottom - (bottom - top) * value / highest:.1f}"

    parts = [f'<text x="{LEFT}" y="{top - 6}">{escape(series.name)}</text>']
    for share in (0.0, 0.5, 1.0):
        y = bottom - (bottom - top) * share
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{highest * share:g}</text>')
    parts.append(f'<polyline class="line" points="{" ".join(place(*point) for point in series.points)}"/>')
    for quarter in range(5):
        x, anchor = LEFT + width * quarter / 4, "middle" if quarter < 4 else "end"
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="{anchor}">{longest * quarter / 4:.0f} s</text>')
    return parts


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5, 10, 20 … that is not less."""
    unit = 10.0 ** int(log10(value)) if value >= 1 else 1.0
    return next(step * unit for step in (1, 2, 4, 5, 10, 20) if step * unit >= value)
