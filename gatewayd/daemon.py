"""The daemon: it opens its parts in one order and closes them in the reverse one.

Start: store, sockets, event log, agents, turns, inbox, recovery of the last process, accounts, HTTP. Stop: no new messages,
accounts stop listening, running turns end by themselves or at the deadline, the outbox is flushed, accounts close, HTTP closes,
the store closes. Work that does not end in time is in the store, and goes on at the next start.
"""

import faulthandler
import gc
import os
import resource
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import structlog
import trio
from anyio.abc import TaskGroup

from gatewayd import __version__
from gatewayd.actor.border import leaves
from gatewayd.config import secrets_of
from gatewayd.hub.gateway import Gateway
from gatewayd.hub.reload import Reloader
from gatewayd.kit.http import create_client
from gatewayd.kit.orphans import end_all_orphans
from gatewayd.model.config import GatewayConfig
from gatewayd.model.errors import GatewayError, StoreRefused, TryAgain
from gatewayd.model.secret import Redactor, Secret
from gatewayd.plugins import Registry
from gatewayd.ports.store import Store
from gatewayd.process import logs
from gatewayd.process.signals import defer_hangups, watch_signals
from gatewayd.process.stalls import StallDetector
from gatewayd.process.systemd import Notifier, extend_start_timeout, feed_watchdog, take_listen_fds
from gatewayd.stores.sqlite import open_store, who_can_read
from gatewayd.web.access.tokens import ensure_token
from gatewayd.web.app import GatewayApp, create_app
from gatewayd.web.plugin_routes.routes import PluginRoutes, Site
from gatewayd.web.server.listen import adopt_listeners, endpoint_file, open_listeners, operators_socket
from gatewayd.web.server.server import GatewayServer
from gatewayd.wiring import build_gateway, drain, run_hub

EXIT_OK = 0
EXIT_CRASHED = 1
EXIT_REFUSED = 78
"""EX_CONFIG of sysexits.h: a person has to act first, so systemd need not start the daemon again."""

_STATUS_SECONDS = 1.0
_LAST_SECONDS = 1.0
_STDOUT = 1
_STDERR = 2
_LOAD_SECONDS = 30.0

log = structlog.get_logger("gatewayd")


@dataclass(frozen=True)
class _Startup:
    """The parameters of the process. ``load`` reads the configuration again; ``ready`` is set when every part runs;
    ``hangup_received`` says whether a reload was requested before."""

    config: GatewayConfig
    load: Callable[[], GatewayConfig]
    registry: Registry
    state_dir: Path
    redactor: Redactor
    stalls: StallDetector
    ready: trio.Event
    hangup_received: Callable[[], bool]


def run(config: GatewayConfig, *, registry: Registry, state_dir: Path, load: Callable[[], GatewayConfig]) -> int:
    """Run until a signal stops the daemon. Returns the exit code. ``load`` reads the configuration again, for a reload."""
    # The service manager ends a blocked process by SIGABRT. The log then has the stack of every thread.
    faulthandler.enable(file=_STDERR)
    redactor = Redactor(secrets_of(config))
    logs.configure(config.gateway.log_level, redactor=redactor)
    for warning in config.warnings:
        log.warning("configuration_warning", warning=warning)
    _log_broken_plugins(config)
    _allow_many_files()
    ready = trio.Event()
    try:
        with defer_hangups() as hangup_received, StallDetector(config.gateway.stall_seconds) as stalls:
            startup = _Startup(config, load, registry, state_dir.absolute(), redactor, stalls, ready, hangup_received)
            trio.run(_run, startup, instruments=[stalls])
    except BaseException as error:
        return _exit_code(error, was_ready=ready.is_set())
    return EXIT_OK


def _log_broken_plugins(config: GatewayConfig) -> None:
    for plugin in config.broken:
        log.error("plugin_broken", reason=plugin)


