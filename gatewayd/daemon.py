"""The daemon: the only place where the parts are joined, opened in one order and closed in the reverse one.

Opening: store, sockets, event log, agents, turns, inbox, what the last process left, accounts, HTTP. Stopping: no new
messages, accounts stop listening, running turns finish or meet the deadline, the outbox is flushed, accounts close, HTTP
closes, the store closes. Whatever does not finish in time is in the store and goes on at the next start.
"""

import faulthandler
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random

import httpx2
import structlog
import trio

from gatewayd import __version__, logs
from gatewayd.actor.supervisor import leaves
from gatewayd.channels.webchat.login import new_login_link
from gatewayd.config import secrets_of
from gatewayd.hub.access import AccessControl
from gatewayd.hub.agents import AgentPool
from gatewayd.hub.approvals import ApprovalDesk
from gatewayd.hub.cards import ApprovalCards
from gatewayd.hub.events import EventLog
from gatewayd.hub.gateway import Gateway
from gatewayd.hub.inbox import InboxDesk
from gatewayd.hub.manager import ChannelManager
from gatewayd.hub.outbox import Outbox
from gatewayd.hub.presses import Presses
from gatewayd.hub.questions import QuestionDesk
from gatewayd.hub.repair import RepairDesk
from gatewayd.hub.reply import ReplyEngine
from gatewayd.hub.retention import Cleaner
from gatewayd.hub.sessions import SessionMap
from gatewayd.hub.story import StoryTeller
from gatewayd.hub.tally import LetterTally
from gatewayd.hub.turns import TurnRunner
from gatewayd.kit.http import create_client
from gatewayd.kit.strays import end_all_strays
from gatewayd.model.config import GatewayConfig
from gatewayd.model.envelope import Attachment
from gatewayd.model.errors import GatewayError
from gatewayd.model.payload import Signal
from gatewayd.model.secret import Redactor, Secret
from gatewayd.plugins import Registry
from gatewayd.stalls import StallDetector
from gatewayd.stores.sqlite import SqliteStore, open_store
from gatewayd.systemd import Notifier, ask_for_time, feed_watchdog, take_listen_fds
from gatewayd.web.app import create_app
from gatewayd.web.listen import adopt_listeners, endpoint_file, open_listeners
from gatewayd.web.server import GatewayServer
from gatewayd.web.tokens import ensure_token

EXIT_OK = 0
EXIT_CRASHED = 1
EXIT_REFUSED = 78
"""EX_CONFIG of sysexits.h: a person has to do something first, so systemd need not try again."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_OWNER = "owner"
_STATUS_SECONDS = 1.0
_LAST_SECONDS = 1.0
_STDERR = 2
_START_SECONDS = 1800.0
_MORE_SECONDS = 60.0

log = structlog.get_logger("gatewayd")


def run(config: GatewayConfig, *, registry: Registry, state_dir: Path) -> int:
    """Run until a signal asks for the end. Returns the exit code."""
    # SIGABRT is how the service manager ends a process that is blocked: then the log shows where, in every thread.
    faulthandler.enable(file=_STDERR)
    redactor = Redactor(secrets_of(config))
    logs.configure(config.gateway.log_level, redactor=redactor)
    for warning in config.warnings:
        log.warning("configuration_warning", warning=warning)
    _allow_many_files()
    state_dir = state_dir.absolute()
    ready = trio.Event()
    try:
        with StallDetector(config.gateway.stall_seconds) as stalls:
            trio.run(_run, config, registry, state_dir, redactor, stalls, ready, instruments=[stalls])
    except BaseException as error:
        return _exit_code(error, was_ready=ready.is_set())
    return EXIT_OK


def _allow_many_files() -> None:
    """Every polling account holds a connection: take as many descriptors as we may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _exit_code(error: BaseException, *, was_ready: bool) -> int:
    found = leaves(error)
    # Only before it is ready: what ended a daemon that worked (a disk that was full) may be gone when it is started again.
    if not was_ready and all(isinstance(leaf, GatewayError) for leaf in found):
        for leaf in found:
            log.error("start_refused", reason=str(leaf))
        return EXIT_REFUSED
    log.critical("crashed", note="what was committed is safe, and the next start goes on from there", exc_info=error)
    return EXIT_CRASHED


async def _run(
    config: GatewayConfig, registry: Registry, state_dir: Path, redactor: Redactor, stalls: StallDetector, ready: trio.Event
) -> None:
    async with trio.open_nursery() as left_behind:
        try:
            await _serve(config, registry, state_dir, redactor, stalls, left_behind, ready)
        except BaseException as error:
            await _end_with_process(left_behind, partial(_exit_code, error, was_ready=ready.is_set()))
            raise
        await _end_with_process(left_behind, lambda: EXIT_OK)


