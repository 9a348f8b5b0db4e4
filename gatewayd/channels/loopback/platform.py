"""The other side of the loopback: what a real platform's servers are to a real driver, with faults on demand."""

import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import count

import trio
from trio.lowlevel import RunVar

from gatewayd.model.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.errors import Overloaded
from gatewayd.model.payload import OutboundPayload, Receipt, SendText, Signal
from gatewayd.ports.channel import Deliver

Act = Callable[[], Awaitable[None]]

_MOST_WAITING = 10_000
_MOST_KEPT = 10_000


class EndQuietly(Exception):
    """An act of a script: ``listen`` returns as if all were well."""


class Script:
    """What goes wrong at one place, call by call. Without an act, nothing does."""

    def __init__(self) -> None:
        self._next: deque[Act] = deque()
        self._always: Act | None = None

    def next(self, *acts: Act) -> None:
        """The next calls, one act each."""
        self._next.extend(acts)

    def always(self, act: Act | None) -> None:
        """Every call from now on; None: all is well again."""
        self._always = act

    async def play(self) -> None:
        if self._next:
            await self._next.popleft()()
        elif self._always is not None:
            await self._always()


def failing(error: Exception) -> Act:
    """Raise ``error``."""

    async def act() -> None:
        raise error

    return act


def crashing_in_a_task(error: Exception) -> Act:
    """Raise ``error`` in a child task, so that it arrives in a group."""

    async def act() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failing(error))

    return act


def taking(seconds: float) -> Act:
    """Be slow."""

    async def act() -> None:
        await trio.sleep(seconds)

    return act


def lingering(seconds: float) -> Act:
    """Be slow, also when cancelled: an orderly good-bye."""

    async def act() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)

    return act


def ignoring_cancellation(release: trio.Event) -> Act:
    """Hang, and not even be cancelled, until ``release``."""

    async def act() -> None:
        with trio.CancelScope(shield=True):
            await release.wait()

    return act


async def hanging() -> None:
    """Hang until cancelled."""
    await trio.sleep_forever()


async def ending_quietly() -> None:
    """Make ``listen`` return."""
    raise EndQuietly


class LoopbackPlatform:
    """One account's other side. It lives as long as the test, through any number of ``open``.

    ``sent`` are the payloads that reached it, ``acknowledged`` the event keys it was told are safe with us. A message that
    was not acknowledged is delivered again by the next ``listen``, as platforms do.
    """

    def __init__(self) -> None:
        self.on_open = Script()
        self.on_listen = Script()
        self.on_connected = Script()
        self.before_send = Script()
        self.after_send = Script()
        self.on_close = Script()
        self.sent: deque[OutboundPayload] = deque(maxlen=_MOST_KEPT)
        self.signals: deque[Signal] = deque(maxlen=_MOST_KEPT)
        self.acknowledged: deque[str] = deque(maxlen=_MOST_KEPT)
        self.opened = 0
        self.open_now = 0
        self._waiting: deque[tuple[InboundEnvelope, trio.Event]] = deque()
        self._wake = trio.Event()
        self._receipts = count(1)
        self._keys = count(1)
        # Keys of another process must not be taken for ours: the inbox remembers them.
        self._salt = secrets.token_hex(4)

    @property
    def texts(self) -> list[str]:
        """The texts that reached the platform, in order."""
        return [payload.body.text for payload in self.sent if isinstance(payload, SendText)]

    def inject(self, envelope: InboundEnvelope) -> trio.Event:
        """Let an event happen on the platform. The event returned is set when the driver has acknowledged it.

        :raises Overloaded: ten thousand are waiting already.
        """
        if len(self._waiting) >= _MOST_WAITING:
            raise Overloaded("the loopback holds no more messages")
        acknowledged = trio.Event()
        self._waiting.append((envelope, acknowledged))
        self._wake.set()
        return acknowledged

    def message(
        self, text: str, *, account: str = "main", peer: Peer | None = None, sender: Sender | None = None
    ) -> InboundEnvelope:
        """A new message, not yet injected."""
        number = next(self._keys)
        return InboundEnvelope(
            channel="loopback",
            account=account,
            event_key=f"{self._salt}-{number}",
            kind="message",
            peer=peer or Peer("dm", "alice"),
            sender=sender or Sender("alice", name="Alice"),
            text=text,
            message_id=str(number),
            addressed=True,
        )

    async def say(
        self, text: str, *, account: str = "main", peer: Peer | None = None, sender: Sender | None = None
    ) -> InboundEnvelope:
        """Somebody writes. Returns once it is acknowledged, so after its commit."""
        envelope = self.message(text, account=account, peer=peer, sender=sender)
        await self.inject(envelope).wait()
        return envelope

    async def deliver_waiting(self, deliver: Deliver) -> None:
        """The driver's ``listen``: deliver in order, acknowledge after each commit, for ever."""
        while True:
            while self._waiting:
                envelope, acknowledged = self._waiting[0]
                await deliver([envelope])
                self._waiting.popleft()
                self.acknowledged.append(envelope.event_key)
                acknowledged.set()
            self._wake = trio.Event()
            await self._wake.wait()

    def accept(self, payload: OutboundPayload) -> Receipt:
        """The driver's ``send``, as the platform sees it."""
        self.sent.append(payload)
        return Receipt(message_id=str(next(self._receipts)))


# One set of platforms per Trio run: tests in one process do not meet.
_platforms: RunVar[dict[str, LoopbackPlatform]] = RunVar("loopback platforms")


def platform_of(account: str = "main") -> LoopbackPlatform:
    """The other side of an account of this Trio run. Made on first use, before or after the account is opened."""
    try:
        platforms = _platforms.get()
    except LookupError:
        platforms = {}
        _platforms.set(platforms)
    if account not in platforms:
        platforms[account] = LoopbackPlatform()
    return platforms[account]
