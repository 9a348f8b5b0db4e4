"""A hub in memory for the tests of its parts: the real parts on the real store, a scripted agent, and a list as the channel."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal, cast

import anyio
import trio
import trio.testing
from msgspec.structs import replace

from gatewayd.hub.accounts.manager import ChannelManager
from gatewayd.hub.agents.pool import AgentPool
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.events import EventLog
from gatewayd.hub.inbox.backlog import Backlog
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.model.config import (
    AccountFrame,
    AccountSettings,
    AgentApprovals,
    AgentFrame,
    AgentSettings,
    ApprovalsSection,
    GatewayConfig,
    LimitsSection,
    OutboxSection,
    SessionsSection,
)
from gatewayd.model.errors import NeedsOperator, SendRejected, StoreRefused, TryAgain
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import EditText, PressAnswer, Receipt, RichText, SendText, Signal
from gatewayd.model.records.audit import AuditRow
from gatewayd.model.status import AccountStatus, AgentStatus, Stall, StallStatistics
from gatewayd.ports.agent import CoreTurnState, Final, Turn
from gatewayd.ports.channel import ChannelPlugin, TextLimit
from gatewayd.ports.store import InboundRow, OutboundRow
from gatewayd.stores.sqlite import SqliteStore, run_inline
from gatewayd.testing.store_contract.rows import ready
from gatewayd.wiring import run_hub, wire
from tests.stores.opened_before import every_outbound, open_store

EPOCH = 1_800_000_000.0
CANARY = "canary-5c1f"
PLUGIN = ChannelPlugin(id="chat", label="Chat", settings="-", open="-")
BUTTONS = ChannelPlugin(id="tg", label="With buttons", settings="-", open="-", buttons=True, edits=True)
TINY = ChannelPlugin(id="sms", label="Tiny", settings="-", open="-", text_format="plain", text_limit=TextLimit(160, "chars"))
RECALLS = ChannelPlugin(id="slick", label="Recalls threads", settings="-", open="-", recalls=True)
FORGETS = replace(BUTTONS, id="deaf", label="Forgets presses", repeats_presses=False)
PLUGINS = {plugin.id: plugin for plugin in (PLUGIN, BUTTONS, TINY, RECALLS, FORGETS)}
OPEN = AccountFrame(dm_policy="open", group_policy="open", require_mention=False)

Script = Callable[[Turn], Awaitable[str]]


def now() -> float:
    """Wall time that follows the fake clock."""
    return EPOCH + trio.current_time()


def redact(text: str) -> str:
    return text.replace(CANARY, "***")


async def echo(turn: Turn) -> str:
    return f"re: {turn.request.text}"


class Gate:
    """A script that waits at a gate, and notes who runs at the same time."""

    def __init__(self) -> None:
        self.gate = anyio.Event()
        self.running: list[str] = []
        self.most = 0

    async def __call__(self, turn: Turn) -> str:
        self.running.append(turn.request.text)
        self.most = max(self.most, len(self.running))
        try:
            await self.gate.wait()
            return f"re: {turn.request.text}"
        finally:
            self.running.remove(turn.request.text)


class FlakyStore:
    """The real store with a disk that can be full, and with commits whose news can be held back. ``handed`` are the rows that the
    outbox had from it to be sent."""

    def __init__(self, store: SqliteStore, accounts: Collection[tuple[str, str]]) -> None:
        self._store = store
        self._accounts = accounts
        self.handed: list[OutboundRow] = []
        self.refuses: set[str] = set()
        self.refused: list[str] = []
        self.holds: dict[str, anyio.Event] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return found if name in ("statistics", "watch") else partial(self._call, name, found)

    async def _call(self, name: str, method: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        if name in self.refuses:
            self.refused.append(name)
            raise StoreRefused("the disk is full; nothing was stored")
        result = await method(*args, **kwargs)
        if name in self.holds:
            await self.holds[name].wait()
        self.handed += [row for row in _to_be_sent(name, result) if (row.channel, row.account) in self._accounts]
        return result


def _to_be_sent(name: str, result: Any) -> Sequence[OutboundRow]:
    match name:
        case "add_outbound" | "end_inbound":
            return cast(Sequence[OutboundRow], result)
        case "settle_outbound" if result.notice is not None:
            return [result.notice]
        case "retry_dead_letters":
            return [repaired.row for repaired in result.done if isinstance(repaired.row, OutboundRow)]
    return ()


class ScriptedAgents:
    """An agent pool with one core, whose turns are a function of the test's."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.turns: list[Turn] = []
        self.resumed: list[Turn] = []
        self.known: CoreTurnState = "lost"
        self.errors: list[str] = []
        self.away: TryAgain | NeedsOperator | None = None
        self.changed = anyio.Event()
        self.sessions = 0
        self.restarts = 0
        self.status = AgentStatus("assistant", "echo", "open")

    async def core(self, agent_id: str) -> "ScriptedAgents":
        if self.away is not None:
            raise self.away
        return self

    async def wait_changed(self, agent_id: str) -> None:
        await self.changed.wait()

    def ordered_restarts(self, agent_id: str) -> int:
        return self.restarts

    def note_turn(self, agent_id: str, delta: int) -> None:
        pass

    def note_end(self, agent_id: str, seconds: float, *, error: str | None) -> None:
        if error is not None:
            self.errors.append(error)

    async def new_session(self, session_key: str) -> str:
        self.sessions += 1
        return f"session-{self.sessions}"

    async def run(self, turn: Turn) -> Final:
        self.turns.append(turn)
        return Final(await self.script(turn))

    async def resume(self, turn: Turn) -> Final:
        self.resumed.append(turn)
        return Final(await self.script(turn))

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        return self.known


