"""One account: a task group around an open channel, which listens, and a mailbox, from which messages are sent. The end of either
ends both.

The actor outlives its lives. The objects that a driver gets belong to one life: an abandoned driver can neither report a
connection nor journal a message.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Protocol

import anyio
import msgspec
import trio
from msgspec import Struct

from gatewayd.actor.backoff import Backoff
from gatewayd.actor.border import Bug, describe, sole, third_party
from gatewayd.actor.child import ChildStatus
from gatewayd.actor.life import Life, UnexpectedReturn
from gatewayd.hub.accounts import growth
from gatewayd.hub.accounts.sender import Sender
from gatewayd.hub.configured import Configured
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.hub.outbox.queue import MailboxStatistics
from gatewayd.hub.state import OwnState
from gatewayd.kit.files import open_file
from gatewayd.model.config import AccountSettings, BrokenPlugin, GatewayConfig
from gatewayd.model.errors import Conflict, NeedsOperator, Overloaded, SendRejected, StoreRefused, TryAgain
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer
from gatewayd.model.message.payload import RichText, SendFile, Signal
from gatewayd.model.status import AccountState, AccountStatus
from gatewayd.ports.channel import (
    NO_STATE,
    AccountConfig,
    Channel,
    ChannelOpener,
    ChannelPlugin,
    FetchesMedia,
    LimitsText,
    OutgoingFile,
    ShowsSignals,
)
from gatewayd.ports.store import InboundRow, StateRows, StateValue

if TYPE_CHECKING:
    import httpx2
    from structlog.typing import FilteringBoundLogger

DELIVERIES = 64
"""How many deliver calls of one account run at once; further calls wait."""
DELIVERIES_WAITING = 1024
"""How many deliver calls may wait. A driver that calls deliver in a loop meets this bound before it fills the memory."""
_SIGNAL_SECONDS = 10.0
_LONGEST_ROW_BACKOFF = 300.0


class Journal(Protocol):
    """Where messages are committed: the inbox."""

    async def deliver(self, envelopes: Sequence[InboundEnvelope], *, state: Sequence[StateValue] = ()) -> list[InboundRow]: ...


class QueueSource(Protocol):
    """The backlog, as accounts need it."""

    def waiting_of(self, channel: str, account: str) -> int: ...

    def full_since(self, channel: str, account: str) -> float | None: ...


@dataclass(frozen=True)
class AccountContext:
    """What all accounts share. ``redact`` takes secrets out of texts. ``files`` is the folder of the files to send."""

    outbox: Outbox
    backlog: QueueSource
    state: StateRows
    http: "httpx2.AsyncClient"
    log: "FilteringBoundLogger"
    rng: Random
    now: Callable[[], float]
    redact: Callable[[str], str]
    configured: Configured
    files: Path | None


class AccountStatistics(Struct, frozen=True):
    """The account's bounds, and how much of each is used."""

    mailbox: MailboxStatistics
    deliveries: int
    deliveries_waiting: int


