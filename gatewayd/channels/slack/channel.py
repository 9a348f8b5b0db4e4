"""One Slack account: joins what receives with what sends."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import anyio
import httpx2

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.files import Files
from gatewayd.channels.slack.identity import Identity, tell_installation, tell_scopes
from gatewayd.channels.slack.receiving.backfill import Backfill
from gatewayd.channels.slack.receiving.deliveries import in_turn
from gatewayd.channels.slack.receiving.earlier import Recall
from gatewayd.channels.slack.receiving.inbound import Bot, Receiver
from gatewayd.channels.slack.receiving.people import People
from gatewayd.channels.slack.receiving.socket import SocketMode, connection_url
from gatewayd.channels.slack.receiving.threads import SlackState
from gatewayd.channels.slack.receiving.webhook import EventsWebhook
from gatewayd.channels.slack.sending.outbound import Sender
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.channels.slack.wire.answers import AuthTest
from gatewayd.kit.http import client_through
from gatewayd.kit.proxy import proxy_for
from gatewayd.model.errors import TryAgain
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt, RichText, SendFile, Signal
from gatewayd.ports.channel import AccountConfig, ChannelServices, Deliver, WebhookReply, WebhookRequest


class SlackChannel:
    """One open account. Made by :func:`open_slack`."""

    def __init__(
        self,
        account: AccountConfig,
        settings: SlackSettings,
        services: ChannelServices,
        http: httpx2.AsyncClient,
        identity: Identity,
    ) -> None:
        self._account = account
        self._settings = settings
        self._services = services
        self._http = http
        self._identity = identity
        self._me: AuthTest | None = None
        self._api = SlackApi(http, settings)
        self._people = People(self._api, services.now)
        self._sender = Sender(
            self._api, services, lambda: self._me, streaming=settings.streaming, link_previews=settings.link_previews
        )
        self._files = Files(self._api, services, self._sender.places, at_most_bytes=settings.max_attachment_bytes)
        self._state: SlackState | None = None
        self._receiver: Receiver | None = None
        self._webhook: EventsWebhook | None = None

    async def listen(self, deliver: Deliver) -> None:
        """See ``ports.channel.Channel``. Connected means that Slack accepts the token and, in Socket Mode, has said hello."""
        me, scopes = await self._api.who_am_i()
        self._me = me
        receiver, state = await self.become(await self._identity.learn(self._api, me))
        await state.begin(self._services.now())
        tell_scopes(scopes, self._services.connection)
        tell_installation(me, self._services.connection)
        deliver = in_turn(deliver, self._sender.places.learn_from)
        fetch = partial(Backfill(self._api, self._services, self._settings, receiver, state).run, deliver)
        identity = f"@{me.user} in {me.team}"
        async with anyio.create_task_group() as group:
            group.start_soon(self._people.run)
            if self._webhook is not None:
                self._services.connection.connected(identity)
                await self._webhook.watch(fetch)
            open_url, connections = partial(connection_url, self._api), self._settings.connections
            socket = SocketMode(open_url, self._http, self._services, receiver, connections=connections, identity=identity)
            await socket.run(deliver, fetch)

    async def become(self, bot: Bot) -> tuple[Receiver, SlackState]:
        """From now on, read what comes as this bot. :raises StoreRefused: what is kept of its workspace cannot be read."""
        if self._state is None or self._receiver is None or self._receiver.bot.team != bot.team:
            self._state = SlackState(self._services.state)
            await self._state.load(bot.team)
            self._receiver = None
        if self._receiver is None or self._receiver.bot != bot:
            self._receiver = Receiver(self._account, bot, self._settings, self._state, self._people, self._services.now)
            if self._settings.mode == "events" and self._settings.signing_secret is not None:
                secret = self._settings.signing_secret
                self._webhook = EventsWebhook(self._services, self._receiver, signing_secret=secret)
        return self._receiver, self._state

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        """See ``ports.channel.Channel``."""
        match payload:
            case SendFile():
                return await self._files.send(payload, key=key)
            case EditText():
                return await self._sender.edit(payload)
            case _:
                return await self._sender.send(payload, key=key)

    async def find_sent(self, payload: OutboundPayload, *, key: str, since: float) -> Receipt | None:
        """See ``ports.channel.Reconciles``."""
        if isinstance(payload, SendFile):
            return await self._files.find_sent(payload, key=key, since=since)
        return await self._sender.find_sent(payload, key=key, since=since)

    def grows_every(self, peer: Peer) -> float | None:
        """See ``ports.channel.ShowsGrowth``."""
        return self._sender.grows_every(peer)

    async def grow(self, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        """See ``ports.channel.ShowsGrowth``."""
        await self._sender.grow(peer, message_id, text)

    async def signal(self, signal: Signal) -> None:
        """See ``ports.channel.ShowsSignals``."""
        await self._sender.signal(signal)

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        """See ``ports.channel.FetchesMedia``."""
        return await self._files.fetch(attachment, at_most_bytes=at_most_bytes)

    async def earlier(self, envelope: InboundEnvelope, *, at_most: int) -> Sequence[Earlier]:
        """See ``ports.channel.RecallsThreads``."""
        if self._receiver is None:
            raise TryAgain("Slack has not said yet who we are")
        recall = Recall(self._api, self._sender.places, self._receiver, self._people)
        return await recall.earlier(envelope, at_most=at_most)

    def receive(self, request: WebhookRequest) -> WebhookReply:
        """See ``ports.channel.ReceivesWebhooks``. Slack sends again what is not answered by 200."""
        if self._settings.mode != "events":
            return WebhookReply(status=404, body=b"this account uses Socket Mode")
        if self._webhook is None:
            return WebhookReply(status=503, body=b"Slack has not said yet who we are")
        reply = self._webhook.receive(request)
        self._sender.places.learn_from(reply.envelopes)
        return reply

    async def received(self, request: WebhookRequest, reply: WebhookReply) -> None:
        """See ``ports.channel.ReceivesWebhooks``."""
        if self._webhook is not None and reply.status < 400:
            self._webhook.received()


@asynccontextmanager
async def open_slack(account: AccountConfig, services: ChannelServices) -> AsyncIterator[SlackChannel]:
    """The ``ChannelOpener`` of the manifest. Reads the account's state, so that a webhook call right after a start can be
    answered; connects nothing."""
    settings = account.settings
    assert isinstance(settings, SlackSettings)
    identity = Identity(services.state, settings.bot_token)
    async with _client(services, settings) as http:
        channel = SlackChannel(account, settings, services, http, identity)
        if (bot := await identity.load()) is not None:
            await channel.become(bot)
        yield channel


@asynccontextmanager
async def _client(services: ChannelServices, settings: SlackSettings) -> AsyncIterator[httpx2.AsyncClient]:
    """The shared client, or one of this account's own where it has a proxy."""
    proxy = proxy_for(settings.api_base, settings.proxy)
    if proxy is None:
        yield services.http
        return
    async with client_through(proxy, services.http) as http:
        yield http
