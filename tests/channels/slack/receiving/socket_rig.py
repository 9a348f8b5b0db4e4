"""Socket Mode as the hub runs it, against Slack's side."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from msgspec import Raw, Struct

from gatewayd.actor.border import third_party
from gatewayd.channels.slack.receiving.inbound import Bot, Read, Receiver
from gatewayd.channels.slack.receiving.socket import SocketMode
from gatewayd.kit.json import decode
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.ports.channel import NO_STATE, DeliveryReport
from gatewayd.testing.channel_contract import Services
from tests.channels.slack.receiving.slack_side import APP, Slack, slack_side

IDENTITY = "@bot in Acme"
PATIENCE_SECONDS = 5_000.0
"""More than any test needs, so that what hangs fails."""


class Event(Struct):
    text: str


class Payload(Struct):
    event: Event


class PlainReceiver(Receiver):
    """Each payload with an event is a message; its text is the key."""

    def __init__(self) -> None:
        self.bot = Bot("T01", "U0BOT", app_id=APP)
        self.gaps = 0

    def event(self, payload: bytes | Raw) -> Read:
        text = decode(payload, Payload).event.text
        return Read((InboundEnvelope("slack", "main", text, "message", Peer("dm", "U01"), Sender("U01"), text),), {"last": text})

    interaction = event

    def note_gap(self) -> None:
        self.gaps += 1

    async def meet(self, payloads: Iterable[bytes | Raw]) -> None:
        await trio.lowlevel.checkpoint()

    def command(self, payload: bytes | Raw | Mapping[str, str]) -> Read:
        if isinstance(payload, Mapping):
            payload = json.dumps({"event": payload}).encode()
        return self.event(payload)


class Hub:
    """``committed`` are the keys in order, ``commits`` the same by commit. ``before`` is awaited before each commit."""

    def __init__(self) -> None:
        self.committed: list[str] = []
        self.commits: list[list[str]] = []
        self.state: dict[str, str] = {}
        self.before: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.fetched_at: list[float] = []
        self.fetch: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint

    async def deliver(
        self,
        envelopes: Sequence[InboundEnvelope],
        *,
        state: Mapping[str, str] = NO_STATE,
        reports: Sequence[DeliveryReport] = (),
    ) -> None:
        await self.before()
        keys = [envelope.event_key for envelope in envelopes]
        self.committed += keys
        self.commits.append(keys)
        self.state.update(state)

    async def missed(self) -> None:
        self.fetched_at.append(trio.current_time())
        await self.fetch()


class Rig:
    """One life. ``over`` is set when it has ended by an error, which is in ``error``."""

    def __init__(self, slack: Slack, http: Any, connections: int) -> None:
        self.slack = slack
        self.hub = Hub()
        self.services = Services(http)
        self.receiver = PlainReceiver()
        self.mode = SocketMode(slack.open_url, http, self.services, self.receiver, connections=connections, identity=IDENTITY)
        self.error: Exception | None = None
        self.over = trio.Event()
        slack.check = self._check

    async def run(self) -> None:
        try:
            with third_party():
                await self.mode.run(self.hub.deliver, self.hub.missed)
        except Exception as error:
            self.error = error
            self.over.set()

    @property
    def lacks(self) -> dict[str, str]:
        return {what: reason for what, reason in self.services.lacking.items() if reason is not None}

    def _check(self, envelope_id: str) -> None:
        """Nothing is acknowledged before its commit."""
        event = self.slack.frames.get(envelope_id, {}).get("payload", {}).get("event")
        assert event is None or event["text"] in self.hub.committed, f"{envelope_id} was acknowledged before its commit"


@asynccontextmanager
async def rig_for(connections: int = 2, *, prepare: Callable[[Slack], None] = lambda slack: None) -> AsyncIterator[Rig]:
    async with slack_side() as (slack, http), trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + PATIENCE_SECONDS
        prepare(slack)
        rig = Rig(slack, http, connections)
        nursery.start_soon(rig.run)
        yield rig
        nursery.cancel_scope.cancel()
    assert trio.current_time() < nursery.cancel_scope.deadline, "what the test waits for never came"
