"""Text under construction, with spans that open and close while it is written."""

from gatewayd.model.message.payload import RichText, Span, SpanKind


class SpanWriter:
    """Collects text and spans. Spans nest as they are opened and closed. An empty span is left out, and so is one inside another
    of its kind. A gap between blocks is written when text follows, before the spans that begin there."""

    def __init__(self, *, with_spans: bool) -> None:
        self.with_spans = with_spans
        self.indent = ""
        """The start of each further line, except in a pre."""
        self._parts: list[str] = []
        self._length = 0
        self._gap = ""
        self._holding = False
        self._open: list[tuple[SpanKind, int | None]] = []  # kind, index in _spans
        self._starts: list[int | None] = []  # None: no text yet
        self._spans: list[tuple[SpanKind, str | None, int]] = []  # kind, arg, end

    def write(self, text: str) -> None:
        if not text:
            return
        if self._length:
            self._append(self._gap)
        self._gap = ""
        self._holding = False
        for _, index in reversed(self._open):
            if index is not None:
                if self._starts[index] is not None:
                    break
                self._starts[index] = self._length
        if self.indent and "\n" in text and not any(kind == "pre" for kind, _ in self._open):
            text = text.replace("\n", "\n" + self.indent)
        self._append(text)

    def gap(self, newlines: int) -> None:
        """Write at least so many line ends before the next text, unless gaps are held."""
        if not self._holding:
            self._gap = "\n" * max(newlines, self._gap.count("\n")) + self.indent

    def hold(self, holding: bool = True) -> None:
        """Ignore gaps until the next text: a marker or an opened quote belongs to the text after it."""
        self._holding = holding

    def open(self, kind: SpanKind, arg: str | None = None) -> None:
        if not self.with_spans or any(kind == opened for opened, _ in self._open):
            self._open.append((kind, None))
            return
        self._open.append((kind, len(self._spans)))
        self._starts.append(None)
        self._spans.append((kind, arg, 0))

    def close(self) -> None:
        """Close the span opened last."""
        _, index = self._open.pop()
        if index is not None:
            kind, arg, _ = self._spans[index]
            self._spans[index] = (kind, arg, self._length)

    def mark(self) -> int:
        return len(self._parts)

    def since(self, mark: int) -> str:
        """The text written since ``mark()``."""
        return "".join(self._parts[mark:])

    def finish(self) -> RichText:
        spans = (
            Span(kind, start, end, arg)
            for (kind, arg, end), start in zip(self._spans, self._starts, strict=True)
            if start is not None
        )
        return RichText("".join(self._parts), tuple(spans))

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)
