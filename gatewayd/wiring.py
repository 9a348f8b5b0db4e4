"""The only place where the parts of the hub are wired, started and stopped.

Every part gets its partners when it is made; what exists only while the hub runs comes with ``run``. Nothing is bound afterwards.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random

import anyio
import httpx2
import structlog
import trio
from anyio.abc import TaskGroup

from gatewayd.hub.accounts.manager import ChannelManager
from gatewayd.hub.agents.late_texts import LateTexts
from gatewayd.hub.agents.pool import AgentPool
from gatewayd.hub.approvals.desk import ApprovalDesk
from gatewayd.hub.approvals.prompts import ApprovalPrompts
from gatewayd.hub.approvals.questions import QuestionDesk
from gatewayd.hub.approvals.responses import ApprovalResponses
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import MAIN, Context
from gatewayd.hub.events import EventLog
from gatewayd.hub.gateway import Gateway, Stalls
from gatewayd.hub.inbox.access import AccessControl
from gatewayd.hub.inbox.backlog import Backlog
from gatewayd.hub.inbox.inbox import InboxDesk
from gatewayd.hub.operations.dead_letter_counts import DeadLetterCounter
from gatewayd.hub.operations.dead_letter_queue import DeadLetterQueue
from gatewayd.hub.operations.retention import Retention
from gatewayd.hub.operations.trace import Tracer
from gatewayd.hub.outbox.deliveries import DeliveryReports
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.hub.outbox.unknown import UnknownReplies
from gatewayd.hub.turns.engine import ReplyEngine
from gatewayd.hub.turns.runner import TurnRunner
from gatewayd.hub.turns.sessions import SessionMap
from gatewayd.model.config import GatewayConfig
from gatewayd.plugins import Registry
from gatewayd.ports.store import Store

_FLUSH_SECONDS = 5.0

log = structlog.get_logger("gatewayd")

MakesAccounts = Callable[[Outbox, Backlog], ChannelManager]


def join(
    config: GatewayConfig,
    registry: Registry,
    store: Store,
    http: httpx2.AsyncClient,
    *,
    state_dir: Path,
    stalls: Stalls,
    redact: Callable[[str], str] = str,
    name: str = MAIN,
    now: Callable[[], float] = time.time,
    rng: Random | None = None,
) -> Gateway:
    """The hub of a configuration, with its real accounts and agents. Nothing runs yet. ``rng`` draws the jitter;
    ``name`` is this gateway's among those that share the store."""
    plugins = {account.channel: registry.channel_or_placeholder(account.channel) for account in config.accounts}
    configured = Configured(config, plugins)
    events = EventLog(store, now=now, keep=lambda: configured.config.limits.event_rows)
    context = Context(store, events, now, rng or Random(), redact, name)

    def accounts(outbox: Outbox, backlog: Backlog) -> ChannelManager:
        return ChannelManager(context, configured, registry.channel_opener, outbox=outbox, backlog=backlog, http=http)

    agents = AgentPool(
        context, configured, lambda core: registry.agent_opener(registry.agent(core)), http=http, state_dir=state_dir
    )
    return wire(context, configured, agents=agents, accounts=accounts, stalls=stalls)


