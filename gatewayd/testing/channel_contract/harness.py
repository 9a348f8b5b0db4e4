"""The harness: what the contract needs of the tests of a channel. And the hub, as the driver sees it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Literal, Protocol, runtime_checkable

import httpx2
import trio
from msgspec import Struct

from gatewayd.actor.wakeup import Wakeup
from gatewayd.model.message.envelope import InboundEnvelope, Peer
from gatewayd.ports.channel import NO_STATE, AccountConfig
from gatewayd.testing.services import ServicesInMemory

SendFailure = Literal["outage", "rate limit", "pace", "rejected", "revoked", "cut"]


class Harness(Protocol):
    """One account and its platform, for one test. ``peer`` is a user: ``produce`` lets this user write, and we can send to them.

    ``failures`` are the ways in which the platform can make the next send fail, and how to arrange for each: an outage or a
    rate limit before anything was sent (``pace``: one of the whole account, which waits with its sends and stays connected), a
    refusal of this one payload, a revoked credential, a connection that is cut after the request was written. A platform lists
    those that it knows.
    """

    @property
    def account(self) -> AccountConfig: ...

    @property
    def peer(self) -> Peer: ...

    @property
    def failures(self) -> Mapping[SendFailure, Callable[[], Awaitable[None]]]: ...

    async def produce(self, text: str) -> None:
        """``peer`` writes ``text``. Returns when it has happened on the platform, without waiting for the driver."""

    async def acknowledged(self) -> int:
        """How many of the produced messages the driver has acknowledged: the platform will not send them again."""

    async def wait_acknowledged(self, count: int) -> None:
        """Returns once that many are."""

    async def received(self) -> Sequence[str]:
        """The texts that the platform shows to ``peer``, oldest first, as plain text."""


class Button(Struct, frozen=True):
    """A button as the platform shows it, with the data that its press sends."""

    label: str
    data: str


class Shown(Struct, frozen=True):
    """A message as the platform shows it now. ``buttons`` are in the order of reading."""

    id: str
    text: str
    buttons: tuple[Button, ...] = ()


@runtime_checkable
class EditsHarness(Harness, Protocol):
    """What a harness of a channel with ``edits`` gives beside the rest."""

    @property
    def unknown_message(self) -> str | None:
        """The id of a message that is not there; None where a driver cannot know which are."""

    async def shown(self) -> Sequence[Shown]:
        """What the platform shows to ``peer``, oldest first."""


@runtime_checkable
class ButtonsHarness(EditsHarness, Protocol):
    """What a harness of a channel with ``buttons`` gives beside the rest."""

    async def press(self, message_id: str, data: str) -> None:
        """``peer`` presses the button with this data. Returns when it has happened on the platform."""

    async def wait_answers(self, count: int) -> Sequence[str]:
        """The answers to the presses that ``peer`` was shown, in order. Returns once there are that many."""


class Services(ServicesInMemory):
    """The hub's side for one driver. It is the driver's connection reporter, too."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        super().__init__()
        self.http = http
        self.rng = Random(1)
        self.connected_as: list[str | None] = []
        self.is_connected = trio.Event()
        self.silence: float | None = None
        self.heard_times = 0

    @property
    def connection(self) -> "Services":
        return self

    def connected(self, identity: str | None = None) -> None:
        self.connected_as.append(identity)
        self.is_connected.set()

    def heard(self) -> None:
        self.heard_times += 1

    def expect_silence(self, at_most_seconds: float | None) -> None:
        self.silence = at_most_seconds


class Journal:
    """A ``deliver`` that keeps the envelopes. It waits for ``gate``; with an ``error`` it fails."""

    def __init__(self, services: Services, error: Exception | None = None) -> None:
        self.envelopes: list[InboundEnvelope] = []
        self.calls = 0
        self.gate = trio.Event()
        self.gate.set()
        self._services = services
        self._error = error
        self._changed = Wakeup()

    async def __call__(self, envelopes: Sequence[InboundEnvelope], *, state: Mapping[str, str] = NO_STATE) -> None:
        self.calls += 1
        self._tell()
        await self.gate.wait()
        if self._error is not None:
            raise self._error
        self._services.kept.update(state)
        self.envelopes += envelopes
        self._tell()

    async def wait_called(self) -> None:
        while not self.calls:
            await self._changed.wait()

    async def wait_presses(self, count: int) -> list[InboundEnvelope]:
        """Returns once there are so many button presses."""
        while len(self.presses) < count:
            await self._changed.wait()
        return self.presses

    async def wait_texts(self, *texts: str) -> None:
        """Returns once exactly these texts have come, in this order."""
        while len(self.texts) < len(texts):
            await self._changed.wait()
        assert self.texts == list(texts)

    @property
    def texts(self) -> list[str]:
        return [envelope.text for envelope in self.envelopes if envelope.kind == "message"]

    @property
    def presses(self) -> list[InboundEnvelope]:
        return [envelope for envelope in self.envelopes if envelope.kind == "button"]

    def _tell(self) -> None:
        self._changed.notify()
