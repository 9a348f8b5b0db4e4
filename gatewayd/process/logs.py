"""Log lines: one for each event on stderr, as text on a terminal, else as JSON.

All loggers share one chain, those of the standard library too. It puts time, level and logger first, renders exceptions as text,
bounds every text, removes every known secret, and writes the line without waiting for a reader. It limits the rate of warnings of
one kind, and counts the suppressed ones. Ids (account, session_key, turn, event) come with ``structlog.contextvars`` or ``bind``.
"""

import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
import structlog

from gatewayd.actor.border import trace_of
from gatewayd.model.secret import Redactor

Level = Literal["debug", "info", "warning", "error"]
Event = MutableMapping[str, Any]

MAX_TEXT: Final = 2000
MAX_TRACE: Final = 8000
MAX_LOOKED_AT: Final = 65_536
MAX_ENTRIES: Final = 50
MAX_DEPTH: Final = 4
MAX_EVENT: Final = 16_384
"""Bytes of one event as JSON. In a larger event each value is cut to ``SHORT_TEXT``."""
SHORT_TEXT: Final = 200
SHORT_TRACE: Final = 4000
BURST: Final = 20
"""The number of warnings of one kind, about one account or agent, that are written in ``BURST_SECONDS``."""
BURST_SECONDS: Final = 60.0
_KIND: Final = ("event", "channel", "account", "agent", "warning", "change")
"""Warnings are of one kind when they agree in these keys. Each line about the configuration asks for another action."""
MAX_KINDS: Final = 1000
"""The number of kinds whose rate is tracked at the same time."""
PIPE_BUF: Final = 4096

# They log each request with its URL at INFO, and a URL may hold a token.
_CHATTY: Final = ("httpx", "httpx2", "httpcore", "httpcore2", "markdown_it")


def configure(
    level: Level,
    redactor: Redactor,
    *,
    fd: int = 2,
    readable: bool | None = None,
    now: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> "LineWriter":
    """Send every log line of this process to ``fd``. Call it once at the start; another call replaces the first.

    More secrets may be added to ``redactor`` later. ``readable`` None: text where ``fd`` is a terminal, else JSON. Returns the
    writer, for its :meth:`LineWriter.statistics`.
    """
    writer = LineWriter(fd)
    if readable is None:
        readable = os.isatty(fd)
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _RateLimit(writer, monotonic),
            _Prefix(now),
            _render_exception,
            _Sanitizer(redactor),
            _shorten,
            _to_text if readable else _to_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *names: _Output(writer, *names),
        cache_logger_on_first_use=False,
    )
    _adopt_standard_library(number)
    return writer


