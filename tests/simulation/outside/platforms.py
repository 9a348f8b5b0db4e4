"""The other side of the channels: accounts on platforms that remember everything, and whose network does what it likes.

An account has its updates (what people do), what it confirmed of them, and what became visible. It outlives the daemon.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

import trio
from msgspec import Struct

from gatewayd.model.errors import NeedsOperator, OutcomeUnknown, Scope, SendRejected, TryAgain
from gatewayd.model.message.envelope import InboundKind, Origin, Peer, Sender
from gatewayd.model.message.payload import Choice, EditText, OutboundPayload, Receipt, SendText
from gatewayd.model.message.report import DeliveryReport, ReportKind
from tests.simulation.trace import Trace, Violation

if TYPE_CHECKING:
    from tests.simulation.life import Life

POLL_SECONDS: Final = 25.0
NOT_MODIFIED: Final = "not modified"
_PAGE: Final = 10
_LATEST: Final = 90.0
_FIRST_OF_PEOPLE: Final = 1_000_000
"""People's messages are numbered from here, ours from 1."""

SEND_FAULTS: Final[Mapping[str, int]] = {
    "limited": 4,
    "limited_all": 2,
    "broken": 4,
    "rejected": 1,
    "cut_before": 2,
    "cut_after": 3,
    "late": 1,
    "hangs": 1,
    "hangs_after": 1,
    "slow": 4,
    "garbage": 1,
    "wreck": 1,
    "revoked": 1,
}
GROW_FAULTS: Final[Mapping[str, int]] = {
    "limited": 4,
    "broken": 4,
    "rejected": 1,
    "cut_before": 2,
    "cut_after": 3,
    "late": 4,
    "hangs": 2,
    "slow": 4,
    "garbage": 1,
    "wreck": 1,
}
LATEST_GROWTH: Final = 4.5
"""So late may a call that was cut still make a message grow, in seconds."""
FIND_FAULTS: Final[Mapping[str, int]] = {
    "limited": 2,
    "broken": 4,
    "forgotten": 1,
    "hangs": 1,
    "slow": 4,
    "garbage": 1,
    "revoked": 1,
}
POLL_FAULTS: Final[Mapping[str, int]] = {
    "dropped": 5,
    "limited_all": 2,
    "answer_lost": 4,
    "again": 5,
    "hangs": 2,
    "garbage": 1,
    "wreck": 1,
    "revoked": 1,
    "ends": 1,
    "slow": 4,
}
OPEN_FAULTS: Final[Mapping[str, int]] = {"dropped": 4, "bug": 2, "closes_slowly": 4}
PUSH_FAULTS: Final[Mapping[str, int]] = {"dropped": 4, "answer_lost": 4, "twice": 4, "slow": 4}


class Panic(BaseException):
    """As extensions raise it, and other event loops where they cancel."""


WRECKS: Final = (KeyboardInterrupt, SystemExit, GeneratorExit, Panic)
"""What third-party code may raise that is no ``Exception``."""


def place_of(channel: str, account: str, peer: Peer) -> str:
    """A conversation in one word."""
    return f"{channel}/{account}/{peer.kind}:{peer.id}" + ("" if peer.thread is None else f"#{peer.thread}")


class Knows(Struct, frozen=True):
    """What a platform knows of the sends of before: their keys, so long, and drops a send that comes again; and, where it can be
    asked, whether there was one."""

    keys_for_seconds: float = 0.0
    can_be_asked: bool = False


KINDS_OF_KNOWING: Final = (Knows(), Knows(120.0), Knows(600.0), Knows(can_be_asked=True), Knows(120.0, can_be_asked=True))
"""Longer than what is shown late takes: a platform that promises something for less time does not keep it."""

Identity = tuple[Peer, str, str | None]


def identity_of(payload: OutboundPayload, message_id: str | None = None) -> Identity:
    """What it shows where, and of an edit in which message: ``message_id`` where the payload does not say it yet."""
    changes = payload.message_id or message_id if isinstance(payload, EditText) else None
    return payload.peer, payload.body.text, changes


class Mark(Struct, frozen=True):
    """What makes a text another than its sender's own word; see ``InboundEnvelope``."""

    forwarded: Origin | None = None
    via_bot: str | None = None
    caption: bool = False


OWN: Final = Mark()


