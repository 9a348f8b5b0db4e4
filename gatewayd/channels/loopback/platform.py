"""The platform of the loopback: it does what the servers of a network do for a real driver, with faults on demand."""

import secrets
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from math import inf

import trio
from msgspec import Struct, structs
from trio.lowlevel import RunVar

from gatewayd.actor.wakeup import Wakeup
from gatewayd.channels.loopback.inbound import Inbound
from gatewayd.model.errors import SendRejected, TryAgain
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import (
    Choice,
    EditText,
    OutboundPayload,
    PressAnswer,
    Receipt,
    RichText,
    SendFile,
    SendText,
    Signal,
)
from gatewayd.ports.channel import DeliveryReport

Act = Callable[[], Awaitable[None]]

_MOST_KEPT = 10_000


class ListenReturns(Exception):
    """An act of a script: makes ``listen`` return without an error, which is a bug of a driver."""


class Script:
    """What goes wrong in one operation, call by call. Without an act nothing goes wrong."""

    def __init__(self) -> None:
        self._next: deque[Act] = deque()
        self._always: Act | None = None

    def next(self, *acts: Act) -> None:
        """The next calls, one act each."""
        self._next.extend(acts)

    def always(self, act: Act | None) -> None:
        """Every call from now on; None: nothing goes wrong any more."""
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
    """Be slow, also when cancelled, as a driver that logs out."""

    async def act() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)

    return act


def ignoring_cancellation(release: trio.Event) -> Act:
    """Hang until ``release``, also when cancelled."""

    async def act() -> None:
        with trio.CancelScope(shield=True):
            await release.wait()

    return act


async def hanging() -> None:
    """Hang until cancelled."""
    await trio.sleep_forever()


async def returning_from_listen() -> None:
    """Make ``listen`` return."""
    raise ListenReturns


class Shown(Struct, frozen=True):
    """A message as it is shown now, with its rows of buttons."""

    id: str
    peer: Peer
    text: str
    choices: tuple[tuple[Choice, ...], ...] = ()
    reply_to: str | None = None

    def choice(self, label: str) -> Choice | None:
        """The first button with this label."""
        return next((choice for row in self.choices for choice in row if choice.label == label), None)


