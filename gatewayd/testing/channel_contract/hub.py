"""The hub as a driver sees it: its services, and a ``deliver`` that remembers."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from random import Random

import httpx2
import trio
from msgspec import Struct, structs
from structlog.testing import capture_logs

from gatewayd.actor.wakeup import Wakeup
from gatewayd.model.message.envelope import InboundEnvelope, Peer
from gatewayd.model.secret import MaybeSecret, Secret
from gatewayd.ports.channel import NO_STATE, DeliveryReport, ReportKind
from gatewayd.testing.services import ServicesInMemory


class Services(ServicesInMemory):
    """The hub's side for one driver, over all its lives. It is the driver's connection reporter, too. ``kept`` outlives it."""

    def __init__(self, http: httpx2.AsyncClient, kept: dict[str, str] | None = None) -> None:
        super().__init__()
        self.http = http
        self.rng = Random(1)
        self.kept = {} if kept is None else kept
        self.connected_as: list[str | None] = []
        self.is_connected = trio.Event()
        self.silence: float | None = None
        self.heard_times = 0
        self.changed = Wakeup()
        self.connects_within = 60.0
        self.interruptions: list[str] = []
        self.lacking: dict[str, str | None] = {}
        self._life = trio.CancelScope()

    @property
    def connection(self) -> "Services":
        return self

    def begin_life(self) -> trio.CancelScope:
        """The scope of a life, which ends when the driver has heard nothing for longer than it said."""
        self.is_connected = trio.Event()
        self.silence = None
        self._life = trio.CancelScope()
        return self._life

    def end_life(self) -> None:
        self.is_connected = trio.Event()

    def connected(self, identity: str | None = None, *, resumed: bool = False) -> None:
        self.connected_as.append(identity)
        self.is_connected.set()
        self.changed.notify()
        self._expect()

    def connect_within(self, seconds: float) -> None:
        assert 0 < seconds <= 3600, f"connect_within({seconds}) is not more than 0 and at most 3,600"
        self.connects_within = seconds

    def interrupted(self, reason: str) -> None:
        self.interruptions.append(reason)
        self.is_connected = trio.Event()
        self._life.deadline = trio.current_time() + self.connects_within
        self.changed.notify()

    def lacks(self, what: str, reason: str | None) -> None:
        self.lacking[what] = reason

    def heard(self) -> None:
        self.heard_times += 1
        self._expect()

    def expect_silence(self, at_most_seconds: float | None) -> None:
        self.silence = at_most_seconds
        self._expect()

    def _expect(self) -> None:
        """The life ends when it is silent for too long, or connects for too long after an interruption."""
        if self.is_connected.is_set():
            self._life.deadline = inf if self.silence is None else trio.current_time() + self.silence


class Journal:
    """A ``deliver`` that keeps the envelopes and reports. It waits for ``gate``; with an ``error`` it fails.

    ``offered`` are all envelopes that it was called with, ``envelopes`` those that it has taken. ``overlapped`` is the
    conversation of which two calls ran at once, so that their order was left to chance. ``patience`` is how many seconds it waits
    for an event.
    """

    def __init__(self, services: Services, error: Exception | None = None, *, patience: float = inf) -> None:
        self.envelopes: list[InboundEnvelope] = []
        self.offered: list[InboundEnvelope] = []
        self.reports: list[DeliveryReport] = []
        self.calls = 0
        self.overlapped: Peer | None = None
        self.gate = trio.Event()
        self.gate.set()
        self.error = error
        self._services = services
        self._patience = patience
        self._changed = Wakeup()
        self._running: list[Peer] = []

    async def __call__(
        self,
        envelopes: Sequence[InboundEnvelope],
        *,
        state: Mapping[str, str] = NO_STATE,
        reports: Sequence[DeliveryReport] = (),
    ) -> None:
        self.calls += 1
        self.offered += envelopes
        peers = {envelope.peer for envelope in envelopes}
        self.overlapped = next((peer for peer in peers if peer in self._running), self.overlapped)
        self._running += peers
        self._tell()
        try:
            await self.gate.wait()
        finally:
            for peer in peers:
                self._running.remove(peer)
        if self.error is not None:
            raise self.error
        self._services.kept.update(state)
        self.envelopes += envelopes
        self.reports += reports
        self._tell()

    async def wait_called(self) -> None:
        await self._wait("any call", lambda: self.calls > 0)

    async def wait_presses(self, count: int) -> list[InboundEnvelope]:
        """Returns once there are so many button presses."""
        await self._wait(f"{count} presses", lambda: len(self.presses) >= count)
        return self.presses

    async def wait_texts(self, *texts: str) -> None:
        """Returns once exactly these texts have come, in this order."""
        await self._wait(f"the texts {', '.join(texts)}"[:100], lambda: len(self.texts) >= len(texts))
        assert self.texts == list(texts)

    async def wait_text(self, text: str) -> InboundEnvelope:
        """The first message with this text."""
        return await self.wait_event(f"the text {text}", lambda envelope: (envelope.kind, envelope.text) == ("message", text))

    async def wait_report(self, message_id: str | None, kind: ReportKind) -> DeliveryReport:
        """The first report of this kind about this message."""

        def found() -> list[DeliveryReport]:
            return [report for report in self.reports if (report.message_id, report.kind) == (message_id, kind)]

        await self._wait(f"the report that {message_id} is {kind}", lambda: bool(found()))
        return found()[0]

    async def wait_event(self, what: str, is_it: Callable[[InboundEnvelope], bool]) -> InboundEnvelope:
        """The first event that is it."""
        await self._wait(what, lambda: any(map(is_it, self.envelopes)))
        return next(filter(is_it, self.envelopes))

    @property
    def texts(self) -> list[str]:
        return [envelope.text for envelope in self.envelopes if envelope.kind == "message"]

    @property
    def presses(self) -> list[InboundEnvelope]:
        return [envelope for envelope in self.envelopes if envelope.kind == "button"]

    async def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        with trio.move_on_after(self._patience):
            while not condition():
                await self._changed.wait()
        there = [(each.kind, each.text[:40]) for each in self.envelopes] + [(each.kind, each.message_id) for each in self.reports]
        assert condition(), f"{what} never came; there were {there}"

    def _tell(self) -> None:
        self._changed.notify()


class Leak(AssertionError):
    """A secret of the settings is in a text that people read."""


class Secrets:
    """The secrets of an account's settings. What a driver says must have none of them."""

    def __init__(self, settings: Struct) -> None:
        self.values = tuple(_secrets_in(settings))

    def check(self, where: str, text: str) -> None:
        """:raises Leak: a secret is in the text. The error does not show it."""
        if any(value in text for value in self.values):
            raise Leak(f"a secret of the settings is in {where}")

    def check_error(self, error: BaseException) -> None:
        self.check(f"the reason of {type(error).__name__}", f"{error} {error!r}")

    @contextmanager
    def watch_logs(self) -> Iterator[None]:
        """Check everything that is logged inside."""
        lines = _Lines()
        root = logging.getLogger()
        root.addHandler(lines)
        try:
            with capture_logs() as events:
                yield
        finally:
            root.removeHandler(lines)
        self.check("a log line", f"{events!r} {lines.heard!r}")


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(f"{record.getMessage()} {record.exc_info}")


def _secrets_in(value: object) -> Iterator[str]:
    match value:
        case Secret():
            yield value.reveal()
        case MaybeSecret():
            yield from _secrets_in(value.value)
        case Struct():
            yield from _secrets_in(structs.asdict(value))
        case Mapping():
            yield from _secrets_in(list(value.values()))
        case list() | tuple() | set() | frozenset():
            for each in value:
                yield from _secrets_in(each)