class AccountActor:
    """The account, as the rest of the hub sees it. ``run`` is one life of it, called by the supervisor.

    ``held``: an operator has stopped it, so only an operator starts it. ``removed``: it is not in the configuration any more.
    """

    def __init__(
        self,
        settings: AccountSettings,
        plugin: ChannelPlugin,
        opener: Callable[[ChannelPlugin], ChannelOpener],
        config: GatewayConfig,
        context: AccountContext,
        child: Callable[[], ChildStatus],
    ) -> None:
        self.settings = settings
        self.plugin = plugin
        self.channel: Channel | None = None
        self.held = False
        self.removed = False
        self._public_url = config.gateway.public_url
        self._opened: AccountConfig | None = None
        self._opener = opener
        self._context = context
        self._child = child
        self._journal: Journal | None = None
        self._log = context.log.bind(channel=settings.channel, account=settings.account)
        self._identity: str | None = None
        self._last_inbound_at: float | None = None
        self._last_transport_at: float | None = None
        self._deliveries = trio.CapacityLimiter(DELIVERIES)
        self._listening: trio.CancelScope | None = None
        self._draining = False
        self._sender = Sender(
            settings.channel,
            settings.account,
            context.outbox,
            Backoff(context.rng, longest_seconds=_LONGEST_ROW_BACKOFF),
            config.outbox,
            now=context.now,
            redact=context.redact,
        )

    def reconfigure(self, settings: AccountSettings, plugin: ChannelPlugin, config: GatewayConfig) -> None:
        """Use these settings from now on. An open driver keeps the settings that it was opened with: see ``is_outdated``."""
        if settings.frame.enabled and not self.settings.frame.enabled:
            self.held = False
        self.settings = settings
        self.plugin = plugin
        self._public_url = config.gateway.public_url
        self._sender.reconfigure(config.outbox)

    def hold(self, held: bool) -> None:
        """Note whether an operator has stopped it."""
        self.held = held

    def note_removed(self, removed: bool) -> None:
        """Note whether it is not configured any more. Then it receives nothing, and finishes its sends."""
        self.removed = removed
        if removed:
            self.stop_listening()

    @property
    def is_outdated(self) -> bool:
        """Whether the driver of the newest life was opened with other settings than now, or does not listen any more."""
        return self._draining or (self._opened is not None and self._opened != self._config())

    @property
    def status(self) -> AccountStatus:
        """The state of the account at this moment. No I/O."""
        child, held = self._child(), self._sender.held
        channel, account = self.settings.channel, self.settings.account
        queue = self._context.outbox.queue(channel, account)
        return AccountStatus(
            channel=channel,
            account=account,
            state=self.state_of(child),
            since=child.since,
            reason=child.reason,
            identity=self._identity,
            attempt=child.attempt,
            next_attempt_at=child.next_attempt_at,
            restarts=child.restarts,
            last_inbound_at=self._last_inbound_at,
            last_outbound_at=self._sender.last_sent_at,
            last_transport_at=self._last_transport_at,
            mailbox_depth=queue.statistics().used,
            outbox_depth=len(queue),
            oldest_pending_at=queue.oldest_at,
            down_since=child.down_since,
            inbox_waiting=self._context.backlog.waiting_of(channel, account),
            inbox_full_since=self._context.backlog.full_since(channel, account),
            sends_held_since=None if held is None else held.since,
            sends_held_until=None if held is None else held.until,
            sends_held_reason=None if held is None else held.reason,
            open_groups=self.settings.frame.open_groups,
        )

    def state_of(self, child: ChildStatus) -> AccountState:
        """The supervisor's state of the child, as the state of an account."""
        if not self.settings.frame.enabled:
            return "disabled"
        return "connected" if child.state == "running" else child.state

    def statistics(self) -> AccountStatistics:
        return AccountStatistics(
            mailbox=self._context.outbox.queue(self.settings.channel, self.settings.account).statistics(),
            deliveries=self._deliveries.borrowed_tokens,
            deliveries_waiting=self._deliveries.statistics().tasks_waiting,
        )

    async def deliver(self, envelopes: Sequence[InboundEnvelope], *, state: Mapping[str, str] = NO_STATE) -> None:
        """Journal what the platform delivered. Returns after the commit; waits while the inbox is full.

        :raises Overloaded: too many calls wait already; nothing was stored.
        :raises StoreRefused: nothing was stored.
        :raises Bug: the driver gave something else than envelopes; nothing was stored.
        """
        assert self._journal is not None, "only what a life has opened delivers"
        if self._deliveries.statistics().tasks_waiting >= DELIVERIES_WAITING:
            raise Overloaded(f"more than {DELIVERIES_WAITING} deliveries wait for the inbox")
        self.note_transport()
        checked = [_checked(envelope) for envelope in envelopes]
        async with self._deliveries:
            own = (self.settings.channel, self.settings.account)
            await self._journal.deliver(checked, state=[(*own, key, value) for key, value in state.items()])
        if envelopes:
            self._last_inbound_at = self._context.now()

    async def signal(self, signal: Signal) -> None:
        """Show a signal, for example typing, where the channel can. Best effort: errors, or a missing connection, are ignored."""
        channel = self.channel
        if channel is None or self._child().state != "running":
            return
        try:
            with trio.move_on_after(_SIGNAL_SECONDS), third_party():
                if isinstance(channel, ShowsSignals):
                    await channel.signal(signal)
        except* Exception as group:
            self._log.debug("signal_failed", reason=describe(sole(group), self._context.redact))

    def grows_in(self, peer: Peer) -> bool:
        """Whether a reply may begin to grow in this chat now: the configuration wants it, and the channel can do it."""
        wanted = self.settings.frame.growing and self.plugin.grows and self._child().state == "running"
        return wanted and self.channel is not None and growth.grows_in(self.channel, peer, self._log)

    async def grow(self, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        """Show more of a message that grows. Raises as ``growth.grow``."""
        if self.channel is None or self._child().state != "running":
            raise TryAgain("the account is not connected")
        await growth.grow(self.channel, peer, message_id, text, key=key, log=self._log, redact=self._context.redact)

    async def fetch(self, attachment: Attachment, at_most_bytes: int) -> bytes:
        """The bytes of an attachment, from the platform.

        :raises TryAgain: not connected, or an outage. :raises SendRejected: no files here, too large, or gone.
        """
        channel = self.channel
        if channel is None or self._child().state != "running":
            raise TryAgain("the account is not connected")
        with third_party():
            if not isinstance(channel, FetchesMedia):
                raise SendRejected("this channel has no files to fetch")
            return await channel.fetch(attachment, at_most_bytes=at_most_bytes)

    @property
    def has_unsettled(self) -> bool:
        """Whether the store has not taken the outcomes of some sends."""
        return self._sender.has_unsettled

    async def record_results(self) -> None:
        """Record these outcomes now. :raises TryAgain: the store still refuses them."""
        await self._sender.record_results()

    def stop_listening(self) -> None:
        """Receive nothing any more, and go on sending. A life that begins after this only waits. For the drain, and for an
        account that is being removed."""
        self._draining = True
        if self._listening is not None:
            self._listening.cancel()

    def listen_again(self) -> None:
        """Undo ``stop_listening`` for later lives."""
        self._draining = False

    def cut_sends_after(self, seconds: float) -> None:
        """Cut the sends that are in progress after so many seconds; then their outcome is unknown."""
        self._sender.cut_after(seconds)

    def note_transport(self) -> None:
        self._last_transport_at = self._context.now()

    def note_identity(self, identity: str | None) -> None:
        self._identity = identity or self._identity

    async def run(self, life: Life, journal: Journal) -> None:
        """Open, listen and send, until it fails or is cancelled. Received messages go to ``journal``. See
        ``actor.supervisor``."""
        self._journal = journal
        life.started()
        if self._draining:
            await trio.sleep_forever()
        config = self._opened = self._config()
        if isinstance(config.settings, BrokenPlugin):
            raise NeedsOperator(config.settings.reason)
        async with self._load()(config, _Services(self, life, self._context, self._log)) as channel:
            with life.closes_after(), self._limits_of(channel):
                self.channel = channel
                try:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._send, channel, life)
                        await self._listen(channel, life)
                finally:
                    if self.channel is channel:
                        self.channel = None

    def _limits_of(self, channel: Channel) -> AbstractContextManager[None]:
        if not isinstance(channel, LimitsText):
            return nullcontext()
        return self._context.configured.limited(self.settings.channel, self.settings.account, channel)

    def _load(self) -> ChannelOpener:
        try:
            with third_party():
                return self._opener(self.plugin)
        except NeedsOperator:
            raise
        except Exception as error:
            # Whatever a third party's module does while it is imported, only its own accounts fail.
            raise NeedsOperator(f"the driver cannot be loaded: {describe(error, self._context.redact)}") from error

    def _config(self) -> AccountConfig:
        own = self.settings
        return AccountConfig(own.channel, own.account, own.settings, webhook_url=self._webhook_url())

    def _webhook_url(self) -> str | None:
        base = self._public_url
        if base is None or not self.plugin.webhook:
            return None
        return f"{base.rstrip('/')}/v1/webhooks/{self.settings.channel}/{self.settings.account}"

    async def _listen(self, channel: Channel, life: Life) -> None:
        with trio.CancelScope() as self._listening:
            if not self._draining:
                with third_party():
                    await channel.listen(_Delivery(self, life))
            if not self._draining:
                raise UnexpectedReturn("listen returned")
        # Only after ``stop_listening``: the account hears nothing, and sends the rest of its mailbox.
        life.expect_silence(None)
        await trio.sleep_forever()

    async def _send(self, channel: Channel, life: Life) -> None:
        # Not before the connection: in an outage each attempt of the account would be an attempt of every row, until the row is
        # dead.
        await life.wait_connected()
        await self._sender.run(channel, life)


