"""One Telegram account. ``inbound`` and ``outbound`` translate messages, ``errors`` says what an error answer means."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
import httpx2
from msgspec import Raw, Struct

from gatewayd.channels.telegram.api import BotApi
from gatewayd.channels.telegram.errors import ApiError, Limits, fallback_of, gateway_error
from gatewayd.channels.telegram.menu import show_menu
from gatewayd.channels.telegram.receiving.inbound import Bot, Receiver, migration_of, to_inbound, with_references
from gatewayd.channels.telegram.receiving.poll import Poller
from gatewayd.channels.telegram.receiving.webhook import WebhookReceiver
from gatewayd.channels.telegram.sending.drafts import Drafts
from gatewayd.channels.telegram.sending.fallback import FallbackWriter, Make
from gatewayd.channels.telegram.sending.outbound import (
    answer_from,
    chat_id_of,
    from_edit,
    from_outbound,
    halves_of,
    number_in,
    typing_in,
)
from gatewayd.channels.telegram.settings import TelegramSettings
from gatewayd.channels.telegram.state import BotState
from gatewayd.channels.telegram.wire import File, GetFile, SentMessage, Update, User
from gatewayd.kit.http import client_through
from gatewayd.kit.json import Malformed, decode
from gatewayd.kit.proxy import proxy_for
from gatewayd.kit.repeat import repeat
from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, StoreRefused, TryAgain
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer
from gatewayd.model.message.payload import (
    Draft,
    EditText,
    OutboundPayload,
    PressAnswer,
    Receipt,
    RichText,
    SendFile,
    SendText,
    Signal,
    Typing,
)
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import AccountConfig, ChannelServices, Deliver, WebhookReply, WebhookRequest

SIGNAL_SECONDS = 3.0
"""The time limit of sendChatAction and answerCallbackQuery, on which nothing depends."""


GROUP_GROWS_EVERY_SECONDS = 3.0
"""A bot may send 20 messages a minute to a group (Bots FAQ, "My bot is hitting limits"). It is not said whether edits count."""
DM_GROWS_EVERY_SECONDS = 1.0
"""One message a second to a chat, as it says there."""
NAME_SECONDS = 120.0
"""The least time between two checks of the bot's name: between two polls, or with the webhook's registration."""


class TelegramChannel:
    """One open account. Made by :func:`open_telegram`."""

    def __init__(
        self,
        account: AccountConfig,
        settings: TelegramSettings,
        services: ChannelServices,
        state: BotState,
        http: httpx2.AsyncClient,
        username: str | None,
        secret: str,
    ) -> None:
        self._settings = settings
        self._services = services
        self._state = state
        self._migrations = state.migrations
        self._limits = Limits()
        self._api = BotApi(http, settings)
        self._drafts = Drafts(self._api, services)
        self._writer = FallbackWriter(self._attempt, services.log, on_lost_topic=settings.on_lost_topic)
        self._bot_id = int(settings.token.reveal().partition(":")[0])  # the token's first part is the bot's user id
        self._account = account
        self._look_again_at = 0.0
        self._receiver = Receiver(account.channel, account.account, Bot(self._bot_id, username))
        self._poller = Poller(
            self._api,
            services,
            state,
            timeout_seconds=settings.poll_timeout_seconds,
            read=self._read,
        )
        self._api.hide(Secret(secret))
        self._webhook = WebhookReceiver(
            self._api,
            services,
            state.migrations,
            url=account.webhook_url or "",
            secret=secret,
            max_connections=settings.webhook_max_connections,
            read=self._read,
        )

    async def listen(self, deliver: Deliver) -> None:
        """See ``ports.channel.Channel``. Connected means that Telegram lets us receive: a getUpdates, or by webhook the
        setWebhook, has been answered."""
        username = await self._learn_name()
        self._look_again_at = anyio.current_time() + NAME_SECONDS
        await self._show_menu()
        if self._settings.mode == "poll":
            await self._poller.run(deliver, lambda: self._services.connection.connected(username), self._look_at_name)
        if not self._account.webhook_url:
            raise NeedsOperator('mode = "webhook" needs gateway.public_url')
        await self._webhook.register()
        self._services.connection.connected(username)
        await self._webhook.watch(self._look_at_name)

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        """See ``ports.channel.Channel``. A part of the message that the server rejects is left out, see ``fallback``."""
        if isinstance(payload, SendFile):
            raise SendRejected("this driver sends no files")
        return await (self._edit(payload) if isinstance(payload, EditText) else self._send(payload))

    async def _send(self, payload: SendText) -> Receipt:
        """sendMessage. When the group has a new id, the message is sent there, once."""

        def params_in(chat_id: int | str) -> Make:
            previews = self._settings.link_previews
            return lambda without: from_outbound(payload, chat_id=chat_id, link_previews=previews, without=without)

        chat_id = self._migrations.now(chat_id_of(payload.peer))
        result = await self._writer.write("sendMessage", payload, params_in(chat_id))
        if isinstance(result, ApiError) and isinstance(chat_id, int) and (moved := result.migrate_to_chat_id) is not None:
            self._note_migration(chat_id, moved)
            try:
                await self._state.save_migrations()
            except StoreRefused as error:  # nothing was sent yet
                raise TryAgain(f"the group's new id cannot be stored: {error.reason}", scope="conversation") from error
            chat_id = moved
            result = await self._writer.write("sendMessage", payload, params_in(chat_id))
        if isinstance(result, ApiError):
            if fallback_of(result) == "length" and (halves := halves_of(payload)):
                return await self._send_all(halves)
            raise self._send_error(result, payload.peer)
        try:
            return Receipt(self._migrations.reference(decode(result, SentMessage).message_id, chat_id))
        except Malformed:
            return Receipt()  # it said ok: the message is out

    async def _send_all(self, payloads: Sequence[SendText]) -> Receipt:
        """The receipt is the last one's, which has the buttons. When some are out, the others are not tried again."""
        receipt = Receipt()
        for sent, payload in enumerate(payloads):
            try:
                receipt = await self._send(payload)
            except GatewayError as error:
                if sent == 0:
                    raise
                unknown = OutcomeUnknown(f"sent in part: {sent} of {len(payloads)} pieces; {error.reason}")
            else:
                continue
            raise unknown
        return receipt

    async def _edit(self, payload: EditText) -> Receipt:
        """editMessageText. The same edit twice is as good as once: the second is refused as no change. A supergroup numbers its
        messages anew: there a number of the old group's is another message."""
        home = chat_id_of(payload.peer)
        chat_id = self._migrations.now(home)
        message_id = number_in(chat_id, payload.message_id, home=home)
        if message_id is None and payload.message_id and chat_id != home:
            raise SendRejected("migrated: the group of the message that is to change has become a supergroup")
        if message_id is None:
            raise SendRejected("not known: Telegram gave no number for the message that is to change")
        previews = self._settings.link_previews
        result = await self._writer.write(
            "editMessageText",
            payload,
            lambda without: from_edit(payload, chat_id=chat_id, message_id=message_id, link_previews=previews, without=without),
        )
        if isinstance(result, ApiError) and "message is not modified" not in result.description.lower():
            raise self._send_error(result, payload.peer)
        return Receipt(payload.message_id)

    def _send_error(self, refused: ApiError, peer: Peer) -> GatewayError:
        """The error of a send, and who has to wait for it."""
        error = gateway_error(refused, "send")
        if isinstance(error, TryAgain) and refused.code == 429:
            error.scope = self._limits.scope_of(peer.id, error.after_seconds or 1.0, now=self._services.now())
        return error

    async def _attempt(self, method: str, params: Struct) -> Raw | ApiError:
        try:
            return await self._api.call(method, params, repeatable=False)
        except ApiError as refused:
            return refused

    def grows_every(self, peer: Peer) -> float | None:
        """See ``ports.channel.ShowsGrowth``. A private chat has drafts, which are no message until they are one."""
        if peer.kind == "dm":
            return None if self._settings.drafts else DM_GROWS_EVERY_SECONDS
        return GROUP_GROWS_EVERY_SECONDS

    async def grow(self, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        """See ``ports.channel.ShowsGrowth``."""
        await self._edit(EditText(peer, text, of=0, message_id=message_id))

    async def signal(self, signal: Signal) -> None:
        """sendChatAction typing, which Telegram shows for five seconds, the answer to a press, or the reply so far."""
        match signal:
            case Typing(peer):
                action = typing_in(peer, chat_id=self._migrations.now(chat_id_of(peer)))
                if action is not None:
                    await self._tell("sendChatAction", action)
            case PressAnswer():
                await self._tell("answerCallbackQuery", answer_from(signal))
            case Draft():
                if self._settings.drafts:
                    await self._drafts.show(signal)

    async def _tell(self, method: str, params: Struct) -> None:
        """Best effort: Telegram takes the answer to a press for some seconds only, for example."""
        with suppress(GatewayError, ApiError):
            await self._api.call(method, params, timeout_seconds=SIGNAL_SECONDS)

    def receive(self, request: WebhookRequest) -> WebhookReply:
        return self.check_headers(request.headers) or self._webhook.receive(request)

    def check_headers(self, headers: Mapping[str, str]) -> WebhookReply | None:
        """See ``ports.channel.ChecksHeaders``."""
        if self._settings.mode != "webhook":
            return WebhookReply(status=404, body=b"this account polls")
        return self._webhook.check_headers(headers)

    async def received(self, request: WebhookRequest, reply: WebhookReply) -> None:
        if reply.status < 400:
            self._webhook.received(reply)

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        """getFile, then the download. At most ``max_attachment_bytes``, whatever is asked for."""
        limit = min(at_most_bytes, self._settings.max_attachment_bytes)
        if attachment.size_bytes is not None and attachment.size_bytes > limit:
            raise SendRejected(f"too large: {attachment.size_bytes} bytes, at most {limit}")
        file = await self._api.ask("getFile", GetFile(attachment.ref), File, purpose="fetch")
        if file.file_size is not None and file.file_size > limit:
            raise SendRejected(f"too large: {file.file_size} bytes, at most {limit}")
        if not file.file_path or file.file_path.startswith("/"):
            # A server with --local names a path on its own disk instead of giving the file out.
            raise SendRejected("gone: the Bot API server gives no file out (does it run with --local?)")
        try:
            download = partial(self._api.download, file.file_path, at_most_bytes=limit)
            return await repeat(download)
        except ApiError as refused:
            error = refused
        raise gateway_error(error, "fetch")

    async def _look_at_name(self) -> None:
        """The owner can rename a bot at any time, and no update says so. An error here is ignored: receiving finds it, too."""
        if anyio.current_time() < self._look_again_at:
            return
        self._look_again_at = anyio.current_time() + NAME_SECONDS
        before = self._receiver.bot.username
        with suppress(GatewayError):
            name = await self._learn_name(SIGNAL_SECONDS)
            if self._receiver.bot.username != before:
                self._services.log.info("telegram_bot_renamed", name=name)
                self._services.connection.connected(name)

    async def _learn_name(self, timeout_seconds: float | None = None) -> str:
        """getMe: whether the token is good, and the name by which groups mention us."""
        me = await self._api.ask("getMe", None, User, purpose="own", timeout_seconds=timeout_seconds)
        if me.username is None:
            return me.first_name
        await self._state.remember_username(me.username)
        self._receiver = Receiver(self._account.channel, self._account.account, Bot(self._bot_id, me.username))
        return f"@{me.username}"

    async def _show_menu(self) -> None:
        for why in await show_menu(self._api) if self._settings.menu else ():
            self._services.log.warning("telegram_menu_not_set", reason=why)

    def _read(self, update: Update) -> InboundEnvelope | None:
        """None for an update that cannot become a row, because it does not say where it came from. It is logged."""
        reason = "it is of no kind that was asked for"
        try:
            if (move := migration_of(update)) is not None:
                self._note_migration(*move)
            if (envelope := to_inbound(update, self._receiver, received_at=self._services.now())) is not None:
                return with_references(envelope, self._state.migrations)
        except Malformed as malformed:
            reason = str(malformed)
        self._services.log.warning("telegram_update_skipped", reason=f"update {update.update_id}: {reason}")
        return None

    def _note_migration(self, before: int, now: int) -> None:
        if self._migrations.note(before, now):
            self._services.log.warning("telegram_group_migrated", group=before, supergroup=now)


@asynccontextmanager
async def open_telegram(account: AccountConfig, services: ChannelServices) -> AsyncIterator[TelegramChannel]:
    """The ``ChannelOpener`` of the manifest. Reads the account's state, so that a webhook call right after a start can be
    answered; connects nothing."""
    settings = account.settings
    assert isinstance(settings, TelegramSettings)
    state = BotState(services.state, settings.token)
    await state.load_migrations()
    secret = await state.webhook_secret() if settings.mode == "webhook" else ""
    username = await state.username()
    async with _client(services, settings) as http:
        yield TelegramChannel(account, settings, services, state, http, username, secret)


@asynccontextmanager
async def _client(services: ChannelServices, settings: TelegramSettings) -> AsyncIterator[httpx2.AsyncClient]:
    """The shared client, or one of this account's own where it has a proxy."""
    proxy = proxy_for(settings.api_base, settings.proxy)
    if proxy is None:
        yield services.http
        return
    async with client_through(proxy, services.http) as http:
        yield http
