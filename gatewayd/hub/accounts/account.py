"""One account: a task group around an open channel, which listens, and a mailbox, from which messages are sent. The end of either
ends both.

The actor outlives its lives. The objects that a driver gets belong to one life: an abandoned driver can neither report a
connection nor journal a message.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import anyio
import trio
from msgspec import Struct, structs

from gatewayd.actor.backoff import Backoff
from gatewayd.actor.border import describe, third_party
from gatewayd.actor.child import ChildStatus
from gatewayd.actor.life import Life, UnexpectedReturn
from gatewayd.hub.accounts.calls import DriverCalls
from gatewayd.hub.accounts.checked import checked
from gatewayd.hub.accounts.context import AccountContext, GapEnd, Journal, Services
from gatewayd.hub.accounts.sender import Sender
from gatewayd.hub.accounts.transport import Reporter, Transport
from gatewayd.hub.outbox.queue import MailboxStatistics
from gatewayd.model.config import AccountSettings, BrokenPlugin, GatewayConfig
from gatewayd.model.errors import Conflict, NeedsOperator, Overloaded, StoreRefused, TryAgain
from gatewayd.model.ids import AccountId, ConversationId
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer
from gatewayd.model.message.payload import RichText, Signal
from gatewayd.model.message.report import DeliveryReport
from gatewayd.model.status import AccountState, AccountStatus
from gatewayd.ports.channel import (
    NO_STATE,
    AccountConfig,
    Channel,
    ChannelOpener,
    ChannelPlugin,
    LimitsText,
)

DELIVERIES = 64
"""How many deliver calls of one account run at once; further calls wait."""
DELIVERIES_WAITING = 1024
"""How many deliver calls may wait. A driver that calls deliver in a loop meets this bound before it fills the memory."""
_LONGEST_ROW_BACKOFF = 300.0
_REPORT_REASON_MAX = 200


class AccountStatistics(Struct, frozen=True):
    """The account's bounds, and how much of each is used."""

    mailbox: MailboxStatistics
    deliveries: int
    deliveries_waiting: int


