"""The accounts of all channels, each a child of one supervisor: start, stop, status and drain."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
import structlog
import trio
from anyio.abc import TaskGroup
from msgspec import Struct

from gatewayd.actor.backoff import Backoff
from gatewayd.actor.border import leaves, trace_of
from gatewayd.actor.child import ChildStatus, SupervisorStatistics
from gatewayd.actor.life import Life
from gatewayd.actor.pool import Pool
from gatewayd.actor.supervisor import Supervisor, Verdict
from gatewayd.hub.accounts.account import AccountActor, AccountStatistics
from gatewayd.hub.accounts.context import AccountContext, GapEnd, Journal, QueueSource
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.model.config import AccountSettings, GatewayConfig
from gatewayd.model.errors import Conflict, NotFound, TryAgain
from gatewayd.model.ids import AccountId
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer
from gatewayd.model.message.payload import RichText, Signal
from gatewayd.model.status import AccountStatus
from gatewayd.ports.channel import ChannelOpener, ChannelPlugin

if TYPE_CHECKING:
    import httpx2

_LONGEST_TRACEBACK = 8_000
_STORE_RETRY_SECONDS = 1.0


class ManagerStatistics(Struct, frozen=True):
    """``supervisor`` counts accounts by state, and abandoned lives; ``accounts`` are in the order of the configuration."""

    supervisor: SupervisorStatistics
    accounts: tuple[AccountStatistics, ...]


class ChannelManager:
    """Runs the accounts of a configuration inside ``async with manager.run(...):``.

    ``opener`` imports a driver; an error of it parks only the accounts of that plug-in. Every change of an account's state is the
    event ``channels.state``.
    """

    def __init__(
        self,
        context: Context,
        configured: Configured,
        opener: Callable[[ChannelPlugin], ChannelOpener],
        *,
        outbox: Outbox,
        backlog: QueueSource,
        http: "httpx2.AsyncClient",
    ) -> None:
        self._log = structlog.get_logger("gatewayd.channels")
        self._redact = context.redact
        self._draining = False
        self._supervisor = Supervisor(
            Backoff(context.rng), now=context.now, on_change=self._on_change, on_failure=self._on_failure
        )
        self._configured = configured
        self._opener = opener
        self._outbox = outbox
        self._journal: Journal | None = None
        self._on_gap_end: GapEnd | None = None
        self._account_context = AccountContext(
            outbox,
            backlog,
            context.store,
            http,
            self._log,
            context.rng,
            context.now,
            context.redact,
            configured,
            context.events,
            context.files,
        )
        self._pool = Pool(self._supervisor, live=self._live, reconcile=self._reconcile, redact=context.redact)
        self.reconfigure(configured.config)
        configured.follow(self.reconfigure)

    @asynccontextmanager
    async def run(self, *, journal: Journal, on_gap_end: GapEnd, parent: TaskGroup | None) -> AsyncIterator[None]:
        """Every enabled account is started. Leaving stops the accounts, each within its close deadline.

        ``journal`` takes received messages. ``parent`` is the task group of the drivers, see ``Supervisor.run``.
        """
        self._journal, self._on_gap_end = journal, on_gap_end
        async with self._pool.run(parent=parent, starts=lambda actor: actor.settings.frame.enabled):
            yield

    def reconfigure(self, config: GatewayConfig) -> None:
        """Have the accounts of this configuration from now on. Never waits: new accounts are started, removed ones are stopped
        after the sends in progress, those with other settings are restarted, all in the background; see ``wait_reconciled``.

        An account that an operator has stopped stays stopped. An account whose driver would get the same settings is not touched.
        """
        self._pool.set_desired(
            {_name_of(settings): settings for settings in config.accounts},
            make=partial(self._make, config=config),
            change=lambda actor, its: actor.reconfigure(its, self._configured.plugins[its.channel], config),
        )
        for name, actor in self._pool.all.items():
            actor.note_removed(self._pool.is_gone(name))
            if name in self._pool.pending or not self._is_reconciled(name, actor):
                self._pool.schedule(name)

    async def wait_reconciled(self) -> None:
        """Returns when every account is as the newest configuration says: started (not yet connected), stopped or gone."""
        await self._pool.wait_reconciled()

    @property
    def pending(self) -> tuple[str, ...]:
        """The accounts, CHANNEL/NAME, that are being reconciled with the newest configuration."""
        return self._pool.pending

    def is_closing(self, channel: str, account: str) -> bool:
        """Whether this account was removed from the configuration and still finishes its sends."""
        actor = self._pool.all.get(str(AccountId(channel, account)))
        return actor is not None and actor.removed

    def account(self, channel: str, account: str) -> AccountActor:
        """:raises NotFound: not in the configuration."""
        try:
            return self._pool.desired[str(AccountId(channel, account))]
        except KeyError:
            known = ", ".join(map(_name, self._pool.desired.values())) or "none"
            raise NotFound(f"there is no account {channel}/{account} in the configuration; there are: {known}") from None

    def snapshot(self) -> tuple[AccountStatus, ...]:
        """Every account, in the order of the configuration. No I/O."""
        return tuple(actor.status for actor in self._pool.desired.values())

    def unreachable(self, channel: str, account: str) -> str | None:
        """Why messages of this account will not be seen before a person acts; None if they may be seen."""
        actor = self._pool.desired.get(str(AccountId(channel, account)))
        if actor is None:
            return f"{channel}/{account} is not configured"
        status = actor.status
        if status.state not in ("parked", "stopped", "disabled"):
            return None
        return f"{channel}/{account} is {status.state}" + (f": {status.reason}" if status.reason else "")

    def statistics(self) -> ManagerStatistics:
        return ManagerStatistics(
            supervisor=self._supervisor.statistics(),
            accounts=tuple(actor.statistics() for actor in self._pool.desired.values()),
        )

    async def signal(self, channel: str, account: str, signal: Signal) -> None:
        """Best effort, also when the account does not exist."""
        actor = self._pool.desired.get(str(AccountId(channel, account)))
        if actor is not None:
            await actor.signal(signal)

    def grows_every(self, channel: str, account: str, peer: Peer) -> float | None:
        """See ``AccountActor.grows_every``."""
        actor = self._pool.desired.get(str(AccountId(channel, account)))
        return None if actor is None else actor.grows_every(peer)

    async def grow(self, channel: str, account: str, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        """Show more of a message that grows. Raises as ``AccountActor.grow``, and NotFound."""
        await self.account(channel, account).grow(peer, message_id, text, key=key)

    async def fetch(self, channel: str, account: str, attachment: Attachment, at_most_bytes: int) -> bytes:
        """An attachment's bytes. Raises as ``AccountActor.fetch``, and NotFound."""
        return await self.account(channel, account).fetch(attachment, at_most_bytes)

    async def earlier(self, channel: str, account: str, envelope: InboundEnvelope, at_most: int) -> Sequence[Earlier]:
        """What was said in a thread before this message. Raises as ``AccountActor.earlier``, and NotFound."""
        return await self.account(channel, account).earlier(envelope, at_most)

    async def start(self, channel: str, account: str | None = None) -> tuple[AccountStatus, ...]:
        """Start stopped or parked accounts; others are not touched. Returns at once, before they are connected.

        :raises NotFound: no such account, or no account of this channel.
        :raises Conflict: disabled in the configuration, or the daemon is stopping.
        """
        return await self._each(self._startable(channel, account), self._supervisor.start, held=False)

    async def stop(self, channel: str, account: str | None = None) -> tuple[AccountStatus, ...]:
        """Stop, after the sends in progress. Returns when it is closed, or parked because it did not close.

        :raises NotFound: no such account, or no account of this channel.
        """
        return await self._each(self._named(channel, account), self._supervisor.stop, held=True)

    async def restart(self, channel: str, account: str | None = None) -> tuple[AccountStatus, ...]:
        """Stop and start, or start. Raises as ``start`` does."""
        return await self._each(self._startable(channel, account), self._supervisor.restart, held=False)

    async def drain(self, until: Callable[[], Awaitable[None]], *, within_seconds: float) -> None:
        """Stop listening, go on sending while ``until`` runs, then close every account: all of it ``within_seconds``.

        A quarter of the time is kept for the closing, whatever ``until`` takes. Sends that do not end in half of the time left
        then are cut, and their outcome is unknown.
        """
        self._draining = True
        deadline = trio.current_time() + within_seconds
        for actor in self._pool.all.values():
            actor.stop_listening()
        with trio.move_on_at(deadline - within_seconds / 4):
            await until()
        left = max(0.0, deadline - trio.current_time())
        async with anyio.create_task_group() as tasks:
            for actor in list(self._pool.all.values()):
                actor.cut_sends_after(left / 2)
                tasks.start_soon(self._close, actor, left)

    def _make(self, settings: AccountSettings, config: GatewayConfig) -> AccountActor:
        plugin, status = self._configured.plugins[settings.channel], partial(self._supervisor.status, _name_of(settings))
        return AccountActor(settings, plugin, self._opener, config, self._account_context, status)

    async def _live(self, actor: AccountActor, life: Life) -> None:
        assert self._journal is not None, "accounts are started in run"
        assert self._on_gap_end is not None
        await actor.run(life, self._journal, self._on_gap_end)

    async def _reconcile(self, name: str, actor: AccountActor) -> None:
        """What is desired may change at every await, so it is checked again after each."""
        if actor.removed and await self._remove(name, actor):
            return
        lives = not self._is_down(name)
        if (lives and actor.is_outdated) or (self._supervisor.is_supervised(name) and not self._is_to_run(actor)):
            await self._supervisor.stop(name)
        state = self._supervisor.status(name).state
        if not self._draining:
            actor.listen_again()
        if self._is_to_run(actor) and (state == "stopped" or (not lives and actor.is_outdated)):
            await self._supervisor.start(name)
        await self._record_results(name, actor)

    async def _remove(self, name: str, actor: AccountActor) -> bool:
        """Stop it and forget it. False: it was configured again meanwhile, or some outcomes of its sends are not recorded."""
        await self._supervisor.stop(name)
        await self._record_results(name, actor)
        if not actor.removed or actor.has_unsettled:
            return False
        self._pool.forget(name)
        self._outbox.forget(actor.settings.channel, actor.settings.account)
        return True

    async def _record_results(self, name: str, actor: AccountActor) -> None:
        """Record outcomes of sends that the store has not taken, for an account that may have no next life."""
        while actor.has_unsettled and self._is_down(name) and not self._pool.is_scheduled(name):
            try:
                await actor.record_results()
            except TryAgain:
                await trio.sleep(_STORE_RETRY_SECONDS)

    def _is_down(self, name: str) -> bool:
        return self._supervisor.is_down(name)

    def _is_reconciled(self, name: str, actor: AccountActor) -> bool:
        """Whether nothing has to be done now."""
        state = self._supervisor.status(name).state
        if self._is_to_run(actor):
            return state != "stopped" and not actor.is_outdated
        return not self._supervisor.is_supervised(name) and not actor.removed

    def _is_to_run(self, actor: AccountActor) -> bool:
        return actor.settings.frame.enabled and not (actor.held or actor.removed or self._draining)

    def _named(self, channel: str, account: str | None) -> list[AccountActor]:
        if account is not None:
            return [self.account(channel, account)]
        actors = [actor for actor in self._pool.desired.values() if actor.settings.channel == channel]
        if not actors:
            raise NotFound(f"there is no account of {channel} in the configuration")
        return actors

    def _startable(self, channel: str, account: str | None) -> list[AccountActor]:
        if self._draining:
            raise Conflict("the daemon is stopping")
        named = self._named(channel, account)
        enabled = [actor for actor in named if actor.settings.frame.enabled]
        if not enabled:
            raise Conflict(f"{' and '.join(map(_name, named))} is disabled in the configuration")
        return enabled

    async def _each(
        self, actors: list[AccountActor], act: Callable[[str], Awaitable[None]], *, held: bool
    ) -> tuple[AccountStatus, ...]:
        for actor in actors:
            actor.hold(held)
        # Shielded: if the caller is cancelled, a restart must not become a stop. The deadlines of the account bound the stop in
        # it.
        with trio.CancelScope(shield=True):
            try:
                async with anyio.create_task_group() as tasks:
                    for actor in actors:
                        tasks.start_soon(self._act, act, _name(actor))
            except ExceptionGroup as group:
                # One error is enough, as for a single account: the daemon is ending.
                raise leaves(group)[0] from group
        return tuple(actor.status for actor in actors)

    async def _act(self, act: Callable[[str], Awaitable[None]], name: str) -> None:
        with suppress(NotFound):  # it was removed from the configuration meanwhile
            await act(name)

    async def _close(self, actor: AccountActor, within_seconds: float) -> None:
        await self._act(partial(self._supervisor.stop, within_seconds=within_seconds), _name(actor))

    def _on_change(self, child: ChildStatus) -> None:
        actor = self._pool.all[child.name]
        actor.tell_state(child)
        if actor.has_unsettled and self._is_down(child.name):
            self._pool.schedule(child.name)

    def _on_failure(self, name: str, verdict: Verdict, error: BaseException) -> None:
        account = AccountId.parse(name)
        log = self._log.bind(channel=account.channel, account=account.name, action=verdict.action, reason=verdict.reason)
        if verdict.action == "restart":
            log.error("account_crashed", traceback=self._redact(trace_of(error))[-_LONGEST_TRACEBACK:])
        else:
            log.warning("account_failed")


def _name(actor: AccountActor) -> str:
    return _name_of(actor.settings)


def _name_of(settings: AccountSettings) -> str:
    return str(AccountId(settings.channel, settings.account))
