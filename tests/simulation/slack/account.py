"""A Slack workspace as an account of the simulation: people act in the fake platform, and what our app shows there is seen."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any, Final

import httpx2
import trio

from gatewayd.channels.slack.sending.render import escape
from gatewayd.model.errors import OutcomeUnknown, SendRejected
from gatewayd.model.message.envelope import InboundKind, Peer, Sender
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt, SendText
from tests.fakes.slack_platform.delivery.deliveries import Delivery
from tests.fakes.slack_platform.delivery.events import MENTION
from tests.fakes.slack_platform.platform import FakeSlack, Parts
from tests.fakes.slack_platform.workspace import BOT_USER, TEAM, User
from tests.simulation.outside.platforms import OWN, Account, Mark, Shown, Update, identity_of

if TYPE_CHECKING:
    from tests.simulation.life import Life

Json = dict[str, Any]
PEOPLE: Final = ("101", "102", "108", "109", "201", "202")
CHANNELS: Final = {"-1001": "C1001", "-1002": "C1002"}
HISTORIES: Final = ("conversations.history", "conversations.replies")
NO_MESSAGE: Final = "there is no such message in this chat"
_QUIET_SECONDS: Final = 100.0
"""So long after the last look at a history nothing is read back any more: a call hangs for 30 s, and is made again after 60."""
_LONGEST_CALL_SECONDS: Final = 100.0
"""A call that takes longer has no effect any more."""


class SlackAccount(Account):
    """``begin`` makes the workspace. An update is confirmed when Slack need not tell it any more: it was acknowledged, or it is a
    message, which the histories tell. What was said before the first connection they tell nobody."""

    def begin(self, nursery: trio.Nursery, rng: Random) -> None:
        """Before anybody does anything."""
        self._nursery = nursery
        self._rng = rng
        self._numbered: dict[int, str] = {}
        self._given_up: set[int] = set()
        self._calls: dict[str, Json] = {}
        self._answers: dict[str, Json] = {}
        self._under_way = 0
        self._read_at = 0.0
        self._opened_at: float | None = None
        self.is_in_process = False
        parts = Parts(
            nursery, httpx2.AsyncClient(trust_env=False, verify=False), self._now, f"http://{self.name}.example", "socket"
        )
        parts.socket_mode._ping_seconds = None
        self.parts, self.slack = parts, FakeSlack(parts)
        for name in PEOPLE:
            parts.workspace.put_user(User(name, f"p{name}", f"P{name}"))
            parts.workspace.direct(name)
        if rng.random() < 0.5:
            self.slack.small_pages()
        self._threads: dict[str, str] = {}
        for channel in CHANNELS.values():
            parts.workspace.put_channel("channel", channel.lower(), [*PEOPLE, BOT_USER], id=channel)
            root = self.slack.say("201", channel, "a thread")
            self._threads[channel] = root
        self._trace.tell(str(self), "begins")

    # What people do.

    def placed(self, peer: Peer) -> Peer:
        """The conversation here that the plan of the people means."""
        if peer.kind != "group" or peer.id not in CHANNELS:
            return peer
        channel = CHANNELS[peer.id]
        return Peer("group", channel, None if peer.thread is None else self._threads[channel])

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
        """A person does something. Of one in four messages Slack tells later what is no edit: a preview, its language, a pin."""
        before, deliveries = len(self.slack.deliveries.all), self.slack.deliveries
        # As after six minutes of attempts, and sooner: so the simulation need not wait for them.
        deliveries.dropping = not self.slack.connections and self._rng.random() < 0.7
        self._numbers += 1
        number = self._numbers
        message_id, key = self._act(kind, peer, sender, text, message_id, mark)
        deliveries.dropping = False
        self._numbered[number] = key
        update = Update(number, kind, peer, sender, text, message_id, self._now(), mark=mark)
        self.updates.append(update)
        self._trace.tell(str(self), f"{sender.id} {kind} {number}{self._place(peer)}: {text[:70]!r}")
        self._nursery.start_soon(self._follow, update, self.slack.deliveries.all[before:])
        return update

    def _act(
        self, kind: InboundKind, peer: Peer, sender: Sender, text: str, message_id: str | None, mark: Mark
    ) -> tuple[str, str]:
        """The id of the message, and the key of the event."""
        slack, rng = self.slack, self._rng
        channel = slack.dm(peer.id) if peer.kind == "dm" else peer.id
        _, _, ts = (message_id or "").partition(":")
        if kind == "button":
            with suppress(LookupError):  # it has no such button any more
                delivery = slack.press(sender.id, channel, ts, value=text)
                action = delivery.payload["actions"][0]["action_ts"]
                return f"{channel}:{ts}", f"{TEAM}:{channel}:{ts}:{sender.id}:{action}"
            return f"{channel}:{ts}", ""
        if kind == "edit":
            edited = slack.edit(channel, ts, escape(text), user=sender.id)
            return f"{channel}:{ts}", f"{TEAM}:{channel}:{ts}:{edited}"
        words, fields, files = escape(text), dict[str, Any](), list[Json]()
        if mark.forwarded is not None or mark.via_bot is not None:
            shared = {"is_share": True, "text": words, "author_name": "Somebody", "ts": "1700000000.000100", "fallback": words}
            words, fields = "", {"attachments": [shared]}
        elif mark.caption:
            files = [slack.file(sender.id, "photo.png", b"png", mimetype="image/png")]
        elif peer.kind == "group" and rng.random() < 0.5:
            words = f"{MENTION} {words}"
        ts = slack.say(sender.id, channel, words, thread=peer.thread, files=files, fields=fields)
        if rng.random() < 0.25:
            slack.touch(channel, ts, rng.choice(("unfurl", "language", "pin")))
        return f"{channel}:{ts}", f"{TEAM}:{channel}:{ts}"

    async def _follow(self, update: Update, deliveries: Sequence[Delivery]) -> None:
        await self.slack.wait_until(lambda: all(one.outcome != "waiting" for one in deliveries))
        if any(one.outcome == "lost" for one in deliveries):
            self.count("Slack: events that were never acknowledged")
        is_told = any(one.outcome == "delivered" for one in deliveries)
        is_in_history = update.kind == "message" and self._opened_at is not None and update.at > self._opened_at
        if self._numbered[update.number] and (is_told or is_in_history):
            self.confirm(update)
        else:
            self._given_up.add(update.number)

    def note_call(self, method: str) -> None:
        """The daemon asks for a connection, or for what was said."""
        if method == "apps.connections.open" and self._opened_at is None:
            self._opened_at = self._now()
        elif method in ("users.conversations", *HISTORIES):
            self._read_at = self._now()

    async def travel(self, life: "Life", faults: Mapping[str, int]) -> str:
        """A call comes, perhaps late. Returns its fate."""
        fate = self.weather.draw(faults)
        await self._travel(life, fate)
        return fate

    def note_hello(self, life: "Life") -> None:
        """Each of the connections may end a gap."""
        self._listener = life
        self.connections.append((self._now(), life))

    def key_of(self, number: int) -> str:
        return self._numbered[number]

    @property
    def unconfirmed(self) -> list[Update]:
        """What Slack is still telling; all of it, while what was missed is perhaps being read back."""
        is_reading = not self.slack.connections or self._now() < self._read_at + _QUIET_SECONDS
        return self.updates if is_reading else [u for u in super().unconfirmed if u.number not in self._given_up]

    # What our app does.

    async def carry_out(self, life: "Life", payload: OutboundPayload, key: str, params: Json) -> Json:
        """A call of chat.postMessage or chat.update, as far as the network lets it. Returns Slack's answer."""
        self._calls[key] = params
        self._under_way += 1
        with trio.move_on_after(_LONGEST_CALL_SECONDS) as scope:
            try:
                await self._send(life, payload, key)
            finally:
                self._under_way -= 1
        if scope.cancelled_caught:
            raise OutcomeUnknown("it took too long")
        return self._answers[key]

    @property
    def is_sure(self) -> bool:
        """Whether no send is on its way of which the histories do not tell yet."""
        return not self._under_way and not any(self._late.values())

    def show(self, payload: OutboundPayload, key: str = "") -> Receipt:
        """:raises SendRejected: there is no such message to change."""
        params = dict(self._calls[key])
        if isinstance(payload, SendText):
            answer = self.parts.chat.post_message(params)
            name = f"{answer['channel']}:{answer['ts']}"
            shown = self.shown[name] = Shown(name, payload.peer, [payload.body.text], payload.choices, self._now())
        else:
            assert isinstance(payload, EditText)
            if payload.message_id not in self.shown:
                raise SendRejected(NO_MESSAGE)
            answer, shown = self.parts.chat.update(params), self.shown[payload.message_id]
            if len(shown.texts) == 1 or (shown.texts[-1], shown.choices) != (payload.body.text, payload.choices):
                shown.texts.append(payload.body.text)
            shown.choices = payload.choices
        self._answers[key] = {"ok": True, **answer}
        self.may_be_seen.add(identity_of(payload))
        self._trace.tell(str(self), f"shows {shown.message_id}{self._place(shown.peer)}: {shown.texts[-1][:70]!r}")
        self.on_shown(self, shown)
        return Receipt(shown.message_id)

    def peer_of(self, params: Json) -> Peer:
        """The conversation that a call is about."""
        channel = self.parts.workspace.channel(params["channel"])
        thread = params.get("thread_ts") or channel.messages.get(params.get("ts", ""), {}).get("thread_ts")
        return Peer("dm", channel.other(BOT_USER), thread) if channel.kind == "im" else Peer("group", channel.id, thread)
