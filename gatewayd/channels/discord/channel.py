"""One Discord account: joins what receives with what sends."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import httpx2

from gatewayd.channels.discord.api import DiscordApi, route
from gatewayd.channels.discord.files import Files
from gatewayd.channels.discord.identity import Identity, check_intent, tell_way
from gatewayd.channels.discord.receiving.backfill import Backfill
from gatewayd.channels.discord.receiving.cursors import DiscordState
from gatewayd.channels.discord.receiving.deliveries import Deliveries, in_turn
from gatewayd.channels.discord.receiving.earlier import Recall
from gatewayd.channels.discord.receiving.gateway import Gateway
from gatewayd.channels.discord.receiving.inbound import Bot, Receiver, Unknown
from gatewayd.channels.discord.receiving.interactions_http import InteractionsWebhook
from gatewayd.channels.discord.sending.answers import DEFERRED_MESSAGE, DEFERRED_UPDATE
from gatewayd.channels.discord.sending.commands import register
from gatewayd.channels.discord.sending.outbound import GROW_EVERY_SECONDS, Sender
from gatewayd.channels.discord.settings import DiscordSettings
from gatewayd.channels.discord.wire.answers import Channel
from gatewayd.channels.discord.wire.events import Member
from gatewayd.channels.discord.wire.frames import DIRECT_MESSAGES, GUILD_MESSAGES, GUILDS, MESSAGE_CONTENT
from gatewayd.kit.http import client_through
from gatewayd.kit.proxy import proxy_for
from gatewayd.model.errors import GatewayError, TryAgain
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt, RichText, SendFile, Signal
from gatewayd.ports.channel import AccountConfig, ChannelServices, Deliver, WebhookReply, WebhookRequest


class DiscordChannel:
    """One open account. Made by :func:`open_discord`."""

    def __init__(
        self,
        account: AccountConfig,
        settings: DiscordSettings,
        services: ChannelServices,
        http: httpx2.AsyncClient,
        identity: Identity,
    ) -> None:
        self._account = account
        self._settings = settings
        self._services = services
        self._http = http
        self._identity = identity
        self._api = DiscordApi(http, settings, boundary=secrets.token_hex(16))
        self._sender = Sender(self._api, services, self._own_id, link_previews=settings.link_previews)
        self._files = Files(self._api, services, self._sender, at_most_bytes=settings.max_attachment_bytes)
        self._state = DiscordState(services.state)
        self._receiver: Receiver | None = None
        self._webhook: InteractionsWebhook | None = None

    async def listen(self, deliver: Deliver) -> None:
        """See ``ports.channel.Channel``. Connected means that the gateway has a session for us."""
        bot, application = await self._identity.learn(self._api)
        check_intent(application, self._settings)
        receiver = await self.become(bot)
        await self._state.begin(self._services.now())
        tell_way(application, self._settings, self._account.webhook_url, self._services.connection)
        backfill = Backfill(self._api, self._services, self._settings, receiver, self._state)
        deliver = in_turn(deliver)
        async with anyio.create_task_group() as group:

            def stored(envelopes: Sequence[InboundEnvelope]) -> None:
                self._sender.places.learn_from(envelopes)
                for envelope in envelopes:
                    if envelope.event_key.startswith("interaction:"):
                        group.start_soon(self._defer, envelope)

            async def ask(unknown: Unknown) -> None:
                await self._ask(receiver, unknown)

            gateway = Gateway(
                self._api,
                self._http,
                self._services,
                Deliveries(receiver, self._services, self._state, ask=ask, stored=stored, missing=backfill.begin),
                token=self._settings.token,
                intents=GUILDS | GUILD_MESSAGES | DIRECT_MESSAGES | (MESSAGE_CONTENT if self._settings.message_content else 0),
                identity=f"@{bot.name}",
            )
            group.start_soon(backfill.watch, deliver)
            if self._settings.commands:
                group.start_soon(register, self._api, self._services.state, self._services.log, bot.application_id)
            await gateway.run(deliver)

    async def become(self, bot: Bot) -> Receiver:
        """From now on, read what comes as this bot. :raises StoreRefused: what is kept of it cannot be read."""
        await self._state.load(bot.user_id)
        if self._receiver is None or self._receiver.bot != bot:
            self._receiver = Receiver(self._account, bot, self._settings, self._state, self._services.now)
            if self._settings.interactions == "http" and self._settings.public_key is not None:
                self._webhook = InteractionsWebhook(self._services.log, self._receiver, public_key=self._settings.public_key)
        return self._receiver

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
        return await self._sender.find_sent(payload, key=key, since=since)

    def grows_every(self, peer: Peer) -> float | None:
        """See ``ports.channel.ShowsGrowth``."""
        return GROW_EVERY_SECONDS

    async def grow(self, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        """See ``ports.channel.ShowsGrowth``."""
        await self._sender.grow(peer, message_id, text)

    async def signal(self, signal: Signal) -> None:
        """See ``ports.channel.ShowsSignals``."""
        await self._sender.signal(signal)

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        """See ``ports.channel.FetchesMedia``."""
        addresses = {} if self._receiver is None else self._receiver.addresses
        return await self._files.fetch(attachment, addresses, at_most_bytes=at_most_bytes)

    async def earlier(self, envelope: InboundEnvelope, *, at_most: int) -> Sequence[Earlier]:
        """See ``ports.channel.RecallsThreads``."""
        if self._receiver is None:
            raise TryAgain("Discord has not said yet who we are")
        return await Recall(self._api, self._receiver).earlier(envelope, at_most=at_most)

    def receive(self, request: WebhookRequest) -> WebhookReply:
        """See ``ports.channel.ReceivesWebhooks``."""
        if self._settings.interactions != "http":
            return WebhookReply(status=404, body=b"this account gets interactions by the gateway")
        if self._webhook is None:
            return WebhookReply(status=503, body=b"Discord has not said yet who we are")
        reply = self._webhook.receive(request)
        self._note_presses(reply.envelopes)
        return reply

    async def received(self, request: WebhookRequest, reply: WebhookReply) -> None:
        """See ``ports.channel.ReceivesWebhooks``."""

    def _own_id(self) -> str | None:
        return None if self._receiver is None else self._receiver.bot.user_id

    def _note_presses(self, envelopes: Sequence[InboundEnvelope]) -> None:
        for envelope in envelopes:
            if envelope.press is not None and self._receiver is not None:
                token = self._receiver.tokens.get(envelope.press)
                if token is not None:
                    self._sender.answers.note(envelope.press, self._receiver.bot.application_id, token)

    async def _defer(self, envelope: InboundEnvelope) -> None:
        """The first answer to an interaction that came by the gateway, after its commit."""
        self._note_presses((envelope,))
        interaction = envelope.event_key.partition(":")[2]
        token = None if self._receiver is None else self._receiver.tokens.get(interaction)
        if token is not None:
            kind = DEFERRED_MESSAGE if envelope.kind == "command" else DEFERRED_UPDATE
            await self._sender.answers.defer(interaction, token, kind)

    async def _ask(self, receiver: Receiver, unknown: Unknown) -> None:
        """Find out what a channel is, or which roles are ours. What cannot be found out counts as a plain channel, or as none."""
        guilds = receiver.guilds
        try:
            if unknown.channel is not None:
                to = route("GET /channels/{channel_id}", channel_id=unknown.channel)
                guilds.put_channel(unknown.guild, await self._api.ask(to, Channel, purpose="fetch"))
            else:
                own = receiver.bot.user_id
                to = route("GET /guilds/{guild_id}/members/{user_id}", guild_id=unknown.guild, user_id=own)
                guilds.put_roles(unknown.guild, (await self._api.ask(to, Member, purpose="fetch")).roles)
        except GatewayError as error:
            self._services.log.warning("discord_place_not_known", reason=error.reason)


@asynccontextmanager
async def open_discord(account: AccountConfig, services: ChannelServices) -> AsyncIterator[DiscordChannel]:
    """The ``ChannelOpener`` of the manifest. Reads the account's state, so that an interaction right after a start can be
    answered; connects nothing."""
    settings = account.settings
    assert isinstance(settings, DiscordSettings)
    identity = Identity(services.state, settings.token)
    async with _client(services, settings) as http:
        channel = DiscordChannel(account, settings, services, http, identity)
        if (bot := await identity.load()) is not None:
            await channel.become(bot)
        yield channel


@asynccontextmanager
async def _client(services: ChannelServices, settings: DiscordSettings) -> AsyncIterator[httpx2.AsyncClient]:
    """The shared client, or one of this account's own where it has a proxy."""
    proxy = proxy_for(settings.api_base, settings.proxy)
    if proxy is None:
        yield services.http
        return
    async with client_through(proxy, services.http) as http:
        yield http