def wire(context: Context, configured: Configured, *, agents: AgentPool, accounts: MakesAccounts, stalls: Stalls) -> Gateway:
    """Every part of the hub, each made once. ``accounts`` makes the manager of the accounts over the outbox and the backlog."""
    store, events, now = context.store, context.events, context.now
    reports = DeliveryReports()
    backlog = Backlog(store, configured, now=now)
    unknown = UnknownReplies(store, configured)
    outbox = Outbox(store, events, configured, reports, notice=unknown.notice, now=now)
    manager = accounts(outbox, backlog)
    access = AccessControl(store, events, now=now)
    sessions = SessionMap(store, kind_of=agents.kind_of, now=now)
    prompts = ApprovalPrompts(store, outbox, configured, unreachable=manager.unreachable)
    desk = ApprovalDesk(context, configured, prompts, reports)
    questions = QuestionDesk(context, configured, outbox, reports)
    responses = ApprovalResponses(
        context, configured, desk, prompts, outbox, backlog, signal=manager.signal, show_reply=unknown.show
    )
    engine = ReplyEngine(context, configured, outbox, sessions, desk, questions, agents, manager)
    turns = TurnRunner(context, configured, engine, outbox, sessions, questions, backlog)
    inbox = InboxDesk(context, configured, access, outbox, backlog, turns, responses)
    return Gateway(
        context=context,
        configured=configured,
        manager=manager,
        agents=agents,
        inbox=inbox,
        backlog=backlog,
        outbox=outbox,
        reports=reports,
        access=access,
        approvals=desk,
        questions=questions,
        responses=responses,
        sessions=sessions,
        turns=turns,
        late=LateTexts(store, outbox, events, configured, wait_reply_committed=engine.wait_reply_committed),
        dead_letters=DeadLetterQueue(store, inbox, outbox, events, now=now),
        dead_letter_counter=DeadLetterCounter(store, events),
        tracer=Tracer(store, accounts=inbox.availability),
        retention=Retention(store, outbox, events, configured, now=now),
        stalls=stalls,
    )


@asynccontextmanager
async def run_hub(gateway: Gateway, *, parent: TaskGroup) -> AsyncIterator[None]:
    """The hub's own tasks, opened in their order, with what the last process left taken up before any account listens.

    ``parent`` is the task group of drivers and of calls of cores, also of those that cannot be ended. To stop, ``drain`` first.
    """
    async with anyio.create_task_group() as telling:
        await telling.start(gateway.events.run)
        await telling.start(gateway.dead_letter_counter.run)
        async with (
            gateway.agents.run(cut=gateway.turns.hand_over_turns, say_later=gateway.late.say, parent=parent),
            anyio.create_task_group() as turning,
        ):
            await turning.start(partial(gateway.turns.run, parent=parent))
            await turning.start(gateway.inbox.run)
            await turning.start(gateway.responses.run)
            await _recover(gateway)
            turning.start_soon(gateway.retention.run)
            async with gateway.manager.run(journal=gateway.inbox, parent=parent):
                yield
            # Turns that met the deadline: before their agents close, or they would fail by that and be dead letters.
            turning.cancel_scope.cancel()
        gateway.events.emit("gateway.stopped")
        with trio.move_on_after(_FLUSH_SECONDS):
            await gateway.events.wait_flushed()
        telling.cancel_scope.cancel()


async def drain(gateway: Gateway) -> None:
    """Take no new messages, let running turns finish and the outbox be flushed, close the accounts: in ``drain_seconds``."""
    gateway.enter("draining")
    gateway.events.emit("gateway.draining")
    log.info("stopping", within_seconds=gateway.config.gateway.drain_seconds)
    await gateway.manager.drain(gateway.flush, within_seconds=gateway.config.gateway.drain_seconds)


async def _recover(gateway: Gateway) -> None:
    """Take up what the last process left: outcomes nobody knows, requests that wait, messages that were not answered."""
    await gateway.access.load()
    accounts = await gateway.claim(gateway.configured.accounts)
    await gateway.outbox.recover(accounts, resend_is_safe=gateway.manager.channels_where_resend_is_safe())
    # What was being sent when the last process ended is a dead letter now, and nobody was told by an event.
    gateway.dead_letter_counter.look_again()
    pending = await gateway.inbox.pending(accounts)
    live_turns = {row.turn_id for row in pending if (row.envelope.channel, row.envelope.account) in gateway.configured.accounts}
    await gateway.approvals.load(live_turns, accounts)
    await gateway.questions.load(live_turns, accounts)
    await gateway.store.delete_expired_tokens(gateway.now())
    gateway.inbox.resume(pending)
    if pending:
        log.info("messages_recovered", count=len(pending))