async def _end_with_process(left_behind: trio.Nursery, code: Callable[[], int]) -> None:
    """Trio cannot end a task that ignores its cancellation, and leaving the nursery would wait for it for ever. The store is
    closed by now, so the process may simply go."""
    left_behind.cancel_scope.cancel()
    with trio.move_on_after(_LAST_SECONDS, shield=True):
        while left_behind.child_tasks:  # noqa: ASYNC110
            await trio.sleep(0.01)
        return
    log.error("left_behind_at_the_end", count=len(left_behind.child_tasks))
    os._exit(code())


async def _serve(
    config: GatewayConfig,
    registry: Registry,
    state_dir: Path,
    redactor: Redactor,
    stalls: StallDetector,
    left_behind: trio.Nursery,
    ready: trio.Event,
) -> None:
    notifier = Notifier(os.environ)
    inherited = take_listen_fds(os.environ)
    left_behind.start_soon(ask_for_time, notifier, ready)
    stop = trio.Event()
    async with open_store(state_dir, now=time.time) as store, create_client() as http, trio.open_nursery() as own:
        own.start_soon(_watch_signals, stop, own.cancel_scope)
        listeners = adopt_listeners(inherited) if inherited else await open_listeners(config.gateway.bind)
        if inherited:
            log.info("sockets_inherited", sockets=list(inherited.values()), note="gateway.bind is not used")
        await _prepare_token(store, config, state_dir, redactor)
        # Also of agents that are not configured any more, whose own start would end them.
        if ended := await end_all_strays(str(state_dir / "agents")):
            log.warning("strays_ended", count=ended)
        gateway = join(config, registry, store, http, state_dir=state_dir, redact=redactor)
        gateway.last_stall = stalls.last_stall
        async with run_hub(gateway, host=left_behind):
            server = _server(gateway)
            urls = await own.start(server.serve, listeners)
            with endpoint_file(state_dir, urls[0]):
                await _announce(gateway, urls[0], notifier)
                ready.set()
                own.start_soon(_tell_status, gateway, notifier)
                async with trio.open_nursery() as watched:
                    watched.start_soon(feed_watchdog, notifier)
                    await stop.wait()
                    if inherited:
                        server.stop_accepting()
                    await _drain(gateway, notifier)
                    server.stop()
                    await server.wait_stopped()
                    watched.cancel_scope.cancel()
        own.cancel_scope.cancel()
    log.info("stopped")


@asynccontextmanager
async def run_hub(gateway: Gateway, *, host: trio.Nursery) -> AsyncIterator[None]:
    """The hub's own tasks, opened in their order, with what the last process left taken up before any account listens.

    ``host`` is where drivers and calls of cores run, and where one that cannot be ended stays. To stop, ``drain`` first.
    """
    async with trio.open_nursery() as telling:
        await telling.start(gateway.events.run)
        await telling.start(gateway.tally.run)
        async with gateway.agents.run(host=host), trio.open_nursery() as turning:
            await turning.start(partial(gateway.turns.run, host=host))
            await turning.start(gateway.inbox.run)
            await turning.start(gateway.presses.run)
            await _recover(gateway)
            turning.start_soon(gateway.cleaner.run)
            async with gateway.manager.run(host=host):
                yield
            # Turns that met the deadline: before their agents close, or they would fail by that and be dead letters.
            turning.cancel_scope.cancel()
        gateway.events.emit("gateway.stopped")
        with trio.move_on_after(5):
            await gateway.events.wait_flushed()
        telling.cancel_scope.cancel()


async def drain(gateway: Gateway) -> None:
    """Take no new messages, let running turns finish and the outbox be flushed, close the accounts: in ``drain_seconds``."""
    gateway.state = "draining"
    gateway.events.emit("gateway.draining")
    log.info("stopping", within_seconds=gateway.config.gateway.drain_seconds)
    await gateway.manager.drain(gateway.flush, within_seconds=gateway.config.gateway.drain_seconds)


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
    plugins = {account.channel: registry.channel(account.channel) for account in config.accounts}
    events = EventLog(store, now=now, keep=config.limits.event_rows)
    outbox = Outbox(store, events, config.outbox, now=now)
    access = AccessControl(store, events, now=now)
    sessions = SessionMap(store, now=now)
    policies = {agent.agent_id: agent.frame.approvals for agent in config.agents}
    desk = ApprovalDesk(store, events, config.approvals, policies, config.sessions.identity_links, now=now)
    questions = QuestionDesk(store, outbox, events, config.approvals, plugins, now=now)
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
    )

    async def show(channel: str, account: str, signal: Signal) -> None:
        await manager.signal(channel, account, signal)

    async def fetch(channel: str, account: str, attachment: Attachment, at_most_bytes: int) -> bytes:
        return await manager.fetch(channel, account, attachment, at_most_bytes)

    def unreachable(channel: str, account: str) -> str | None:
        return manager.unreachable(channel, account)

    def lost(subject: str) -> None:
        desk.notify(subject)
        questions.note_lost(subject)

    cards = ApprovalCards(store, outbox, config, plugins, unreachable=unreachable)
    desk.cards = cards
    presses = Presses(store, desk, cards, outbox, events, plugins, signal=show, now=now)
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
        signal=show,
        fetch=fetch,
        rng=rng,
        now=now,
        redact=redact,
    )
    turns = TurnRunner(engine, outbox, events, sessions, questions, agents, config, plugins, now=now)
    inbox = InboxDesk(store, events, access, outbox, turns, presses, config, plugins, now=now)
    manager = ChannelManager(
        config,
        plugins,
        registry.channel_opener,
        journal=inbox,
        outbox=outbox,
        memos=store,
        events=events,
        http=http,
        log=structlog.get_logger("gatewayd.channels"),
        rng=rng,
        now=now,
        redact=redact,
    )
    repair = RepairDesk(store, inbox, outbox, events, now=now)
    turns.taken, turns.ended = inbox.taken, inbox.ended
    presses.taken, presses.ended = inbox.taken, inbox.ended
    outbox.post, outbox.lost = manager.post, lost

    return Gateway(
        config=config,
        store=store,
        events=events,
        manager=manager,
        inbox=inbox,
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
        stories=StoryTeller(store, accounts=inbox.takers),
        cleaner=Cleaner(store, outbox, events, config, now=now),
        now=now,
    )