class ScriptedPool:
    """The pool of that one core, for the parts that run turns."""

    def __init__(self, agents: ScriptedAgents) -> None:
        self._agents = agents

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agents, name)

    @asynccontextmanager
    async def run(self, **partners: object) -> AsyncIterator[None]:
        yield

    def kind_of(self, agent_id: str) -> None:
        """Nobody asks which kind of core it is."""

    def snapshot(self) -> tuple[AgentStatus, ...]:
        return (self._agents.status,)


class ListedAccounts:
    """The accounts of a configuration, which send nothing."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self.hangs = False
        self.down: dict[tuple[str, str], str] = {}
        self.files: dict[str, bytes] = {}
        self.thread: Sequence[Earlier] | Exception = ()
        self.statuses: tuple[AccountStatus, ...] = ()

    @asynccontextmanager
    async def run(self, **partners: object) -> AsyncIterator[None]:
        yield

    def snapshot(self) -> tuple[AccountStatus, ...]:
        return self.statuses

    def unreachable(self, channel: str, account: str) -> str | None:
        return self.down.get((channel, account))

    async def fetch(self, channel: str, account: str, attachment: Attachment, at_most_bytes: int) -> bytes:
        if attachment.ref not in self.files:
            raise SendRejected("gone")
        return self.files[attachment.ref][:at_most_bytes]

    async def earlier(self, channel: str, account: str, envelope: InboundEnvelope, at_most: int) -> Sequence[Earlier]:
        if isinstance(self.thread, Exception):
            raise self.thread
        return self.thread[-at_most:]

    def grows_every(self, channel: str, account: str, peer: Peer) -> float | None:
        return None

    async def grow(self, channel: str, account: str, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        raise SendRejected("nothing grows here")

    async def signal(self, channel: str, account: str, signal: Signal) -> None:
        self.signals.append(signal)
        if self.hangs:
            await anyio.sleep_forever()


class NoStalls:
    """Who watches the event loop and sees nothing, unless a test says that there was a stall."""

    def __init__(self) -> None:
        self.newest: Stall | None = None

    def last_stall(self) -> Stall | None:
        return self.newest

    def statistics(self) -> StallStatistics:
        return StallStatistics()


class House:
    """The hub as the daemon wires it, with a scripted agent and accounts that are lists: ``handed`` is what waits for them."""

    def __init__(self, real: SqliteStore, config: GatewayConfig, agents: ScriptedAgents) -> None:
        self.flaky = FlakyStore(real, [(account.channel, account.account) for account in config.accounts])
        self.store = cast(SqliteStore, self.flaky)
        self.agents = agents
        plugins = {account.channel: PLUGINS[account.channel] for account in config.accounts}
        self.configured = Configured(config, plugins)
        self.events = EventLog(self.store, now=now, keep=lambda: config.limits.event_rows)
        context = Context(self.store, self.events, now, Random(1), redact)

        def accounts(outbox: Outbox, backlog: Backlog) -> ChannelManager:
            self.accounts = ListedAccounts()
            return cast(ChannelManager, self.accounts)

        pool = cast(AgentPool, ScriptedPool(agents))
        gateway = self.gateway = wire(context, self.configured, agents=pool, accounts=accounts, stalls=NoStalls())
        self.outbox, self.backlog, self.inbox, self.turns = gateway.outbox, gateway.backlog, gateway.inbox, gateway.turns
        self.desk, self.questions, self.responses = gateway.approvals, gateway.questions, gateway.responses
        self.access, self.sessions, self.late = gateway.access, gateway.sessions, gateway.late
        self.handed, self.signals, self.files, self.down = (
            self.flaky.handed,
            self.accounts.signals,
            self.accounts.files,
            self.accounts.down,
        )

    @property
    def config(self) -> GatewayConfig:
        return self.configured.config

    @property
    def texts(self) -> list[str]:
        """What would be sent, in order."""
        return [row.payload.body.text for row in self.handed if isinstance(row.payload, SendText)]

    async def say(self, text: str, *, peer: Peer | None = None, sender: Sender | None = None, **changes: object) -> InboundRow:
        """Deliver one message and return its row."""
        [row] = await self.inbox.deliver([message(text, peer=peer, sender=sender, **changes)])
        return row

    async def press(
        self, prompt: OutboundRow, data: str, *, by: str = "1", peer: Peer | None = None, message_id: str | None = None
    ) -> InboundRow:
        """Press the button with this data, or with data that ends so, under a prompt that was sent."""
        under = message_id or f"m{prompt.id}"
        datas = [choice.data for row in prompt.payload.choices for choice in row]
        whole = next((known for known in datas if known.endswith(f":{data}")), data)
        where = peer or prompt.payload.peer
        number = str(next(_numbers))
        changes: dict[str, object] = {"channel": prompt.channel, "kind": "button", "message_id": under, "press": f"p{number}"}
        return await self.say(whole, peer=where, sender=Sender(by), **changes)

    async def send_all(self) -> None:
        """What waits to be sent is sent, as the accounts would: each message gets an id, ``m`` and its row's number."""
        for account in self.config.accounts:
            for row in await ready(self.store, account.channel, account.account):
                assert await self.outbox.mark_sending(row)
                if (await self.outbox.addressed(row)).payload is None:
                    await self.outbox.settle(row, "dead", reason="the message to edit was not sent")
                else:
                    await self.outbox.settle(row, "sent", receipt=Receipt(f"m{row.id}"))
        await trio.testing.wait_all_tasks_blocked()

    async def lose(self, row: OutboundRow, reason: str = "the chat is gone") -> None:
        """The platform refuses this row for good."""
        assert await self.outbox.mark_sending(row)
        await self.outbox.settle(row, "dead", reason=reason)
        await trio.testing.wait_all_tasks_blocked()

    async def screen(self, conversation: str) -> list[OutboundRow]:
        """The messages of a conversation as they read now, with their edits, oldest first. An edit has its message's id."""
        shown: dict[int, OutboundRow] = {}
        for row in await every_outbound(self.flaky._store):
            if row.conversation == conversation and isinstance(row.payload, EditText):
                shown[row.payload.of] = replace(shown[row.payload.of], payload=row.payload)
            elif row.conversation == conversation:
                shown[row.id] = row
        return list(shown.values())

    async def audited(self, action: str = "") -> list[AuditRow]:
        """The entries of the audit log whose action begins so."""
        return [row for row in await self.store.audit_after(0, limit=10_000) if row.action.startswith(action)]

    def answers(self) -> list[str]:
        """What was said to those who pressed."""
        return [signal.text for signal in self.signals if isinstance(signal, PressAnswer)]

    async def reason_of(self, row: InboundRow) -> tuple[str, str | None]:
        """State and reason of a row now."""
        found = await self.store.get_inbound(row.id)
        assert found is not None
        return found.state, found.reason

    async def ended(self, row: InboundRow) -> InboundRow:
        """The row at its end, when what follows from it has been done, too: the end is in the store before it is told."""
        found = await self.backlog.wait_ended(row.id)
        await trio.testing.wait_all_tasks_blocked()
        return found


