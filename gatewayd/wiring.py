"""The only module that makes, starts and stops the parts of the hub.

A part gets its partners in its constructor, and what exists only at run time by ``run``. Nothing is bound later.
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
from gatewayd.hub.approvals.gaps import Gaps
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
from gatewayd.hub.outbox.files import OutgoingFiles
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.hub.outbox.outcomes import ReplyOutcomes
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


def build_gateway(
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
    """The hub of a configuration, with its real accounts and agents. Nothing runs yet. ``rng`` draws the jitter; ``name`` is the
    name of this gateway among those that share the store."""
    configured = Configured(config, registry.manifests(account.channel for account in config.accounts))
    events = EventLog(store, now=now, keep=lambda: configured.config.limits.event_rows)
    context = Context(store, events, now, rng or Random(), redact, name, state_dir / "files")

    def accounts(outbox: Outbox, backlog: Backlog) -> ChannelManager:
        return ChannelManager(context, configured, registry.channel_opener, outbox=outbox, backlog=backlog, http=http)

    agents = AgentPool(
        context, configured, lambda core: registry.agent_opener(registry.agent(core)), http=http, state_dir=state_dir
    )
    return wire(context, configured, agents=agents, accounts=accounts, stalls=stalls)


def wire(context: Context, configured: Configured, *, agents: AgentPool, accounts: MakesAccounts, stalls: Stalls) -> Gateway:
    """Make each part of the hub once. ``accounts`` makes the manager of the accounts from the outbox and the backlog."""
    store, events, now = context.store, context.events, context.now
    outcomes = ReplyOutcomes()
    backlog = Backlog(store, configured, now=now)
    unknown = UnknownReplies(store, configured)
    outbox = Outbox(store, events, configured, outcomes, notice=unknown.notice, now=now)
    manager = accounts(outbox, backlog)
    access = AccessControl(store, events, now=now)
    sessions = SessionMap(store, kind_of=agents.kind_of, now=now)
    prompts = ApprovalPrompts(store, outbox, configured, unreachable=manager.unreachable)
    desk = ApprovalDesk(context, configured, prompts, outcomes)
    questions = QuestionDesk(context, configured, outbox, outcomes)
    responses = ApprovalResponses(
        context, configured, desk, prompts, outbox, backlog, signal=manager.signal, show_reply=unknown.show
    )
    engine = ReplyEngine(context, configured, outbox, sessions, desk, questions, agents, manager)
    turns = TurnRunner(context, configured, engine, outbox, sessions, questions, backlog)
    inbox = InboxDesk(context, configured, access, outbox, backlog, turns, responses)
    files = OutgoingFiles(context, configured, outbox)
    return Gateway(
        context=context,
        configured=configured,
        manager=manager,
        agents=agents,
        inbox=inbox,
        backlog=backlog,
        outbox=outbox,
        files=files,
        outcomes=outcomes,
        access=access,
        approvals=desk,
        questions=questions,
        responses=responses,
        gaps=Gaps(context, configured, desk, questions),
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
    """Run the tasks of the hub. Recovery of the last process ends before any account listens.

    ``parent`` is the task group of drivers and core calls, also of abandoned ones. To stop, ``drain`` first.
    """
    async with anyio.create_task_group() as event_tasks:
        await event_tasks.start(gateway.events.run)
        await event_tasks.start(gateway.dead_letter_counter.run)
        async with (
            gateway.agents.run(cut=gateway.turns.hand_over_turns, say_later=gateway.late.say, parent=parent),
            anyio.create_task_group() as turn_tasks,
        ):
            await turn_tasks.start(partial(gateway.turns.run, parent=parent))
            await turn_tasks.start(gateway.inbox.run)
            await turn_tasks.start(gateway.responses.run)
            await _recover(gateway)
            turn_tasks.start_soon(gateway.gaps.run)
            turn_tasks.start_soon(gateway.retention.run)
            turn_tasks.start_soon(gateway.files.run)
            async with gateway.manager.run(journal=gateway.inbox, on_gap_end=gateway.gaps.note_end, parent=parent):
                yield
            # Turns that are still running end before their agents close: else they would fail and become dead letters.
            turn_tasks.cancel_scope.cancel()
        gateway.events.emit("gateway.stopped")
        with trio.move_on_after(_FLUSH_SECONDS):
            await gateway.events.wait_flushed()
        event_tasks.cancel_scope.cancel()


async def drain(gateway: Gateway) -> None:
    """Take no new messages, let running turns end, flush the outbox and close the accounts, within ``drain_seconds``."""
    gateway.enter("draining")
    gateway.events.emit("gateway.draining")
    log.info("stopping", within_seconds=gateway.config.gateway.drain_seconds)
    await gateway.manager.drain(gateway.flush, within_seconds=gateway.config.gateway.drain_seconds)


async def _recover(gateway: Gateway) -> None:
    """Recovery of the last process: replies with an unknown outcome, pending requests, unanswered messages."""
    await gateway.access.load()
    accounts = await gateway.claim(gateway.configured.accounts)
    await gateway.outbox.recover(accounts)
    # Replies that the last process was sending are dead letters now, and no event has said so.
    gateway.dead_letter_counter.look_again()
    pending = await gateway.inbox.pending(accounts)
    live_turns = {row.turn_id for row in pending if (row.envelope.channel, row.envelope.account) in gateway.configured.accounts}
    await gateway.approvals.load(live_turns, accounts)
    await gateway.questions.load(live_turns, accounts)
    await gateway.store.delete_expired_tokens(gateway.now())
    gateway.inbox.resume(pending)
    if pending:
        log.info("messages_recovered", count=len(pending))