async def _recover(gateway: Gateway) -> None:
    """Take up what the last process left: outcomes nobody knows, requests that wait, messages that were not answered."""
    await gateway.access.load()
    accounts = [(account.channel, account.account) for account in gateway.config.accounts]
    await gateway.outbox.recover(accounts, resend_is_safe=gateway.manager.channels_where_resend_is_safe())
    pending = await gateway.inbox.pending()
    here = {(account.channel, account.account) for account in gateway.config.accounts}
    live_turns = {row.turn_id for row in pending if (row.envelope.channel, row.envelope.account) in here}
    await gateway.approvals.load(live_turns)
    await gateway.questions.load(live_turns)
    await gateway.store.delete_expired_tokens(gateway.now())
    gateway.inbox.resume(pending)
    if pending:
        log.info("messages_recovered", count=len(pending))


async def _prepare_token(store: SqliteStore, config: GatewayConfig, state_dir: Path, redactor: Redactor) -> None:
    path = await ensure_token(store, config.auth, state_dir)
    if path is not None:
        redactor.add(Secret(path.read_text().strip()))


def _server(gateway: Gateway) -> GatewayServer:
    section = gateway.config.gateway
    return GatewayServer(create_app(gateway), max_connections=section.max_connections, max_body_bytes=section.max_body_bytes)


async def _announce(gateway: Gateway, url: str, notifier: Notifier) -> None:
    """Say that everything is up: only now, when it is."""
    # What start-up made stays for good: the collector, off until now, need never look at it.
    gc.freeze()
    gc.enable()
    gateway.state = "ready"
    gateway.events.emit("gateway.ready", version=__version__)
    notifier.ready(_status_line(gateway))
    log.info("ready", url=url, version=__version__, accounts=len(gateway.config.accounts))
    webchat = any(account.channel == "webchat" and account.frame.enabled for account in gateway.config.accounts)
    # Under a service manager this would put a way in into the journal; there one asks `gatewayctl webchat link`.
    if webchat and "NOTIFY_SOCKET" not in os.environ:
        base = gateway.config.gateway.public_url or url
        link = await new_login_link(gateway.store, base, _OWNER, gateway.now())
        with suppress(OSError):  # nobody reads it
            sys.stdout.write(f"\nTalk to your agent (the link works once, for 15 minutes):\n\n    {link.url}\n\n")
            sys.stdout.flush()


async def _tell_status(gateway: Gateway, notifier: Notifier) -> None:
    """Keep the service manager's status line true, to a second: when a thousand accounts change together, a line for each,
    which looks at all of them, would be most of the daemon's work."""
    while True:
        notifier.status(_status_line(gateway))
        async with gateway.events.subscribe() as events:
            async for event in events:
                if event.kind == "channels.state":
                    break
        await trio.sleep(_STATUS_SECONDS)


def _status_line(gateway: Gateway) -> str:
    accounts = [account for account in gateway.manager.snapshot() if account.state not in ("disabled", "stopped")]
    connected = sum(account.state == "connected" for account in accounts)
    return f"{connected} of {len(accounts)} accounts connected"


async def _drain(gateway: Gateway, notifier: Notifier) -> None:
    notifier.stopping("finishing what runs")
    await drain(gateway)


async def _watch_signals(stop: trio.Event, everything: trio.CancelScope) -> None:
    """The first signal asks for a drain, the second ends at once."""
    # nohup(1) has us ignore SIGHUP, and means it.
    wanted = [number for number in _SIGNALS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]
    with trio.open_signal_receiver(*wanted) as signals:
        async for number in signals:
            if stop.is_set():
                log.warning("stopping_at_once", signal=signal.Signals(number).name)
                everything.cancel()
            stop.set()
