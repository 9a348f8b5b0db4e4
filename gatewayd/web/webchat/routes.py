"""The web chat over HTTP: the page, the login by a one-time code, the history, messages, button presses, and the stream.

The session is a cookie. Other sites cannot make a browser send it (SameSite=Strict, RFC 6265bis section 5.6.7), and scripts
cannot read it (HttpOnly). Every POST must be JSON, which a page of another site cannot send without a preflight.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final
from urllib.parse import urlsplit

import anyio
from msgspec import Meta, Struct
from quart import Blueprint, Response, request

from gatewayd.channels.webchat import PLUGIN
from gatewayd.channels.webchat.channel import WebchatChannel
from gatewayd.channels.webchat.login import DAY_SECONDS, Login, find_login, log_in, log_out, new_login_link, prolong
from gatewayd.channels.webchat.settings import WebchatSettings
from gatewayd.hub.gateway import Gateway
from gatewayd.model.config import AccountSettings, Name
from gatewayd.model.errors import Conflict, NotFound, Overloaded
from gatewayd.model.lifecycle import OUTBOUND_OPEN
from gatewayd.model.message.envelope import Peer
from gatewayd.model.operator_api import MakeWebchatLink, Request
from gatewayd.web.access.auth import Auth
from gatewayd.web.http.assets import load_pages
from gatewayd.web.http.bodies import LOGIN_BYTES, LoginRequest, json_response, read_body, read_query, require_ready
from gatewayd.web.http.errors import HttpError
from gatewayd.web.http.streams import event_stream
from gatewayd.web.http.waits import Waits
from gatewayd.web.webchat.conversation import HISTORY_LINES, Conversation, ConversationFeed, Cursor

COOKIE: Final = "gatewayd_webchat"
LONGEST_TEXT: Final = 32_000
"""The limit on the characters of one message."""
_COMMIT_SECONDS: Final = 10.0
_COOKIES: Final = 5


ClientId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{8,64}$")]


class MessageRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """``id`` is random and made by the page. The same message posted twice is one message."""

    id: ClientId
    text: str


class PressRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """``id`` as in a message: the same press posted twice is one. ``line`` has the button, whose data is ``data``."""

    id: ClientId
    line: Annotated[str, Meta(pattern=r"^out-[0-9]{1,18}$")]
    data: Annotated[str, Meta(min_length=1, max_length=64)]


class ShownQuery(Struct, frozen=True):
    """``name`` is the person whom the page shows: meanwhile another person may have logged in with this browser."""

    name: Name | None = None


class HistoryQuery(ShownQuery, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=HISTORY_LINES)] = HISTORY_LINES


class StreamQuery(ShownQuery, frozen=True):
    after: Annotated[str, Meta(pattern=r"^[0-9]{1,18}\.[0-9]{1,18}$")] = str(Cursor())


class LoggedIn(Struct, frozen=True):
    name: str


class Accepted(Struct, frozen=True):
    id: str


def blueprint(gateway: Gateway, auth: Auth, waits: Waits) -> Blueprint:
    """The routes of the web chat; without a configured account they answer 404."""
    routes, chat, pages = Blueprint("webchat", __name__), Webchat(gateway, auth, waits), load_pages()

    @routes.get("/")
    async def index() -> Response:
        return pages["index.html"].respond()

    @routes.get("/static/<name>")
    async def static_file(name: str) -> Response:
        if name not in pages:
            raise HttpError("not_found", "there is no file of this name")
        return pages[name].respond()

    routes.post("/v1/webchat/links")(chat.make_link)
    routes.post("/v1/webchat/login")(chat.log_in)
    routes.post("/v1/webchat/logout")(chat.log_out)
    routes.get("/v1/webchat/history")(chat.show_history)
    routes.post("/v1/webchat/messages")(chat.take_message)
    routes.post("/v1/webchat/presses")(chat.take_press)
    routes.get("/v1/webchat/stream")(chat.stream)
    return routes


class Webchat:
    """The handlers. All but ``make_link`` and ``log_in`` need a session cookie of the person whom the page shows; a page that
    shows nobody yet may read the history."""

    def __init__(self, gateway: Gateway, auth: Auth, waits: Waits) -> None:
        self._gateway = gateway
        self._auth = auth
        self._waits = waits

    async def make_link(self) -> Response:
        identity = await self._auth.require("admin")
        body = await read_body(MakeWebchatLink)
        self._account()
        await self._gateway.audit.record(identity.label, "webchat.link", body.name)
        base = self._gateway.config.gateway.public_url or request.host_url
        link = await new_login_link(self._gateway.store, base, body.name, self._gateway.now())
        self._gateway.events.emit("channels.webchat.link", name=body.name, by=identity.label)
        return json_response(link)

    async def log_in(self) -> Response:
        body = await read_body(LoginRequest, at_most_bytes=LOGIN_BYTES)
        now = self._gateway.now()
        login = await log_in(self._gateway.store, body.code, now, session_days=self._settings().session_days)
        if login is None:
            used = HttpError(
                "unauthorized", "This login link was used already or is too old. Ask for a new one: gatewayctl webchat link"
            )
            raise await self._auth.count_failure("webchat login code", used)
        for previous in _cookies():
            await log_out(self._gateway.store, previous)
        self._gateway.events.emit("channels.webchat.login", name=login.name, address=self._auth.client_address())
        response = json_response(LoggedIn(login.name))
        self._set_cookie(response, login)
        return response

    async def log_out(self) -> Response:
        login = await self._require_login(read_query(ShownQuery))
        await read_body(Request)
        await log_out(self._gateway.store, login.token)
        response = json_response(Request())
        response.delete_cookie(COOKIE, path="/")
        return response

    async def show_history(self) -> Response:
        query = read_query(HistoryQuery)
        login = await self._find_login(query.name)
        response = json_response(await self._conversation(login).history(query.limit))
        longer = await prolong(self._gateway.store, login, self._gateway.now(), session_days=self._settings().session_days)
        if longer is not login:
            self._set_cookie(response, longer)
        return response

    async def take_message(self) -> Response:
        """202 after the commit; 503 with Retry-After when the inbox is full or the account is stopped."""
        login = await self._require_login(read_query(ShownQuery))
        body = await read_body(MessageRequest)
        if not body.text.strip():
            raise HttpError("bad_request", "the message is empty: write something")
        if len(body.text) > LONGEST_TEXT:
            raise HttpError("body_too_large", f"the message has {len(body.text)} characters: shorten it to {LONGEST_TEXT}")
        return await self._journal(lambda channel: channel.receive(login.name, body.text, body.id))

    async def take_press(self) -> Response:
        """As ``take_message``, for a button press. The stream tells its outcome."""
        login = await self._require_login(read_query(ShownQuery))
        body = await read_body(PressRequest)
        message_id = await self._message_id(login, int(body.line.removeprefix("out-")))
        return await self._journal(lambda channel: channel.press(login.name, message_id, body.data, body.id))

    async def _journal(self, deliver: Callable[[WebchatChannel], Awaitable[str]]) -> Response:
        require_ready(self._gateway)
        account = self._account()
        if self._gateway.backlog.why_full(account.channel, account.account):
            raise Overloaded("too many messages wait for an answer: try again in a moment")
        key = None
        with anyio.move_on_after(_COMMIT_SECONDS):
            key = await deliver(self._channel())
        if key is None:
            raise HttpError("overloaded", "the message was not stored in time: try again")
        row = await self._gateway.store.find_inbound(account.channel, account.account, key)
        assert row is not None, "deliver has returned, so the row is there"
        return json_response(Accepted(f"in-{row.id}"), 202)

    async def _message_id(self, login: Login, outbound_id: int) -> str:
        """The channel's id of a line, which must be in the person's own conversation."""
        account, row = self._account(), await self._gateway.store.get_outbound(outbound_id)
        place = None if row is None else (row.channel, row.account, row.payload.peer)
        if row is None or place != (account.channel, account.account, Peer("dm", login.name)):
            raise NotFound("there is no such line in this chat")
        if row.receipt is not None and row.receipt.message_id is not None:
            return row.receipt.message_id
        if row.state in OUTBOUND_OPEN:
            raise Overloaded("this line is being sent: try again in a moment")
        raise Conflict(f"this line was not sent: {row.reason or row.state}")

    async def stream(self) -> Response:
        """Server-sent events, see :class:`ConversationFeed`."""
        query = read_query(StreamQuery)
        login = await self._require_login(query)
        channel = self._channel()
        if request.method == "GET":
            channel.check_limits(login.name)
        return event_stream(ConversationFeed(self._conversation(login), channel, Cursor.parse(query.after), self._waits))

    async def _require_login(self, query: ShownQuery) -> Login:
        login = await self._find_login(query.name)
        if query.name is None:
            raise HttpError("bad_request", "the query does not name the person whom the page shows: send ?name=NAME")
        return login

    async def _find_login(self, shown: str | None) -> Login:
        """The login that the cookies and the shown name agree on. All pages of a browser have one cookie, and a text that is
        written on a page must not go into the conversation of another person."""
        found = [await find_login(self._gateway.store, token, self._gateway.now()) for token in _cookies()]
        logins = [login for login in found if login is not None]
        if not logins:
            raise HttpError("unauthorized", "you are not logged in: ask for a link with gatewayctl webchat link")
        login = next((login for login in logins if shown in (None, login.name)), None)
        if login is None:
            raise HttpError("other_login", f"this browser is logged in as {logins[0].name} now, and the page shows {shown}")
        return login

    def _conversation(self, login: Login) -> Conversation:
        return Conversation(self._gateway.store, login, self._account().account, now=self._gateway.now)

    def _account(self) -> AccountSettings:
        for account in self._gateway.config.accounts:
            if account.channel == PLUGIN.id:
                return account
        raise NotFound("the web chat is not configured: add [channels.webchat.accounts.main] to the configuration")

    def _settings(self) -> WebchatSettings:
        settings = self._account().settings
        assert isinstance(settings, WebchatSettings)
        return settings

    def _channel(self) -> WebchatChannel:
        account = self._account()
        channel = self._gateway.manager.account(account.channel, account.account).channel
        if not isinstance(channel, WebchatChannel):
            raise HttpError(
                "unavailable", "the web chat is stopped: an operator can start it with gatewayctl channels start webchat"
            )
        return channel

    def _set_cookie(self, response: Response, login: Login) -> None:
        max_age = self._settings().session_days * DAY_SECONDS
        secure = self._came_by_https()
        response.set_cookie(COOKIE, login.token, max_age=int(max_age), path="/", secure=secure, httponly=True, samesite="Strict")

    def _came_by_https(self) -> bool:
        """Behind a TLS proxy every request looks like plain HTTP; its Host tells."""
        public = urlsplit(self._gateway.config.gateway.public_url or "")
        return public.scheme == "https" and request.host.lower() == public.netloc.lower()


def _cookies() -> list[str]:
    """All session cookies of the present request: another program on this host can set one of the same name for a longer path,
    which a browser sends first (RFC 6265bis, section 5.8.3)."""
    return request.cookies.getlist(COOKIE)[:_COOKIES]
