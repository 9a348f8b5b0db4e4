"""Logs: one line per event on stderr, JSON when nobody looks on, readable when somebody does.

Everything goes one way, the standard library's loggers included: time, level and logger are put in front, exceptions become
text, every text is bounded and cleaned of every known secret, and the line is written without ever waiting for its reader. The
same warning over and over is written a few times a minute, with the count of those left out.
Ids (account, session_key, turn, event) come with ``structlog.contextvars`` or ``bind``.
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
"""Bytes of one event as JSON. One that is larger has each of its values cut to ``SHORT_TEXT``."""
SHORT_TEXT: Final = 200
SHORT_TRACE: Final = 4000
BURST: Final = 20
"""Warnings of one kind, about one account or agent, that are written in ``BURST_SECONDS``."""
BURST_SECONDS: Final = 60.0
_KIND: Final = ("event", "channel", "account", "agent", "warning", "change")
"""What makes a kind: what it is about, and what is said of the configuration, where each line is another thing to do."""
MAX_KINDS: Final = 1000
"""Kinds of warnings that are counted at the same time."""
PIPE_BUF: Final = 4096

# Each request with its URL, which may hold a token, at INFO: what we do ourselves is logged by ourselves.
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
    """Send every log line of this process to ``fd``. Call it once at start; calling it again replaces the first.

    ``redactor`` may learn further secrets later. ``readable`` None: readable lines when ``fd`` is a terminal, else JSON.
    Returns the writer, for its :meth:`LineWriter.statistics`.
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
    """``dropped`` counts lines whose reader was gone or did not read, ``suppressed`` warnings that were too many of a kind."""

    written: int
    dropped: int
    suppressed: int = 0


class LineWriter:
    """Writes lines to a file descriptor; neither waits nor raises. A line that does not fit now is dropped and counted.

    The daemon must live on when the journal hangs or the terminal is gone. A descriptor that is shared with other processes
    cannot simply be made non-blocking, so each piece is at most PIPE_BUF, which a pipe that polls writable takes whole (pipe(7)).
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
        """Count a line that is not written."""
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
        """How many bytes went out."""
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
    """What structlog calls a logger: takes the finished line. ``name`` is what was given to ``structlog.get_logger``."""

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
        except Exception:  # a wrong format string somewhere must not become our failure
            event = repr(record.msg)
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        structlog.get_logger(record.name).log(level, event, exc_info=record.exc_info or None)


class _RateLimit:
    """Leaves out warnings and errors of which there are too many of a kind: what goes wrong a thousand times a second would push
    everything else out of the journal. The next one that is written says how many were left out."""

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
        """None: leave it out. Else how many were left out since the last that was written."""
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
    """Warnings of one kind: how many more may be written at ``at``."""

    __slots__ = ("at", "credit", "suppressed")

    def __init__(self, now: float) -> None:
        self.at = now
        self.credit: float = BURST
        self.suppressed = 0


class _Prefix:
    """Puts time (UTC, RFC 3339), level, logger and event in front."""

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
    """Bounds every value and takes every known secret out of it."""

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
        """The head of a text. What is looked at is cut first, and a secret cut in two there never comes to be shown."""
        head = self._redactor(_encodable(text[:MAX_LOOKED_AT]))
        if len(text) > MAX_LOOKED_AT:
            head = head[: max(len(head) - self._redactor.longest, 0)]
        elif len(head) <= MAX_TEXT:
            return head
        return f"{head[:MAX_TEXT]}… [{len(text)} characters]"

    def _trace(self, text: str) -> str:
        """The tail of a traceback: the innermost frames and the error itself stand there."""
        tail = self._redactor(_encodable(text[-MAX_LOOKED_AT:]))
        if len(text) > MAX_LOOKED_AT:
            tail = tail[self._redactor.longest :]
        elif len(tail) <= MAX_TRACE:
            return tail
        return f"[{len(text)} characters] …{tail[-MAX_TRACE:]}"


def _shorten(logger: object, method: str, event: Event) -> Event:
    """Many values that are each within their bound are too much together. What is cut here holds no secret any more."""
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
    """Without halves of surrogate pairs, as in a broken file name."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _to_json(logger: object, method: str, event: Event) -> str:
    return msgspec.json.encode(event).decode()


def _to_text(logger: object, method: str, event: Event) -> str:
    """``10:00:00 warning  gatewayd.web: event  key=value …``. Control characters are escaped: some texts come from strangers."""
    trace = event.pop("exception", None)
    head = f"{str(event.pop('time'))[11:19]} {event.pop('level'):<8} {event.pop('logger')}: {event.pop('event')}"
    line = "  ".join([head, *(f"{key}={value}" for key, value in event.items())])
    lines = [line] if trace is None else [line, *str(trace).split("\n")]
    return "\n".join(_printable(part) for part in lines)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