class LoopbackPlatform:
    """The platform of one account. It lives as long as the test, while the account may be opened any number of times.

    ``pace_seconds``: the least time between two sends; an earlier one is refused with the time that it has to wait.
    ``sent`` are the payloads that reached it, ``shown`` the messages as they are shown now, ``grown`` the message and the text of
    each call that made one grow, ``received`` the bytes of the messages that are files, ``receipts`` those of each key.
    ``inbound`` is the other direction. ``files`` are what attachments refer to. Who sends to a peer that is ``stalled`` gets no
    answer.
    """

    def __init__(self) -> None:
        self.on_open = Script()
        self.on_listen = Script()
        self.on_connected = Script()
        self.before_send = Script()
        self.after_send = Script()
        self.before_grow = Script()
        self.after_grow = Script()
        self.on_close = Script()
        self.sent: deque[OutboundPayload] = deque(maxlen=_MOST_KEPT)
        self.shown: OrderedDict[str, Shown] = OrderedDict()
        self.received: dict[str, bytes] = {}
        self.grown: deque[tuple[str, str]] = deque(maxlen=_MOST_KEPT)
        self.signals: deque[Signal] = deque(maxlen=_MOST_KEPT)
        self.receipts: OrderedDict[str, Receipt] = OrderedDict()
        self.files: dict[str, bytes] = {}
        self.stalled: set[Peer] = set()
        self.pace_seconds = 0.0
        self._next_at = -inf
        self.opened = 0
        self.open_now = 0
        self._changed = Wakeup()
        self.inbound = Inbound(self._changed)
        self._receipts = count(1)
        self._keys = count(1)
        # Keys of another process must not be taken for ours: the inbox remembers them.
        self._salt = secrets.token_hex(4)

    def note_opening(self) -> None:
        """The account is being opened, once more."""
        self.opened += 1

    def note_open(self) -> None:
        self.open_now += 1

    def note_closed(self) -> None:
        self.open_now -= 1

    @property
    def acknowledged(self) -> Sequence[str]:
        """The event keys that the driver has acknowledged."""
        return self.inbound.acknowledged

    @property
    def texts(self) -> list[str]:
        """The texts that reached the platform, in order."""
        return [payload.body.text for payload in self.sent if isinstance(payload, SendText)]

    def keep_pace(self) -> None:
        """:raises TryAgain: a send now would be too fast."""
        wait = self._next_at - trio.current_time()
        if wait > 0:
            raise TryAgain("the platform takes no more at the moment", after_seconds=wait, scope="sends")
        self._next_at = trio.current_time() + self.pace_seconds

    def inject(self, event: InboundEnvelope | DeliveryReport) -> trio.Event:
        """Let an event happen on the platform. The event returned is set when the driver has acknowledged it.

        :raises Overloaded: ten thousand are waiting already.
        """
        return self.inbound.inject(event)

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

    def press_of(
        self,
        data: str,
        message_id: str,
        *,
        account: str = "main",
        peer: Peer | None = None,
        sender: Sender | None = None,
    ) -> InboundEnvelope:
        """A press that sends ``data`` from under this message, whether or not there is such a button. Not yet injected."""
        message = self.message(data, account=account, peer=peer, sender=sender)
        return structs.replace(message, kind="button", message_id=message_id, press=f"press-{message.event_key}")

    async def press(
        self, label: str, *, account: str = "main", message_id: str | None = None, sender: Sender | None = None
    ) -> InboundEnvelope:
        """Somebody presses the button with this label under this message, else under the newest that has one. Returns once it
        is acknowledged, so after its commit.

        :raises KeyError: there is no such button.
        """
        for shown in reversed(self.shown.values()):
            if message_id in (None, shown.id) and (choice := shown.choice(label)) is not None:
                envelope = self.press_of(choice.data, shown.id, account=account, peer=shown.peer, sender=sender)
                await self.inject(envelope).wait()
                return envelope
        raise KeyError(label)

    def answers_to(self, press: InboundEnvelope) -> list[str]:
        """The answers to this press."""
        return [signal.text for signal in self.signals if isinstance(signal, PressAnswer) and signal.press == press.press]

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Returns as soon as ``condition`` holds. It is checked after each send, signal and acknowledgement."""
        while not condition():
            await self._changed.wait()

    async def wait_for_answer(self, peer: Peer) -> None:
        """Returns when the platform is about to answer a send to this peer: for ``stalled`` ones never."""
        if peer in self.stalled:
            await trio.sleep_forever()

    def accept_file(self, payload: SendFile, content: bytes, *, key: str = "") -> Receipt:
        """The driver's ``send`` of a file, as the platform sees it."""
        receipt = self.accept(payload, key=key)
        assert receipt.message_id is not None, "the loopback gives each message an id"
        self.received[receipt.message_id] = content
        return receipt

    def accept(self, payload: OutboundPayload, *, key: str = "") -> Receipt:
        """The driver's ``send``, as the platform sees it. :raises SendRejected: there is no message to edit."""
        if isinstance(payload, EditText):
            message_id = payload.message_id
            if message_id is None or message_id not in self.shown:
                raise SendRejected("message gone: the loopback shows no such message")
        else:
            message_id = str(next(self._receipts))
        self.sent.append(payload)
        reply_to = self.shown[message_id].reply_to if isinstance(payload, EditText) else payload.reply_to
        self.shown[message_id] = Shown(message_id, payload.peer, payload.body.text, payload.choices, reply_to)
        self.receipts[key] = Receipt(message_id)
        if len(self.shown) > _MOST_KEPT:
            self.received.pop(self.shown.popitem(last=False)[0], None)
        if len(self.receipts) > _MOST_KEPT:
            self.receipts.popitem(last=False)
        self._tell()
        return self.receipts[key]

    def grow(self, message_id: str, text: RichText) -> None:
        """The driver's ``grow``, as the platform sees it. :raises SendRejected: there is no message to edit."""
        if message_id not in self.shown:
            raise SendRejected("message gone: the loopback shows no such message")
        self.grown.append((message_id, text.text))
        self.shown[message_id] = structs.replace(self.shown[message_id], text=text.text)
        self._tell()

    def show(self, signal: Signal) -> None:
        """The driver's ``signal``, as the platform sees it."""
        self.signals.append(signal)
        self._tell()

    def _tell(self) -> None:
        self._changed.notify()


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