class Update(Struct, frozen=True):
    """Something that a person did. ``number`` is the platform's own id of it."""

    number: int
    kind: InboundKind
    peer: Peer
    sender: Sender
    text: str
    message_id: str | None
    at: float
    press: str | None = None
    mark: Mark = OWN
    report: DeliveryReport | None = None


class Shown(Struct):
    """A message of ours that people see. ``texts`` are its versions, the newest last."""

    message_id: str
    peer: Peer
    texts: list[str]
    choices: tuple[tuple[Choice, ...], ...]
    at: float


class Weather:
    """How often a call of one account goes wrong, and how. ``clear`` ends that for good; ``down`` is an outage."""

    def __init__(self, rng: Random, chance: float) -> None:
        self.rng = rng
        self.chance = chance
        self.down = False

    def clear(self) -> None:
        self.chance, self.down = 0.0, False

    def draw(self, faults: Mapping[str, int]) -> str:
        if self.down:
            return "dropped" if "dropped" in faults else "broken"
        if self.rng.random() >= self.chance:
            return "fine"
        return self.rng.choices(list(faults), list(faults.values()))[0]

    def latency(self, fate: str) -> float:
        if fate == "slow":
            return self.rng.uniform(3.0, 40.0)
        return self.rng.choice((0.0, 0.001, 0.02, 0.2)) if self.chance else 0.001