def _allow_many_files() -> None:
    """Raise the soft limit of descriptors to the hard one: every account that polls holds a connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _exit_code(error: BaseException, *, was_ready: bool) -> int:
    found = leaves(error)
    if not was_ready and all(isinstance(leaf, GatewayError) for leaf in found):
        for leaf in found:
            log.error("start_refused", reason=str(leaf))
        # At the next start a full disk may have space again; a wrong address is still wrong.
        return EXIT_CRASHED if any(isinstance(leaf, StoreRefused) and leaf.may_pass for leaf in found) else EXIT_REFUSED
    log.critical("crashed", note="committed messages are safe, and the next start goes on with them", exc_info=error)
    return EXIT_CRASHED


async def _run(startup: _Startup) -> None:
    async with anyio.create_task_group() as last:
        try:
            async with anyio.create_task_group() as parent:
                code: Callable[[], int] = lambda: EXIT_OK  # noqa: E731
                try:
                    await _serve(startup, parent)
                except BaseException as error:
                    code = partial(_exit_code, error, was_ready=startup.ready.is_set())
                    raise
                finally:
                    parent.cancel_scope.cancel()
                    last.start_soon(_exit_process, code)
        finally:
            last.cancel_scope.cancel()


async def _exit_process(code: Callable[[], int]) -> None:
    """End the process despite tasks that ignore their cancellation: their task group would wait for ever. The store is closed."""
    await trio.sleep(_LAST_SECONDS)
    outer = trio.lowlevel.current_task().parent_nursery
    assert outer is not None, "it is the task of a group"
    log.error("tasks_abandoned_at_exit", count=len(outer.parent_task.child_nurseries[-1].child_tasks))
    os._exit(code())


async def _serve(startup: _Startup, parent: TaskGroup) -> None:
    config, state_dir, notifier = startup.config, startup.state_dir, Notifier(os.environ)
    inherited = take_listen_fds(os.environ)
    parent.start_soon(extend_start_timeout, notifier, startup.ready)
    stop = trio.Event()
    # A second SIGHUP during a reload requests one more. A third adds nothing.
    ask_reload, reload_asked = trio.open_memory_channel[None](1)
    async with open_store(state_dir, now=time.time) as store, create_client() as http, anyio.create_task_group() as own:
        own.start_soon(partial(watch_signals, stop, at_once=own.cancel_scope.cancel, reload=partial(_request, ask_reload)))
        if (readable_by := who_can_read(state_dir)) is not None:
            log.warning("state_dir_readable", reason=readable_by)
        listeners = adopt_listeners(inherited) if inherited else await open_listeners(config.gateway.bind)
        if inherited:
            log.info("sockets_inherited", sockets=list(inherited.values()), note="gateway.bind is not used")
        await _prepare_token(store, config, startup)
        # Here, not when an agent starts: some of their agents are no longer configured.
        if ended := await end_all_orphans(str(state_dir / "agents")):
            log.warning("orphan_processes_ended", count=ended)
        registry, stalls, redact = startup.registry, startup.stalls, startup.redactor
        gateway = build_gateway(config, registry, store, http, state_dir=state_dir, stalls=stalls, redact=redact)
        reloader = _reloader(gateway, store, startup, notifier)
        async with run_hub(gateway, parent=parent):
            app = _app(gateway, reloader, registry)
            section = config.gateway
            server = GatewayServer(app, max_body_bytes=section.max_body_bytes, accelerates=section.webhook_accelerator)
            async with _open_front(own, server, listeners, state_dir) as url:
                await _announce(gateway, app.plugin_routes, url, notifier)
                startup.ready.set()
                if startup.hangup_received():
                    _request(ask_reload)
                own.start_soon(_report_status, gateway, notifier)
                own.start_soon(_reload_when_asked, reloader, reload_asked)
                async with anyio.create_task_group() as watched:
                    watched.start_soon(feed_watchdog, notifier)
                    await stop.wait()
                    if inherited:
                        server.stop_accepting()
                    notifier.stopping("finishing what runs")
                    await drain(gateway)
                    server.stop()
                    await server.wait_stopped()
                    watched.cancel_scope.cancel()
        own.cancel_scope.cancel()
    log.info("stopped")


@asynccontextmanager
async def _open_front(
    own: TaskGroup, server: GatewayServer, listeners: list[trio.SocketListener], state_dir: Path
) -> AsyncIterator[str]:
    """Run the HTTP server, and write the files by which gatewayctl finds it. Yields its URL."""
    with operators_socket(state_dir) as operators:
        urls = await own.start(partial(server.serve, operators=operators), listeners)
        with endpoint_file(state_dir, urls[0], has_socket=operators is not None):
            yield urls[0]


async def _prepare_token(store: Store, config: GatewayConfig, startup: _Startup) -> None:
    path = await ensure_token(store, config.auth, startup.state_dir)
    if path is not None:
        startup.redactor.add(Secret(path.read_text(encoding="utf-8-sig").strip()))


def _reloader(gateway: Gateway, store: Store, startup: _Startup, notifier: Notifier) -> Reloader:
    async def load() -> GatewayConfig:
        # In a thread: it imports modules, and the files may be on a network that hangs.
        with trio.move_on_after(_LOAD_SECONDS):
            return await trio.to_thread.run_sync(startup.load, abandon_on_cancel=True)
        raise TryAgain(f"the configuration could not be read within {_LOAD_SECONDS:g} s: is its disk or network slow?")

    async def prepare(config: GatewayConfig) -> None:
        for secret in secrets_of(config):
            startup.redactor.add(secret)
        _log_broken_plugins(config)
        gateway.configured.add_plugins(startup.registry.manifests(account.channel for account in config.accounts))
        await _prepare_token(store, config, startup)

    def tell_ready() -> None:
        if gateway.state == "ready":
            notifier.ready(_status_line(gateway))

    return Reloader(gateway, load, prepare, began=partial(notifier.reloading, "reloading"), ended=tell_ready)


def _request(channel: trio.MemorySendChannel[None]) -> None:
    with suppress(trio.WouldBlock):
        channel.send_nowait(None)


async def _reload_when_asked(reloader: Reloader, asked: trio.MemoryReceiveChannel[None]) -> None:
    async for _ in asked:
        with suppress(GatewayError):  # the log and the status have it
            await reloader.reload("signal:SIGHUP")


def _app(gateway: Gateway, reloader: Reloader, registry: Registry) -> GatewayApp:
    section = gateway.config.gateway
    proxies = registry.agent_proxies(lambda broken: log.error("plugin_broken", reason=broken.reason))
    sites = [Site(plugin, partial(registry.http_of, plugin)) for plugin in registry.channels_with_routes()]
    return create_app(
        gateway,
        reloader.reload,
        proxies,
        sites,
        max_connections=section.max_connections,
        max_per_address=section.max_connections_per_address,
    )


async def _announce(gateway: Gateway, routes: PluginRoutes, url: str, notifier: Notifier) -> None:
    """Report that every part runs."""
    # The objects of the start live as long as the process: the collector, off until now, need not examine them.
    gc.freeze()
    gc.enable()
    gateway.enter("ready")
    gateway.events.emit("gateway.ready", version=__version__)
    notifier.ready(_status_line(gateway))
    log.info("ready", url=url, version=__version__, accounts=len(gateway.config.accounts))
    # In a file or the journal other people could read a secret.
    for text in await routes.greetings(gateway.config.gateway.public_url or url, private=os.isatty(_STDOUT)):
        with suppress(OSError):  # stdout has no reader
            os.write(_STDOUT, f"\n{text}\n\n".encode())


async def _report_status(gateway: Gateway, notifier: Notifier) -> None:
    """Update the service manager's status line at most once a second: each line counts all accounts, and a thousand accounts may
    change together."""
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
