"""Accounts for the tests of actors: the real manager, outbox and store, loopback platforms, and a plain journal."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random
from typing import cast

import anyio
import httpx2
import msgspec
import trio

from gatewayd.channels.loopback import PLUGIN
from gatewayd.channels.loopback.channel import open_loopback
from gatewayd.channels.loopback.platform import LoopbackPlatform, platform_of
from gatewayd.channels.loopback.settings import LoopbackSettings
from gatewayd.hub.accounts.account import AccountActor
from gatewayd.hub.accounts.manager import ChannelManager
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.events import EventLog
from gatewayd.hub.outbox.files import OutgoingFiles
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.hub.outbox.outcomes import ReplyOutcomes
from gatewayd.model.config import AccountFrame, AccountSettings, GatewayConfig, LimitsSection, OutboxSection
from gatewayd.model.ids import AccountId, ConversationId
from gatewayd.model.message.envelope import InboundEnvelope, Peer
from gatewayd.model.message.payload import RichText, SendText
from gatewayd.model.status import AccountStatus
from gatewayd.ports.channel import ChannelOpener, ChannelPlugin
from gatewayd.ports.store import AccountReport, InboundRow, OutboundDraft, OutboundRow, StateValue, Store
from gatewayd.stores.sqlite import SqliteStore, run_inline
from tests.stores.opened_before import open_store

EPOCH = 1_800_000_000.0
ALICE = Peer("dm", "alice")
BOB = Peer("dm", "bob")


def now() -> float:
    """Wall time that follows the fake clock."""
    return EPOCH + trio.current_time()


class StoreJournal:
    """The first half of the inbox: the commit. ``gate`` keeps it full, ``refusal`` is the error of the disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.gate = trio.Event()
        self.gate.set()
        self.refusal: Exception | None = None
        self.texts: list[str] = []
        self.at_once = 0
        self.most_at_once = 0

    async def deliver(
        self,
        envelopes: Sequence[InboundEnvelope],
        *,
        state: Sequence[StateValue] = (),
        reports: Sequence[AccountReport] = (),
    ) -> list[InboundRow]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            if self.refusal is not None:
                raise self.refusal
            rows = (await self._store.add_inbound(envelopes, state=state, reports=reports)).rows
        finally:
            self.at_once -= 1
        self.texts += [row.envelope.text for row in rows]
        return rows

    def waiting_of(self, channel: str, account: str) -> int:
        return self.at_once

    def full_since(self, channel: str, account: str) -> float | None:
        return None


class Street:
    """The accounts with the parts that they use, and the platform of each account."""

    def __init__(
        self,
        store: SqliteStore,
        config: GatewayConfig,
        opener: Callable[[ChannelPlugin], ChannelOpener],
        http: httpx2.AsyncClient,
        folder: Path,
        plugin: ChannelPlugin = PLUGIN,
    ) -> None:
        self.store = store
        self.folder = folder
        self.configured = Configured(config, {plugin.id: plugin})
        self.events = EventLog(store, now=now, keep=lambda: config.limits.event_rows)
        self.outbox = Outbox(store, self.events, self.configured, ReplyOutcomes(), notice=lambda row, of_turn: None, now=now)
        self.journal = StoreJournal(store)
        self.gaps: list[tuple[str, float]] = []
        context = Context(
            cast(Store, store), self.events, now, Random(5), redact=lambda text: text.replace("hunter2", "***"), files=folder
        )
        self.files = OutgoingFiles(context, self.configured, self.outbox)
        self.manager = ChannelManager(
            context,
            self.configured,
            opener,
            outbox=self.outbox,
            backlog=self.journal,
            http=http,
        )

    def run(self) -> AbstractAsyncContextManager[None]:
        """The accounts, with the journal that they deliver to."""
        return self.manager.run(journal=self.journal, on_gap_end=self._note_gap_end, parent=None)

    def _note_gap_end(self, channel: str, account: str) -> None:
        self.gaps.append((account, trio.current_time()))

    def platform(self, account: str = "main") -> LoopbackPlatform:
        return platform_of(account)

    def actor(self, account: str = "main") -> AccountActor:
        return self.manager.account("loopback", account)

    def status(self, account: str = "main") -> AccountStatus:
        return self.actor(account).status

    async def reply(self, *texts: str, account: str = "main", peer: Peer = ALICE) -> list[OutboundRow]:
        """Write rows to the outbox, as the end of a turn does."""
        conversation = str(ConversationId(AccountId("loopback", account), peer))
        return await self.outbox.write(
            [OutboundDraft("loopback", account, conversation, SendText(peer, RichText(text))) for text in texts]
        )

    async def row_now(self, row: OutboundRow) -> OutboundRow:
        found = await self.store.get_outbound(row.id)
        assert found is not None
        return found

    async def state_of(self, row: OutboundRow) -> str:
        return (await self.row_now(row)).state

    async def told(self, account: str = "main") -> list[str]:
        """The states of an account, as the event log tells them."""
        await self.events.wait_flushed()
        events = [event for event in await self.events.after(0, limit=10_000) if event.kind == "channels.state"]
        return [data["state"] for event in events if (data := msgspec.json.decode(event.data))["account"] == account]


def configuration(
    *accounts: str, disabled: Sequence[str] = (), outbox: OutboxSection | None = None, limits: LimitsSection | None = None
) -> GatewayConfig:
    return GatewayConfig(
        accounts=tuple(
            AccountSettings("loopback", name, AccountFrame(enabled=name not in disabled), LoopbackSettings(identity=f"@{name}"))
            for name in accounts or ("main",)
        ),
        outbox=outbox or OutboxSection(),
        limits=limits or LimitsSection(),
    )


@asynccontextmanager
async def open_street(
    state_dir: Path,
    config: GatewayConfig | None = None,
    *,
    opener: Callable[[ChannelPlugin], ChannelOpener] = lambda plugin: open_loopback,
    started: bool = True,
    plugin: ChannelPlugin = PLUGIN,
) -> AsyncIterator[Street]:
    """Running accounts. Leaving it cancels them; what was committed is in ``state_dir``."""
    config = config or configuration()
    async with (
        open_store(state_dir, now=now, run_blocking=run_inline) as store,
        httpx2.AsyncClient() as http,
        anyio.create_task_group() as tasks,
    ):
        street = Street(store, config, opener, http, state_dir / "files", plugin)
        await tasks.start(street.events.run)
        await street.outbox.recover([(settings.channel, settings.account) for settings in config.accounts])
        if started:
            async with street.run():
                yield street
        else:
            yield street
        tasks.cancel_scope.cancel()
