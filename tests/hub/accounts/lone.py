"""A sender with its outbox, over a store in memory: what is left of an account when one looks at its sends only."""

from collections.abc import Sequence
from random import Random
from typing import cast

import trio

from contrib.examples.memory_store import MemoryStore
from gatewayd.actor.backoff import Backoff
from gatewayd.actor.border import Bug
from gatewayd.actor.life import Life
from gatewayd.hub.accounts.sender import Sender
from gatewayd.hub.configured import Configured
from gatewayd.hub.events import EventLog
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.hub.outbox.outcomes import ReplyOutcomes
from gatewayd.model.config import GatewayConfig, OutboxSection
from gatewayd.model.errors import GatewayError
from gatewayd.model.message.payload import EditText, OutboundPayload, RichText
from gatewayd.ports.channel import Channel, ChannelPlugin
from gatewayd.ports.store import OutboundDraft, OutboundRow, Settled, Store
from tests.hub.street import now


class Counting(MemoryStore):
    """Counts the writes of sends."""

    def __init__(self) -> None:
        super().__init__(now)
        self.writes = 0

    async def mark_sending(self, outbound_id: int) -> bool:
        self.writes += 1
        return await super().mark_sending(outbound_id)

    async def settle_outbound(self, *args: object, **named: object) -> Settled:
        self.writes += 1
        return await super().settle_outbound(*args, **named)  # type: ignore[arg-type]


class LoneSender:
    """The sends of one account of ``plugin``. ``start`` begins a life of the process, over the rows of the one before."""

    def __init__(self, plugin: ChannelPlugin, config: OutboxSection) -> None:
        self.store = Counting()
        self.told: list[int] = []
        self._plugin = plugin
        self._config = config

    async def start(self) -> None:
        store, config = cast(Store, self.store), GatewayConfig(outbox=self._config)
        plugin, account = self._plugin, (self._plugin.id, "main")
        events = EventLog(store, now=now, keep=lambda: 0)
        configured = Configured(config, {plugin.id: plugin})
        self.outbox = Outbox(store, events, configured, ReplyOutcomes(), notice=self._notice, now=now)
        await self.outbox.recover([account])
        await self.outbox.adopt([account])
        backoff = Backoff(Random(1), longest_seconds=300.0)
        self._sender = Sender(*account, self.outbox, backoff, self._config, now=now, redact=str)

    def _notice(self, row: OutboundRow, of_turn: Sequence[OutboundRow]) -> None:
        self.told.append(row.id)

    async def write(self, *payloads: OutboundPayload) -> list[OutboundRow]:
        return await self.outbox.write([OutboundDraft(self._plugin.id, "main", str(each.peer), each) for each in payloads])

    async def edit(self, row: OutboundRow, text: str) -> OutboundRow:
        return (await self.write(EditText(row.payload.peer, RichText(text), of=row.id)))[0]

    async def run(self, channel: Channel, *, seconds: float = 20_000) -> int:
        """Send until nothing waits, or for so long. Returns how often the account has failed with a bug."""
        bugs = 0
        with trio.move_on_after(seconds):
            while self._waits:
                life = Life(connect_seconds=60, close_seconds=10, on_started=lambda: None, on_connected=lambda: None)
                life.connected()
                try:
                    with trio.move_on_after(3600) as scope:
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(self._end_when_done, scope)
                            await self._sender.run(channel, life)
                except* GatewayError:
                    await trio.sleep(1)
                except* Bug:
                    bugs += 1
        return bugs

    @property
    def _waits(self) -> bool:
        return self.outbox.depth(self._plugin.id, "main") > 0

    async def _end_when_done(self, scope: trio.CancelScope) -> None:
        while self._waits:
            await self.outbox.wait_settled()
        scope.cancel()

    async def now_of(self, row: OutboundRow) -> OutboundRow:
        found = await self.store.get_outbound(row.id)
        assert found is not None
        return found