def _adopt_standard_library(level: int) -> None:
    logging.basicConfig(handlers=[_StandardLibrary()], level=level, force=True)
    logging.captureWarnings(True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


class LogStatistics(msgspec.Struct, frozen=True):
    """``dropped`` counts lines that the reader did not take, ``suppressed`` warnings above the rate limit of their kind."""

    written: int
    dropped: int
    suppressed: int = 0


class LineWriter:
    """Writes lines to a file descriptor. It neither waits nor raises; a line that does not fit now is dropped and counted.

    The daemon must go on when the journal hangs or the terminal is gone. Other processes may share the descriptor, so it must not
    become non-blocking. Each write is at most PIPE_BUF, which a pipe that polls writable takes whole (pipe(7)).
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()  # logs also come from worker threads
        self._written = 0
        self._dropped = 0
        self._suppressed = 0
        self._in_line = False

    def statistics(self) -> LogStatistics:
        return LogStatistics(self._written, self._dropped, self._suppressed)

    def count_suppressed(self) -> None:
        """Count one suppressed line."""
        with self._lock:
            self._suppressed += 1

    def write(self, line: str) -> None:
        data = line.encode() + b"\n"
        with self._lock:
            if self._in_line:
                data = b"\n" + data
            sent = self._send(data)
            self._in_line = 0 < sent < len(data) or (self._in_line and not sent)
            if sent == len(data):
                self._written += 1
            else:
                self._dropped += 1

    def _send(self, data: bytes) -> int:
        """Returns the number of bytes written."""
        sent = 0
        try:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            while sent < len(data) and poll.poll(0) == [(self._fd, select.POLLOUT)]:
                sent += os.write(self._fd, data[sent : sent + PIPE_BUF])
        except OSError:  # a closed pipe, a full disk, a terminal that is gone
            return sent
        return sent


class _Output:
    """A logger in the sense of structlog: it takes the finished line. ``name`` is the argument of ``structlog.get_logger``."""

    def __init__(self, writer: LineWriter, name: str = "gatewayd") -> None:
        self.name = name
        self._writer = writer

    def msg(self, line: str) -> None:
        self._writer.write(line)

    log = debug = info = warn = warning = error = err = critical = fatal = failure = exception = msg


class _StandardLibrary(logging.Handler):
    """Hands the records of the standard library's loggers (quart, hypercorn, warnings) to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event = record.getMessage()
        except Exception:  # a wrong format string in third-party code
            event = repr(record.msg)
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        structlog.get_logger(record.name).log(level, event, exc_info=record.exc_info or None)


class _RateLimit:
    """Suppresses warnings and errors above the rate limit of their kind: a thousand of them a second would push everything else
    out of the journal. The next one that is written has the count of the suppressed ones."""

    def __init__(self, writer: LineWriter, monotonic: Callable[[], float]) -> None:
        self._writer = writer
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kinds: dict[tuple[object, ...], _Kind] = {}

    def __call__(self, logger: _Output, method: str, event: Event) -> Event:
        if method not in ("warning", "warn", "error", "exception"):
            return event
        key = (logger.name, *(str(event.get(part, ""))[:SHORT_TEXT] for part in _KIND))
        with self._lock:
            suppressed = self._count(key, self._monotonic())
        if suppressed is None:
            self._writer.count_suppressed()
            raise structlog.DropEvent
        if suppressed:
            event["suppressed_before"] = suppressed
        return event

    def _count(self, key: tuple[object, ...], now: float) -> int | None:
        """None: suppress this one. Else the number of suppressed ones since the last one that was written."""
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= MAX_KINDS:
                del self._kinds[next(iter(self._kinds))]
            kind = self._kinds[key] = _Kind(now)
        kind.credit = min(BURST, kind.credit + (now - kind.at) * BURST / BURST_SECONDS)
        kind.at = now
        if kind.credit < 1:
            kind.suppressed += 1
            return None
        kind.credit -= 1
        suppressed, kind.suppressed = kind.suppressed, 0
        return suppressed


class _Kind:
    """One kind: ``credit`` is the number of warnings that could be written at the time ``at``."""

    __slots__ = ("at", "credit", "suppressed")

    def __init__(self, now: float) -> None:
        self.at = now
        self.credit: float = BURST
        self.suppressed = 0


class _Prefix:
    """Puts time (UTC, RFC 3339), level, logger and event first."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def __call__(self, logger: _Output, method: str, event: Event) -> Event:
        at = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        level = {"exception": "error", "warn": "warning", "fatal": "critical"}.get(method, method)
        head = {"time": at, "level": level, "logger": logger.name, "event": event.pop("event", "")}
        return {**head, **{f"{key}_" if key in head else key: value for key, value in event.items()}}


def _render_exception(logger: object, method: str, event: Event) -> Event:
    """``exc_info`` (an exception, a triple, or True for the current one) becomes the text ``exception``."""
    found = event.pop("exc_info", None)
    error = found[1] if isinstance(found, tuple) else found if isinstance(found, BaseException) else None
    if error is None and found:
        error = sys.exception()
    if isinstance(error, BaseException):
        event["exception"] = trace_of(error)
    return event


class _Sanitizer:
    """Bounds every value and removes every known secret."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, logger: object, method: str, event: Event) -> Event:
        trace = event.pop("exception", None)
        cleaned = self._clean_mapping(event, MAX_DEPTH)
        if trace is not None:
            cleaned["exception"] = self._trace(str(trace))
        return cleaned

    def _clean(self, value: object, depth: int) -> object:
        match value:
            case str():
                return self._text(value)
            case None | bool() | float():
                return value
            case int():
                return value if -(2**63) <= value < 2**63 else self._text(hex(value))
            case Mapping() if depth:
                return self._clean_mapping(value, depth - 1)
            case list() | tuple() | set() | frozenset() if depth:
                items = [self._clean(item, depth - 1) for _, item in zip(range(MAX_ENTRIES), value, strict=False)]
                return items if len(items) == len(value) else [*items, f"… [+{len(value) - len(items)} entries]"]
            case _:
                return self._text(_describe(value))

    def _clean_mapping(self, table: Mapping[Any, object], depth: int) -> dict[str, object]:
        some = zip(range(MAX_ENTRIES), table.items(), strict=False)
        return {self._text(str(key)): self._clean(item, depth) for _, (key, item) in some}

    def _text(self, text: str) -> str:
        """The head of a text. The text is cut before the search for secrets; a part of a secret at that cut is not shown."""
        head = self._redactor(_encodable(text[:MAX_LOOKED_AT]))
        if len(text) > MAX_LOOKED_AT:
            head = head[: max(len(head) - self._redactor.longest, 0)]
        elif len(head) <= MAX_TEXT:
            return head
        return f"{head[:MAX_TEXT]}… [{len(text)} characters]"

    def _trace(self, text: str) -> str:
        """The tail of a traceback, with the innermost frames and the error itself."""
        tail = self._redactor(_encodable(text[-MAX_LOOKED_AT:]))
        if len(text) > MAX_LOOKED_AT:
            tail = tail[self._redactor.longest :]
        elif len(tail) <= MAX_TRACE:
            return tail
        return f"[{len(text)} characters] …{tail[-MAX_TRACE:]}"


def _shorten(logger: object, method: str, event: Event) -> Event:
    """Values within their own bounds can be too large together. Secrets are removed already."""
    if len(msgspec.json.encode(event)) <= MAX_EVENT:
        return event
    return {key: _shortened(key, value) for key, value in event.items()}


def _shortened(key: str, value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if key == "exception":
        return text[-SHORT_TRACE:]
    return text if len(text) <= SHORT_TEXT else f"{text[:SHORT_TEXT]}… [{len(text)} characters]"


def _describe(value: object) -> str:
    try:
        return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else repr(value)
    except Exception as error:
        return f"<a {type(value).__name__} whose repr raises {type(error).__name__}>"


def _encodable(text: str) -> str:
    """Halves of surrogate pairs, as in a broken file name, become escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _to_json(logger: object, method: str, event: Event) -> str:
    return msgspec.json.encode(event).decode()


def _to_text(logger: object, method: str, event: Event) -> str:
    """``10:00:00 warning  gatewayd.web: event  key=value …``. Control characters are escaped: texts may be of strangers."""
    trace = event.pop("exception", None)
    head = f"{str(event.pop('time'))[11:19]} {event.pop('level'):<8} {event.pop('logger')}: {event.pop('event')}"
    line = "  ".join([head, *(f"{key}={value}" for key, value in event.items())])
    lines = [line] if trace is None else [line, *str(trace).split("\n")]
    return "\n".join(_printable(part) for part in lines)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
