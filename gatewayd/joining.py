"""The only place where the parts of the hub are joined: each is made once, and told what it needs of the others."""

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import httpx2
import structlog

from gatewayd.hub.access import AccessControl
from gatewayd.hub.agents import AgentPool
from gatewayd.hub.approvals import ApprovalDesk
from gatewayd.hub.backlog import Backlog
from gatewayd.hub.cards import ApprovalCards
from gatewayd.hub.events import EventLog
from gatewayd.hub.gateway import Gateway
from gatewayd.hub.inbox import InboxDesk
from gatewayd.hub.late import LateTexts
from gatewayd.hub.mailboxes import Mailboxes
from gatewayd.hub.manager import ChannelManager
from gatewayd.hub.outbox import Outbox
from gatewayd.hub.presses import Presses
from gatewayd.hub.questions import QuestionDesk
from gatewayd.hub.repair import RepairDesk
from gatewayd.hub.reply import ReplyEngine
from gatewayd.hub.reports import DeliveryReports
from gatewayd.hub.retention import Cleaner
from gatewayd.hub.sessions import SessionMap
from gatewayd.hub.story import StoryTeller
from gatewayd.hub.tally import LetterTally
from gatewayd.hub.turns import TurnRunner
from gatewayd.hub.unknown import UnknownReplies
from gatewayd.model.config import GatewayConfig
from gatewayd.plugins import Registry
from gatewayd.stores.sqlite import SqliteStore


def join(
    config: GatewayConfig,
    registry: Registry,
    store: SqliteStore,
    http: httpx2.AsyncClient,
    *,
    state_dir: Path,
    redact: Callable[[str], str] = str,
    now: Callable[[], float] = time.time,
    rng: Random | None = None,
) -> Gateway:
    """Make every part of the hub and tell each what it needs of the others. Nothing runs yet. ``rng`` draws the jitter."""
    rng = rng or Random()
    plugins = {account.channel: registry.channel_or_stand_in(account.channel) for account in config.accounts}
    events = EventLog(store, now=now, keep=config.limits.event_rows)
    mailboxes, reports = Mailboxes(), DeliveryReports()
    unknown = UnknownReplies(store, config, plugins)
    outbox = Outbox(store, events, config.outbox, mailboxes, reports, notice=unknown.notice, now=now)
    backlog = Backlog(store, config.limits, now=now)
    access = AccessControl(store, events, now=now)
    agents = AgentPool(
        config.agents,
        lambda core: registry.agent_opener(registry.agent(core)),
        events,
        http=http,
        memos=store,
        state_dir=state_dir,
        rng=rng,
        now=now,
        redact=redact,
        drain_seconds=config.gateway.drain_seconds,
    )

    manager = ChannelManager(
        config,
        plugins,
        registry.channel_opener,
        outbox=outbox,
        mailboxes=mailboxes,
        backlog=backlog,
        memos=store,
        events=events,
        http=http,
        log=structlog.get_logger("gatewayd.channels"),
        rng=rng,
        now=now,
        redact=redact,
    )
    cards = ApprovalCards(store, outbox, config, plugins, unreachable=manager.unreachable)
    policies = {agent.agent_id: agent.frame.approvals for agent in config.agents}
    desk = ApprovalDesk(store, events, config.approvals, policies, config.sessions.identity_links, cards, reports, now=now)
    questions = QuestionDesk(store, outbox, events, config, plugins, reports, now=now)
    sessions = SessionMap(store, kind_of=agents.kind_of, now=now)
    presses = Presses(
        store, desk, cards, outbox, events, backlog, plugins, signal=manager.signal, show_reply=unknown.show, now=now
    )
    engine = ReplyEngine(
        store,
        outbox,
        events,
        sessions,
        desk,
        questions,
        agents,
        config,
        plugins,
        signal=manager.signal,
        fetch=manager.fetch,
        rng=rng,
        now=now,
        redact=redact,
    )
    late = LateTexts(store, outbox, events, config, plugins, wait_said=engine.wait_said)
    turns = TurnRunner(engine, outbox, events, sessions, questions, agents, backlog, config, plugins, now=now)
    inbox = InboxDesk(store, events, access, outbox, backlog, turns, presses, config, plugins, now=now)
    repair = RepairDesk(store, inbox, outbox, events, now=now)
    gateway = Gateway(
        config=config,
        store=store,
        events=events,
        manager=manager,
        inbox=inbox,
        backlog=backlog,
        outbox=outbox,
        access=access,
        approvals=desk,
        questions=questions,
        presses=presses,
        sessions=sessions,
        turns=turns,
        agents=agents,
        repair=repair,
        tally=LetterTally(store, events),
        late=late,
        stories=StoryTeller(store, accounts=inbox.takers),
        cleaner=Cleaner(store, outbox, events, config, now=now),
        now=now,
    )
    gateway.plugins = plugins
    gateway.parts += (events, outbox, unknown, desk, cards, questions, turns, late, inbox, manager, agents, gateway.cleaner)
    return gateway