def _checked(envelope: object) -> InboundEnvelope:
    """The envelope, with the types of its fields checked: it is read again from the store, in another life, too."""
    try:
        with third_party():
            return msgspec.convert(msgspec.to_builtins(envelope), InboundEnvelope)
    except Exception as error:
        raise Bug(f"deliver was given what is no envelope: {describe(error)}") from None


class _Delivery:
    """``deliver`` of one life's driver."""

    def __init__(self, actor: AccountActor, life: Life) -> None:
        self._actor = actor
        self._life = life

    async def __call__(self, envelopes: Sequence[InboundEnvelope], *, state: Mapping[str, str] = NO_STATE) -> None:
        """:raises TryAgain: the store refuses. :raises Overloaded: the driver floods. :raises Conflict: its life is over."""
        if self._life.over:
            raise Conflict("this connection of the account is over")
        if self._actor.removed:
            # Its life is about to be stopped. Nobody takes the delivery, and that is not the driver's fault.
            await trio.sleep_forever()
        try:
            with self._life.hold():
                await self._actor.deliver(envelopes, state=state)
        except StoreRefused as error:
            raise TryAgain(f"the store does not take messages: {error.reason}") from error


class _ConnectionReporter:
    """``ConnectionReporter`` for one life."""

    def __init__(self, actor: AccountActor, life: Life) -> None:
        self._actor = actor
        self._life = life

    def connected(self, identity: str | None = None) -> None:
        if not self._life.over:
            self._actor.note_identity(identity)
            self._actor.note_transport()
            self._life.connected()

    def heard(self) -> None:
        if not self._life.over:
            self._actor.note_transport()
            self._life.heard()

    def expect_silence(self, at_most_seconds: float | None) -> None:
        if not self._life.over:
            self._life.expect_silence(at_most_seconds)


class _Services:
    """``ChannelServices`` for one life."""

    def __init__(self, actor: AccountActor, life: Life, context: AccountContext, log: "FilteringBoundLogger") -> None:
        self.http = context.http
        self.connection = _ConnectionReporter(actor, life)
        self.state = OwnState(context.state, actor.settings.channel, actor.settings.account)
        self.log = log
        self.rng = context.rng
        self._now = context.now
        self._files = context.files

    def open_file(self, payload: SendFile) -> AbstractAsyncContextManager[OutgoingFile]:
        return open_file(self._files, payload.file, payload.size_bytes)

    def now(self) -> float:
        return self._now()