class AccountActor:
    """The account, as the rest of the hub sees it. ``run`` is one life of it, called by the supervisor.

    ``held``: an operator has stopped it, so only an operator starts it. ``removed``: it is not in the configuration any more.
    ``calls`` are the calls into the channel that is open now, or was the last; ``closed`` is set when that channel closes.
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
        self.closed = trio.Event()
        self.held = False
        self.removed = False
        self._public_url = config.gateway.public_url
        self._opened: AccountConfig | None = None
        self._opener = opener
        self._context = context
        self._child = child
        self.calls: DriverCalls | None = None
        self._journal: Journal | None = None
        self._on_gap_end: GapEnd | None = None
        self._log = context.log.bind(channel=settings.channel, account=settings.account)
        self._last_inbound_at: float | None = None
        self._transport = Transport(
            now=context.now,
            redact=context.redact,
            on_change=lambda: self.tell_state(child()),
            on_gap_end=self._note_gap_end,
        )
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
        return self._draining or (self._opened is not None and self._opened != self.config)

    @property
    def status(self) -> AccountStatus:
        """The state of the account at this moment. No I/O."""
        child, held, transport = self._child(), self._sender.held, self._transport
        interrupted = self.state_of(child) == "interrupted"
        channel, account = self.settings.channel, self.settings.account
        queue = self._context.outbox.queue(channel, account)
        return AccountStatus(
            channel=channel,
            account=account,
            state=self.state_of(child),
            since=(transport.interrupted_since if interrupted else None) or child.since,
            reason=transport.reason if interrupted else child.reason,
            identity=transport.identity,
            attempt=child.attempt,
            next_attempt_at=child.next_attempt_at,
            restarts=child.restarts,
            last_inbound_at=self._last_inbound_at,
            last_outbound_at=self._sender.last_sent_at,
            last_transport_at=transport.last_at,
            mailbox_depth=queue.statistics().used,
            outbox_depth=len(queue),
            oldest_pending_at=queue.oldest_at,
            down_since=transport.interrupted_since if interrupted else child.down_since,
            inbox_waiting=self._context.backlog.waiting_of(channel, account),
            inbox_full_since=self._context.backlog.full_since(channel, account),
            sends_held_since=None if held is None else held.since,
            sends_held_until=None if held is None else held.until,
            sends_held_reason=None if held is None else held.reason,
            open_groups=self.settings.frame.open_groups,
            lacks=transport.lacks if child.state == "running" else (),
        )

    def state_of(self, child: ChildStatus) -> AccountState:
        """The supervisor's state of the child, as the state of an account."""
        if not self.settings.frame.enabled:
            return "disabled"
        if child.state != "running":
            return child.state
        return "connected" if self._transport.interrupted_since is None else "interrupted"

    def tell_state(self, child: ChildStatus) -> None:
        """Log a change of the state, and emit its event."""
        state, lacks = self.state_of(child), "; ".join(lack.what for lack in self._transport.lacks) or None
        reason = self._transport.reason if state == "interrupted" else child.reason
        channel, account = self.settings.channel, self.settings.account
        self._context.events.emit("channels.state", channel=channel, account=account, state=state, reason=reason, lacks=lacks)
        self._log.info("account_state_changed", state=state, reason=reason, lacks=lacks)

    def statistics(self) -> AccountStatistics:
        return AccountStatistics(
            mailbox=self._context.outbox.queue(self.settings.channel, self.settings.account).statistics(),
            deliveries=self._deliveries.borrowed_tokens,
            deliveries_waiting=self._deliveries.statistics().tasks_waiting,
        )

    async def deliver(
        self,
        envelopes: Sequence[InboundEnvelope],
        *,
        state: Mapping[str, str] = NO_STATE,
        reports: Sequence[DeliveryReport] = (),
    ) -> None:
        """Journal what the platform delivered. Returns after the commit; waits while the inbox is full.

        :raises Overloaded: too many calls wait already; nothing was stored.
        :raises StoreRefused: nothing was stored.
        :raises Bug: the driver gave something else than envelopes and reports; nothing was stored.
        """
        assert self._journal is not None, "only what a life has opened delivers"
        if self._deliveries.statistics().tasks_waiting >= DELIVERIES_WAITING:
            raise Overloaded(f"more than {DELIVERIES_WAITING} deliveries wait for the inbox")
        self._transport.note_heard()
        journaled = [checked(envelope, InboundEnvelope) for envelope in envelopes]
        told = [self._cleaned(checked(report, DeliveryReport)) for report in reports]
        async with self._deliveries:
            own = (self.settings.channel, self.settings.account)
            values = [(*own, key, value) for key, value in state.items()]
            await self._journal.deliver(journaled, state=values, reports=[(*own, report) for report in told])
        if envelopes:
            self._last_inbound_at = self._context.now()

    def _cleaned(self, report: DeliveryReport) -> DeliveryReport:
        """A delivery report with a time that is one, and with a short reason without secrets."""
        at = report.at if report.at is not None and math.isfinite(report.at) else self._context.now()
        if report.kind != "failed":
            return structs.replace(report, at=at, reason=None)
        reason = " ".join(self._context.redact(report.reason or "").split())[:_REPORT_REASON_MAX]
        return structs.replace(report, at=at, reason=reason or "the platform reports that it could not be delivered")

    async def signal(self, signal: Signal) -> None:
        """Show a signal, for example typing, where the channel can. Best effort: errors, or a missing connection, are ignored."""
        if (calls := self._connected_calls()) is not None:
            await calls.signal(signal)

    def grows_every(self, peer: Peer) -> float | None:
        """The least pause between two calls of ``grow`` in this chat, in seconds. None: no reply may begin to grow there now."""
        wanted = self.settings.frame.growing and self.plugin.grows
        calls = self._connected_calls() if wanted else None
        return None if calls is None else calls.grows_every(peer)

    async def grow(self, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        """Show more of a message that grows. Raises as ``DriverCalls.grow``."""
        calls = self._required_calls()
        own = AccountId(self.settings.channel, self.settings.account)
        conversation, queue = str(ConversationId(own, peer)), self._context.outbox.queue(own.channel, own.name)
        # Not while they are held, which lasts until the next send, perhaps the end of this very reply.
        left = max(queue.pause_of(conversation), self._sender.hold_seconds)
        if left:
            raise TryAgain("sends have to wait", after_seconds=left)
        try:
            await calls.grow(peer, message_id, text, key=key)
        except TryAgain as error:
            # The platform counts all that is sent.
            if error.scope == "sends":
                self._sender.hold(error)
            else:
                queue.pause(conversation, error.after_seconds or 0.0)
            raise

    async def fetch(self, attachment: Attachment, at_most_bytes: int) -> bytes:
        """The bytes of an attachment. Raises as ``DriverCalls.fetch``."""
        return await self._required_calls().fetch(attachment, at_most_bytes)

    async def earlier(self, envelope: InboundEnvelope, at_most: int) -> Sequence[Earlier]:
        """What was said in a thread before this message. Raises as ``DriverCalls.earlier``."""
        return await self._required_calls().earlier(envelope, at_most)

    def _required_calls(self) -> DriverCalls:
        if (calls := self._connected_calls()) is None:
            raise TryAgain("the account is not connected")
        return calls

    def _connected_calls(self) -> DriverCalls | None:
        return self.calls if self.channel is not None and self._child().state == "running" else None

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

    async def run(self, life: Life, journal: Journal, on_gap_end: GapEnd) -> None:
        """Open, listen and send, until it fails or is cancelled. Received messages go to ``journal``, the ends of gaps to
        ``on_gap_end``. See ``actor.supervisor``."""
        self._journal, self._on_gap_end = journal, on_gap_end
        self._transport.begin()
        life.started()
        if self._draining:
            await trio.sleep_forever()
        config = self._opened = self.config
        if isinstance(config.settings, BrokenPlugin):
            raise NeedsOperator(config.settings.reason)
        services = Services(self.settings, Reporter(self._transport, life), self._context, self._log)
        async with self._load()(config, services) as channel:
            with life.closes_after(), self._limits_of(channel):
                self.channel = channel
                closed = self.closed = trio.Event()
                try:
                    async with anyio.create_task_group() as tasks:
                        self.calls = DriverCalls(channel, tasks, life, self._log, self._context.redact)
                        with self.calls.open():
                            tasks.start_soon(self._send, channel, life)
                            await self._listen(channel, life)
                finally:
                    if self.channel is channel:
                        self.channel = None
                    closed.set()

    def _note_gap_end(self) -> None:
        assert self._on_gap_end is not None, "only what a life has opened connects"
        self._on_gap_end(self.settings.channel, self.settings.account)

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

    @property
    def config(self) -> AccountConfig:
        """What a driver that is opened now is told about the account."""
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


class _Delivery:
    """``deliver`` of one life's driver."""

    def __init__(self, actor: AccountActor, life: Life) -> None:
        self._actor = actor
        self._life = life

    async def __call__(
        self,
        envelopes: Sequence[InboundEnvelope],
        *,
        state: Mapping[str, str] = NO_STATE,
        reports: Sequence[DeliveryReport] = (),
    ) -> None:
        """:raises TryAgain: the store refuses. :raises Overloaded: the driver floods. :raises Conflict: its life is over."""
        if self._life.over:
            raise Conflict("this connection of the account is over")
        if self._actor.removed:
            # Its life is about to be stopped. Nobody takes the delivery, and that is not the driver's fault.
            await trio.sleep_forever()
        try:
            with self._life.hold():
                await self._actor.deliver(envelopes, state=state, reports=reports)
        except StoreRefused as error:
            raise TryAgain(f"the store does not take messages: {error.reason}") from error