_numbers = iter(range(1, 1_000_000_000))


def message(text: str = "hello", *, peer: Peer | None = None, sender: Sender | None = None, **changes: object) -> InboundEnvelope:
    """A direct message from peer 7, unless changed."""
    peer = peer or Peer("dm", "7")
    number = str(next(_numbers))
    fields: dict[str, object] = {"event_key": number, "kind": "message", "message_id": number, "text": text, "addressed": True}
    fields |= {"channel": "chat", "account": "main", "peer": peer, "sender": sender or Sender(peer.id)}
    return InboundEnvelope(**(fields | changes))  # type: ignore[arg-type]


def configuration(
    *,
    frame: AccountFrame = OPEN,
    sessions: SessionsSection | None = None,
    limits: LimitsSection | None = None,
    approvals: ApprovalsSection | None = None,
    outbox: OutboxSection | None = None,
    policy: AgentApprovals | None = None,
    on_lost_turn: Literal["rerun", "report"] = "rerun",
    channels: Sequence[str] = ("chat", "tg", "sms"),
) -> GatewayConfig:
    agent = AgentFrame(on_lost_turn=on_lost_turn, approvals=policy or AgentApprovals())
    return GatewayConfig(
        agents=(AgentSettings("assistant", agent, AgentFrame()),),
        accounts=tuple(AccountSettings(channel, "main", frame, AccountFrame()) for channel in channels),
        sessions=sessions or SessionsSection(),
        limits=limits or LimitsSection(),
        approvals=approvals or ApprovalsSection(),
        outbox=outbox or OutboxSection(),
    )


@asynccontextmanager
async def open_house(
    state_dir: Path, script: Script = echo, *, config: GatewayConfig | None = None, agents: ScriptedAgents | None = None
) -> AsyncIterator[House]:
    """A running hub. Leaving it is a crash for whatever still runs: only what was committed is in ``state_dir``."""
    async with open_store(state_dir, now=now, run_blocking=run_inline) as store, anyio.create_task_group() as tasks:
        house = House(store, config or configuration(), agents or ScriptedAgents(script))
        async with run_hub(house.gateway, parent=tasks):
            yield house
            tasks.cancel_scope.cancel()