class Account:
    """One account of the simulated platform. ``on_shown`` hears of every message that becomes visible or changes, ``on_pause`` of
    every pause that is asked for in a chat."""

    def __init__(
        self, channel: str, name: str, weather: Weather, trace: Trace, now: Callable[[], float], *, keys: str = ""
    ) -> None:
        """``keys``: what an update's number is the end of, in the key under which the daemon has it."""
        self.channel = channel
        self.name = name
        self.weather = weather
        self._keys = keys
        self.knows = Knows()
        self.may_be_seen: set[Identity] = set()
        """What was shown, or may have been shown as far as its sender can tell. What was found not to be is taken out."""
        self._effects: dict[str, tuple[str, float]] = {}
        self._late: Counter[str] = Counter()
        self.is_in_process = True
        """Whether a driver raises what this raises. A server behind HTTP does not, and an edit that comes again is none to it."""
        self.gives_up: Callable[[], bool] = lambda: False
        """Whether a reply is given up after some attempts; the next life does not know what it was to wait for."""
        self.forgets_presses = False
        """Whether a press is lost that comes while nobody listens."""
        self.lost_presses: list[tuple[str, float]] = []
        """Under which message, and when."""
        self.was_away = False
        """Whether it was not in the configuration for a while."""
        self.connections: list[tuple[float, Life]] = []
        """When a gap ended, and in which life."""
        self._listener: Life | None = None
        self.updates: list[Update] = []
        self.confirmed: set[int] = set()
        self.shown: dict[str, Shown] = {}
        self.tells_all = False
        """Whether it tells of deletions, and reports what became of a message: before its receipt or after it, twice, in any
        order."""
        self.on_shown: Callable[[Account, Shown], None] = lambda account, shown: None
        self.on_pause: Callable[[Account, Peer, float], None] = lambda account, peer, seconds: None
        self.on_growth: Callable[[], None] = lambda: None
        self.late: Callable[[float, Callable[[], None]], None] = lambda seconds, effect: None
        self.fail: Callable[[Violation], None] = lambda violation: None
        self.count: Callable[[str], None] = lambda what: None
        self._pauses: dict[tuple[object, ...], tuple[float, float]] = {}
        self._trace = trace
        self._now = now
        self._arrived = trio.Event()
        self._numbers = 0
        self._taken = 0

    def __str__(self) -> str:
        return f"{self.channel}/{self.name}"

    def placed(self, peer: Peer) -> Peer:
        """The conversation that the plan of the people means, as it is named here."""
        return peer

    def key_of(self, number: int) -> str:
        """The ``event_key`` of an update."""
        return f"{self._keys}{number}"

    def happen(
        self,
        kind: InboundKind,
        peer: Peer,
        sender: Sender,
        text: str,
        *,
        message_id: str | None = None,
        mark: Mark = OWN,
    ) -> Update:
        """A person does something. A new message gets its own id."""
        self._numbers += 1
        number = self._numbers
        press = f"p{number}" if kind == "button" else None
        update = Update(number, kind, peer, sender, text, message_id or str(_FIRST_OF_PEOPLE + number), self._now(), press, mark)
        self.updates.append(update)
        self._trace.tell(str(self), f"{sender.id} {kind} {number}{self._place(peer)}: {text[:70]!r}")
        self._arrived.set()
        self._arrived = trio.Event()
        return update

    @property
    def unconfirmed(self) -> list[Update]:
        return [update for update in self.updates if update.number not in self.confirmed]

    def note_listening(self, life: "Life") -> None:
        if self._listener is not life:
            self._listener = life
            self.connections.append((self._now(), life))

    def note_away(self, life: "Life") -> None:
        if self._listener is life:
            self._listener = None

    def press(self, shown: Shown, sender: Sender, data: str) -> Update | None:
        """A person presses a button. None: the press is lost."""
        if self.forgets_presses and (self._listener is None or self._listener.dead):
            self.count("presses lost while nobody listened")
            self._trace.tell(str(self), f"loses a press of {sender.id} under {shown.message_id}")
            self.lost_presses.append((shown.message_id, self._now()))
            return None
        return self.happen("button", shown.peer, sender, data, message_id=shown.message_id)

    def confirm(self, update: Update) -> None:
        self.confirmed.add(update.number)

    async def wait_arrived(self) -> None:
        await self._arrived.wait()

    async def get_updates(self, life: "Life", offset: int, *, seconds: float = POLL_SECONDS) -> list[Update]:
        """Confirm what is below ``offset``, then give what is not: at once, or after ``seconds`` nothing."""
        fate = self.weather.draw(POLL_FAULTS)
        await self._travel(life, fate)
        life.pass_point("before_call")
        self._meet(fate, life)
        for update in self.updates[: max(0, offset - 1)]:
            self.confirm(update)
        if fate == "hangs":
            await trio.sleep_forever()
        with trio.move_on_after(seconds):
            while len(self.updates) < offset:
                await self.wait_arrived()
        life.check_alive()
        page = self.updates[offset - 1 : offset - 1 + _PAGE] if offset > 0 else self.updates[:_PAGE]
        if fate == "again" and self.updates:
            # Never what comes after the page: an offset behind that would confirm what nobody has been given.
            known = self.updates[: page[-1].number if page else offset - 1]
            first = self.weather.rng.randrange(len(known))
            page = [*known[first : first + 2], *page, *page[-1:]]
        if fate == "answer_lost":
            raise TryAgain("the connection was cut before the answer had come")
        life.pass_point("after_call")
        return page

    async def send(self, life: "Life", payload: OutboundPayload, key: str = "") -> Receipt:
        """What a driver calls for one payload."""
        identity = identity_of(payload)
        known = identity in self.may_be_seen
        self.may_be_seen.add(identity)
        try:
            return await self._send(life, payload, key)
        except (OutcomeUnknown, trio.Cancelled):
            raise
        except BaseException:
            if not known and not life.dead:
                self.may_be_seen.discard(identity)
            raise

    async def find(self, life: "Life", payload: OutboundPayload, key: str) -> Receipt | None:
        """What a driver is told of a send of before."""
        fate = self.weather.draw(FIND_FAULTS)
        await self._travel(life, fate)
        self.count("sends looked up")
        self._meet(fate, life)
        if fate == "hangs":
            await trio.sleep_forever()
        if fate == "forgotten":
            raise OutcomeUnknown("it is not kept any more")
        if self._late[key]:
            raise TryAgain("it is still being worked on", scope="conversation")
        await trio.sleep(self.weather.latency("fine"))
        life.check_alive()
        if key in self._effects:
            return Receipt(self._effects[key][0])
        self.may_be_seen.discard(identity_of(payload))
        return None

    async def _send(self, life: "Life", payload: OutboundPayload, key: str) -> Receipt:
        fate = self.weather.draw(SEND_FAULTS)
        version = self._version_of(payload)
        began = self._now()
        await self._travel(life, fate)
        life.pass_point("before_call")
        self._look_at_pause(payload, life, began)
        self._meet(fate, life, payload)
        if fate == "hangs":
            await trio.sleep_forever()
        if fate == "late":
            self._late[key] += 1
            self.late(self.weather.rng.uniform(0.1, _LATEST), lambda: self._show_late(payload, key, version))
        if fate in ("cut_before", "late"):
            raise OutcomeUnknown("the connection was cut")
        if not self.is_in_process and version != self._version_of(payload):
            raise SendRejected(NOT_MODIFIED)  # it took so long that it was sent once more: the same twice is once
        receipt = self._lose(payload, key) or self.show(payload, key)
        life.pass_point("after_call")
        if fate == "hangs_after":
            await trio.sleep_forever()
        await trio.sleep(self.weather.latency("fine"))
        life.check_alive()
        if fate == "cut_after":
            raise OutcomeUnknown("the connection was cut")
        return receipt

    def _lose(self, payload: OutboundPayload, key: str) -> Receipt | None:
        """Take an answer that will never be seen, and report that, now or later. If its key is forgotten, it may come again."""
        is_answer = isinstance(payload, SendText) and payload.body.text.startswith("re turn-") and not payload.grows
        known = key in self._effects or self._late[key] > 0
        if known or not (self.tells_all and is_answer and self.weather.rng.random() < 2 * self.weather.chance):
            return None
        self.count("replies that could not be delivered, although the platform took them")
        receipt = Receipt(self._new_id())
        if self.weather.rng.random() < 0.5:
            self._remember(key, receipt)
        self.may_be_seen.discard(identity_of(payload))
        self._report(receipt, "failed")
        return receipt

    def _remember(self, key: str, receipt: Receipt) -> None:
        if key:
            self._effects[key] = receipt.message_id or "", self._now()

    def _report(self, receipt: Receipt, *kinds: ReportKind) -> None:
        """Tell of a message, each kind once or twice, before the receipt has come or later."""
        rng = self.weather.rng
        for kind in rng.sample(kinds, len(kinds)):
            report = DeliveryReport(receipt.message_id or "", kind, self._now(), f"{kind} by the platform")
            times = rng.choice((1, 1, 2))
            if times > 1:
                self.count("delivery reports told twice")
            for _ in range(times):
                if rng.random() < 0.4:
                    self.count("delivery reports before the receipt")
                    self._tell_of(report)
                else:
                    self.count("delivery reports later")
                    self.late(rng.uniform(0.001, 60.0), partial(self._tell_of, report))

    def _tell_of(self, report: DeliveryReport) -> None:
        self._numbers += 1
        nobody = Peer("dm", "0"), Sender("0")
        self.updates.append(Update(self._numbers, "service", *nobody, "", None, self._now(), report=report))
        self._trace.tell(str(self), f"reports {report.message_id}: {report.kind}")
        self._arrived.set()
        self._arrived = trio.Event()

    def _new_id(self) -> str:
        self._taken += 1
        return str(self._taken)

    async def grow(self, life: "Life", payload: EditText) -> None:
        """What a driver calls to show more of a message. The next call, or the end of the message, makes good what is cut."""
        fate = self.weather.draw(GROW_FAULTS)
        self.count("messages that grow: calls")
        self.on_growth()
        began = self._now()
        await self._travel(life, fate)
        life.pass_point("before_call")
        self._look_at_pause(payload, life, began)
        self._meet(fate, life, payload)
        if fate == "hangs":
            await trio.sleep_forever()
        if fate == "late":
            self.late(self.weather.rng.uniform(0.1, LATEST_GROWTH), lambda: self._show_late(payload, "", None))
        if fate in ("cut_before", "late"):
            raise OutcomeUnknown("the connection was cut")
        self.show(payload)
        life.pass_point("after_call")
        if fate == "cut_after":
            raise OutcomeUnknown("the connection was cut")

    def show(self, payload: OutboundPayload, key: str = "") -> Receipt:
        """It is visible from now on. :raises SendRejected: there is no such message to change."""
        if isinstance(payload, SendText):
            before, at = self._effects.get(key, ("", -math.inf))
            if self._now() - at < self.knows.keys_for_seconds:
                self.count("repeated sends dropped")
                if before not in self.shown:
                    self.may_be_seen.discard(identity_of(payload))  # the first one was lost, as its report says
                return Receipt(before)
            shown = Shown(self._new_id(), payload.peer, [payload.body.text], payload.choices, self._now())
            self.shown[shown.message_id] = shown
            self._remember(key, Receipt(shown.message_id))
            if self.tells_all and self.weather.rng.random() < 0.5:
                self._report(Receipt(shown.message_id), "delivered", "read")
        else:
            assert isinstance(payload, EditText)
            known = self.shown.get(payload.message_id or "")
            if known is None or known.peer != payload.peer:
                raise SendRejected("there is no such message in this chat")
            shown = known
            if len(shown.texts) > 1 and (shown.texts[-1], shown.choices) == (payload.body.text, payload.choices):
                return Receipt(shown.message_id)  # the same edit twice is once
            shown.texts.append(payload.body.text)
            shown.choices = payload.choices
        self._trace.tell(str(self), f"shows {shown.message_id}{self._place(shown.peer)}: {shown.texts[-1][:70]!r}")
        self.on_shown(self, shown)
        return Receipt(shown.message_id)

    def _version_of(self, payload: OutboundPayload) -> int:
        """How often the message was changed that is to change."""
        known = self.shown.get(payload.message_id or "") if isinstance(payload, EditText) else None
        return 0 if known is None else len(known.texts)

    def _show_late(self, payload: OutboundPayload, key: str, version: int | None) -> None:
        self._late[key] -= 1
        if version is not None and version != self._version_of(payload):
            return  # it was changed meanwhile: what comes this late is not taken
        try:
            self.show(payload, key)
        except SendRejected:
            return

    def _place(self, peer: Peer) -> str:
        return f" in {place_of(self.channel, self.name, peer).rpartition('/')[2]}"

    async def _travel(self, life: "Life", fate: str) -> None:
        life.check_alive()
        if fate != "fine":
            self._trace.tell(str(self), f"meets: {fate}")
        await trio.sleep(self.weather.latency(fate))
        life.check_alive()

    def _look_at_pause(self, payload: OutboundPayload, life: "Life", began: float) -> None:
        """What was refused with a wish for a pause must not come again before, nor anything else where it goes. What was on its
        way already could not know."""
        pauses = [self._pauses[name] for name in self._waits_as(payload, life) if name in self._pauses]
        until = max((until for since, until in pauses if since <= began), default=0.0)
        if self._now() < until - 0.001 and not life.dead:
            self.fail(
                Violation("pauses are kept", f"{self} was sent {payload.body.text[:40]!r} {until - self._now():.1f} s early")
            )

    def _waits_as(self, payload: OutboundPayload, life: "Life") -> Iterator[tuple[object, ...]]:
        """What is held by a pause: the payload, over restarts; and its chat, as long as the daemon lives that surely was told."""
        if self._comes_once(payload):
            yield payload.peer, payload.body.text, payload.message_id if isinstance(payload, EditText) else None
        if self.is_in_process:
            yield payload.peer, life.number

    def _comes_once(self, payload: OutboundPayload) -> bool:
        """The text of an answer is that of one row, and of one message the edits are in one order; others may come again for
        another reason."""
        if isinstance(payload, SendText):
            return payload.body.text.startswith("re turn-")
        if isinstance(payload, EditText) and not payload.of:
            return False  # a growing text of which the next life knows nothing
        return not self.gives_up()

    def _meet(self, fate: str, life: "Life", payload: OutboundPayload | None = None) -> None:
        """The faults of a call that surely has had no effect."""
        life.check_alive()
        wish = self.weather.rng.choice((None, 0.5, 3.0, 30.0, 149.0))
        if payload is not None and wish is not None and fate.startswith("limited"):
            self._pauses.update(dict.fromkeys(self._waits_as(payload, life), (self._now(), self._now() + wish)))
            self.on_pause(self, payload.peer, wish)
        match fate:
            case "limited":
                raise TryAgain("429 in this chat", after_seconds=wish, scope="conversation")
            case "limited_all":
                scope: Scope = "account" if payload is None else self.weather.rng.choice(("account", "sends"))
                raise TryAgain("429", after_seconds=wish, scope=scope)
            case "broken" | "dropped":
                raise TryAgain("502")
            case "rejected":
                raise SendRejected("the user has blocked the bot")
            case "garbage":
                raise ValueError("the answer is no JSON")
            case "wreck" if self.is_in_process:
                self.count("drivers: raised what is no Exception")
                raise self.weather.rng.choice(WRECKS)("out of the driver")
            case "wreck":
                raise ValueError("the answer is no JSON")
            case "revoked":
                raise NeedsOperator("401: the token was revoked", retries_slowly=self.weather.rng.random() < 0.5)
            case _:
                return
