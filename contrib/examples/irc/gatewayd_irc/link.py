"""One connection: its socket, the pace at which it may write, and the lines that wait for the server's word."""

import math
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

import anyio
import anyio.abc

from gatewayd.kit.text.visible import visible
from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain

from .settings import IrcSettings
from .wire import Message, render

GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
WORD_SECONDS = 40.0
"""How long the server may take to say what became of a line."""
LONGEST_WAIT = 15.0
"""In seconds. What would have to wait longer for its turn is left to the hub."""

_TOO_FAST = ("263", "439", "707")  # RPL_TRYAGAIN, ERR_TARGETTOOFAST (Bahamut and others), ERR_TARGCHANGE (Charybdis, Solanum)
_PAUSE = 30.0


async def connect(settings: IrcSettings) -> anyio.abc.ByteStream:
    """:raises TryAgain: nobody answers. :raises NeedsOperator: the certificate is not accepted, or a file cannot be read."""
    context = _context(settings) if settings.tls else None
    try:
        if context is None:
            return await anyio.connect_tcp(settings.server, settings.port)
        return await anyio.connect_tcp(settings.server, settings.port, ssl_context=context, tls_standard_compatible=False)
    except ssl.SSLCertVerificationError as error:
        raise NeedsOperator(f"the server's certificate is not accepted: {error.verify_message}", retries_slowly=True) from error
    except ssl.SSLError as error:
        raise NeedsOperator(f"no TLS at port {settings.port}: {error.reason}", retries_slowly=True) from error
    except GONE as error:
        raise TryAgain(f"cannot connect to {settings.server}, port {settings.port}: {error}") from error


def _context(settings: IrcSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.client_certificate is not None:
            context.load_cert_chain(settings.client_certificate)
    except OSError as error:  # ssl.SSLError is one
        raise NeedsOperator(f"ca_file or client_certificate cannot be used: {error.strerror or error}") from error
    return context


class Pace:
    """``burst`` lines at once, then one each ``seconds``: a token bucket, kept as the time at which it is full again (GCRA)."""

    def __init__(self, burst: int, seconds: float) -> None:
        self._tolerance = (burst - 1) * seconds
        self._seconds = seconds
        self._full_at = -math.inf

    def reserve(self) -> float:
        """In how many seconds the next line may be written. :raises TryAgain: in too many; nothing is reserved."""
        now = anyio.current_time()
        full_at = max(self._full_at, now)
        wait = max(full_at - now - self._tolerance, 0.0)
        if wait > LONGEST_WAIT:
            raise TryAgain("more lines wait than may be sent", after_seconds=wait, scope="sends")
        self._full_at = full_at + self._seconds
        return wait


class _Waiting:
    """A line that was written. ``error`` or, after ``settled``, ``is_taken`` say what became of it."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.settled = anyio.Event()
        self.is_taken = False
        self.message_id: str | None = None
        self.error: GatewayError | None = None


class Link:
    """``has_labels``: the server repeats the label of a line in its answer (IRCv3 labeled-response). Otherwise a PING follows
    each line: a server answers in order, so its PONG says that the line was looked at."""

    def __init__(self, stream: anyio.abc.ByteStream, fold: Callable[[str], str]) -> None:
        self.has_labels = False
        self.is_over = False
        self.said: deque[str] = deque(maxlen=1000)
        """The ids of our own messages, as far as the server gives any."""
        self._stream = stream
        self._fold = fold
        self._lock = anyio.Lock()
        self._waiting: dict[str, _Waiting] = {}
        self._count = 0

    async def write(self, *lines: bytes) -> None:
        """That the connection is over is for its reader to notice: the server may have said why."""
        with suppress(*GONE):
            await self._write(*lines)

    async def _write(self, *lines: bytes) -> None:
        async with self._lock:
            for line in lines:
                await self._stream.send(line)

    async def say(self, target: str, text: str, key: str, tags: Mapping[str, str]) -> str | None:
        """PRIVMSG. The id that the server gave it, if it does.

        :raises TryAgain: it was not sent. :raises SendRejected: the server refuses it. :raises OutcomeUnknown: nobody knows.
        """
        if self.is_over:
            raise TryAgain("the connection is over")
        self._count += 1
        label = f"{key}-{self._count}"
        waiting = self._waiting[label] = _Waiting(target)
        try:
            with anyio.move_on_after(WORD_SECONDS):
                if self.has_labels:
                    await self._write(render("PRIVMSG", target, text, tags={**tags, "label": label}))
                else:
                    await self._write(render("PRIVMSG", target, text, tags=tags), render("PING", label))
                await waiting.settled.wait()
        except GONE as error:
            raise OutcomeUnknown("the connection ended while the line was written") from error
        finally:
            del self._waiting[label]
        if waiting.error is not None:
            raise waiting.error
        if not waiting.is_taken:
            raise OutcomeUnknown("the server did not say that it has taken the line")
        if waiting.message_id is not None:
            self.said.append(waiting.message_id)
        return waiting.message_id

    def end(self) -> None:
        """Nothing more will be heard."""
        self.is_over = True
        for waiting in self._waiting.values():
            waiting.settled.set()

    def settle(self, message: Message, label: str | None, *, is_own: bool, is_last: bool) -> None:
        """``message`` may say what became of a line: its echo, an error, or the answer to the PING behind it. ``is_last``:
        nothing with this label follows."""
        if message.command == "PONG":
            label, is_last = message.text, True
        waiting = self._waiting.get(label) if label is not None else self._first_to(message, is_own=is_own)
        if waiting is None or waiting.settled.is_set():
            return
        if is_own and message.command == "PRIVMSG":
            waiting.message_id = message.tags.get("msgid")
        waiting.error = _error_of(message)
        waiting.is_taken = is_last and waiting.error is None
        if waiting.error is not None or waiting.is_taken:
            waiting.settled.set()

    def _first_to(self, message: Message, *, is_own: bool) -> _Waiting | None:
        """Without labels: the oldest line to the target that an echo or an error names."""
        if self.has_labels:
            return None
        named = [self._fold(name) for name in (message.params[:1] if is_own else message.params[:-1])]
        is_any = "privmsg" in named  # RPL_TRYAGAIN and FAIL name the command
        return next((one for one in self._waiting.values() if is_any or self._fold(one.target) in named), None)


def _error_of(message: Message) -> GatewayError | None:
    """Numerics of 400 and up are errors (RFC 2812, section 5), and so is FAIL (IRCv3 standard-replies)."""
    said = visible(message.text)
    if message.command in _TOO_FAST or (message.command == "FAIL" and "RATE_LIMIT" in " ".join(message.params[:2])):
        return TryAgain(f"the server wants us to be slower: {said}", after_seconds=_PAUSE, scope="sends")
    if message.command == "FAIL" or (message.command.isdecimal() and 400 <= int(message.command) < 600):
        return SendRejected(f"the server refuses it: {message.command} {said}")
    return None
