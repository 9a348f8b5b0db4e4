"""The web chat over HTTP: the page, the login by a one-time code, the history, messages, button presses, and the stream.

The session is a cookie. Other sites cannot make a browser send it (SameSite=Strict, RFC 6265bis section 5.6.7), and scripts
cannot read it (HttpOnly). Every POST must be JSON, which a page of another site cannot send without a preflight.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Final

import anyio
from msgspec import Meta, Struct
from msgspec.structs import replace

from gatewayd.channels.webchat.api import MakeLink, Revoke, Session, Sessions
from gatewayd.channels.webchat.channel import WebchatChannel
from gatewayd.channels.webchat.conversation import HISTORY_LINES, Conversation, Cursor, feed
from gatewayd.channels.webchat.login import (
    DAY_SECONDS,
    Login,
    count_links,
    end_person,
    end_session,
    find_login,
    list_sessions,
    log_in,
    log_out,
    new_login_link,
    prolong,
)
from gatewayd.channels.webchat.settings import WebchatSettings
from gatewayd.kit.serving.pages import Asset, load_files
from gatewayd.kit.serving.requests import cookies_of, decode_query, json_reply, read_body
from gatewayd.model.config import Name
from gatewayd.model.errors import Conflict, NotFound, Overloaded
from gatewayd.model.lifecycle import OUTBOUND_OPEN
from gatewayd.model.message.envelope import Peer
from gatewayd.model.operator_api import Request
from gatewayd.ports.channel import HttpDesk, HttpProblem, HttpReply, HttpRequest

COOKIE: Final = "gatewayd_webchat"
LONGEST_TEXT: Final = 32_000
"""The limit on the characters of one message."""
OWNER: Final = "owner"
_COMMIT_SECONDS: Final = 10.0
_COOKIES: Final = 5


ClientId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{8,64}$")]


class LoginRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The one-time code of a login link."""

    code: Annotated[str, Meta(max_length=200)]


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


@cache
def load_pages() -> Mapping[str, Asset]:
    """The files of the page, by name."""
    return load_files(files("gatewayd.channels.webchat").joinpath("pages"))


class Pages:
    """What serves the routes of the manifest."""

    async def serve(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        what, _, name = request.path.partition("/")
        if what in ("", "files"):
            return _file(request, name or "index.html")
        return await _HANDLERS[what](Webchat(request, desk))

    async def greeting(self, desk: HttpDesk, base_url: str, *, private: bool) -> str:
        if not private:
            return "Talk to your agent: gatewayctl webchat link prints a link to its page."
        link = await new_login_link(desk.logins, base_url, OWNER, desk.now())
        return f"Talk to your agent (the link works once, for 15 minutes):\n\n    {link.url}"


class Webchat:
    """One request. All handlers but those of operators and ``log_in`` need a session cookie of the person whom the page shows; a
    page that shows nobody yet may read the history."""

    def __init__(self, request: HttpRequest, desk: HttpDesk) -> None:
        self._request = request
        self._desk = desk
        account = desk.account
        assert isinstance(account.settings, WebchatSettings)
        self._settings = account.settings

    async def make_link(self) -> HttpReply:
        body = await read_body(self._request, MakeLink)
        async with self._desk.order(self._request, "link", body.name):
            link = await new_login_link(self._desk.logins, self._request.base_url, body.name, self._desk.now())
        self._desk.emit("link", name=body.name, by=self._request.operator)
        return json_reply(link)

    async def list_sessions(self) -> HttpReply:
        logins, channel, now = self._desk.logins, self._channel(), self._desk.now()
        shown = tuple(_with_pages(session, channel) for session in await list_sessions(logins, now))
        return json_reply(Sessions(shown, await count_links(logins, now)))

    async def revoke(self) -> HttpReply:
        body = await read_body(self._request, Revoke)
        if (body.id is None) == (body.name is None):
            raise HttpProblem(400, "bad_request", "the body needs either the id of a login or a name")
        async with self._desk.order(self._request, "revoke", body.name or f"login {body.id}"):
            ended = await self._end(body)
            if not ended.sessions and not ended.links:
                raise NotFound(f"there is no such login: {body.id or body.name}")
        for session in ended.sessions:
            self._desk.emit("revoked", id=session.id, name=session.name, by=self._request.operator)
        return json_reply(ended)

    async def _end(self, body: Revoke) -> Sessions:
        logins, now = self._desk.logins, self._desk.now()
        ended = await (end_session(logins, body.id, now) if body.id is not None else end_person(logins, body.name or "", now))
        if (channel := self._channel()) is not None:
            for session in ended.sessions:
                channel.close_pages_of(session.name, session.id)
        return ended

    async def log_in(self) -> HttpReply:
        body = await read_body(self._request, LoginRequest)
        login = await log_in(self._desk.logins, body.code, self._desk.now(), session_days=self._settings.session_days)
        if login is None:
            used = "This login link was used already or is too old. Ask for a new one: gatewayctl webchat link"
            raise await self._desk.wrong_code(self._request, used)
        for previous in self._cookies():
            await log_out(self._desk.logins, previous)
        self._desk.emit("login", name=login.name, address=self._request.client)
        return json_reply(LoggedIn(login.name), headers=(self._cookie(login),))

    async def log_out(self) -> HttpReply:
        login = await self._require_login(decode_query(self._request.query, ShownQuery))
        await read_body(self._request, Request)
        await log_out(self._desk.logins, login.token)
        return json_reply(Request(), headers=(("Set-Cookie", f"{COOKIE}=; Max-Age=0; Path=/"),))

    async def show_history(self) -> HttpReply:
        query = decode_query(self._request.query, HistoryQuery)
        login = await self._find_login(query.name)
        history = await Conversation(self._desk, login).history(query.limit)
        longer = await prolong(self._desk.logins, login, self._desk.now(), session_days=self._settings.session_days)
        return json_reply(history, headers=() if longer is login else (self._cookie(longer),))

    async def take_message(self) -> HttpReply:
        """202 after the commit; 503 with Retry-After when the inbox is full or the account is stopped."""
        login = await self._require_login(decode_query(self._request.query, ShownQuery))
        body = await read_body(self._request, MessageRequest)
        if not body.text.strip():
            raise HttpProblem(400, "bad_request", "the message is empty: write something")
        if len(body.text) > LONGEST_TEXT:
            much = f"the message has {len(body.text)} characters: shorten it to {LONGEST_TEXT}"
            raise HttpProblem(413, "body_too_large", much)
        return await self._journal(lambda channel: channel.receive(login.name, body.text, body.id))

    async def take_press(self) -> HttpReply:
        """As ``take_message``, for a button press. The stream tells its outcome."""
        login = await self._require_login(decode_query(self._request.query, ShownQuery))
        body = await read_body(self._request, PressRequest)
        message_id = await self._message_id(login, int(body.line.removeprefix("out-")))
        return await self._journal(lambda channel: channel.press(login.name, message_id, body.data, body.id))

    async def _journal(self, deliver: Callable[[WebchatChannel], Awaitable[str]]) -> HttpReply:
        self._desk.require_room()
        key = None
        with anyio.move_on_after(_COMMIT_SECONDS):
            key = await deliver(self._require_channel())
        if key is None:
            raise Overloaded("the message was not stored in time: try again")
        return json_reply(Accepted(f"in-{await self._desk.find_message(key)}"), 202)

    async def _message_id(self, login: Login, outbound_id: int) -> str:
        """The channel's id of a line, which must be in the person's own conversation."""
        row = await self._desk.find_reply(outbound_id)
        if row is None or row.payload.peer != Peer("dm", login.name):
            raise NotFound("there is no such line in this chat")
        if row.receipt is not None and row.receipt.message_id is not None:
            return row.receipt.message_id
        if row.state in OUTBOUND_OPEN:
            raise Overloaded("this line is being sent: try again in a moment")
        raise Conflict(f"this line was not sent: {row.reason or row.state}")

    async def stream(self) -> HttpReply:
        """Server-sent events, see :func:`feed`."""
        query = decode_query(self._request.query, StreamQuery)
        login = await self._require_login(query)
        channel = self._require_channel()
        channel.check_limits(login.name)
        pieces = feed(Conversation(self._desk, login), channel, Cursor.parse(query.after))
        return HttpReply(pieces, content_type="text/event-stream")

    async def _require_login(self, query: ShownQuery) -> Login:
        login = await self._find_login(query.name)
        if query.name is None:
            raise HttpProblem(400, "bad_request", "the query does not name the person whom the page shows: send ?name=NAME")
        return login

    async def _find_login(self, shown: str | None) -> Login:
        """The login that the cookies and the shown name agree on. All pages of a browser have one cookie, and a text that is
        written on a page must not go into the conversation of another person."""
        found = [await find_login(self._desk.logins, token, self._desk.now()) for token in self._cookies()]
        logins = [login for login in found if login is not None]
        if not logins:
            raise HttpProblem(401, "unauthorized", "you are not logged in: ask for a link with gatewayctl webchat link")
        login = next((login for login in logins if shown in (None, login.name)), None)
        if login is None:
            other = f"this browser is logged in as {logins[0].name} now, and the page shows {shown}"
            raise HttpProblem(409, "other_login", other)
        return login

    def _channel(self) -> WebchatChannel | None:
        channel = self._desk.channel
        return channel if isinstance(channel, WebchatChannel) else None

    def _require_channel(self) -> WebchatChannel:
        channel = self._desk.require_channel()
        assert isinstance(channel, WebchatChannel)
        return channel

    def _cookie(self, login: Login) -> tuple[str, str]:
        seconds = int(self._settings.session_days * DAY_SECONDS)
        secure = "Secure; " if self._request.secure else ""
        return "Set-Cookie", f"{COOKIE}={login.token}; Max-Age={seconds}; {secure}HttpOnly; Path=/; SameSite=Strict"

    def _cookies(self) -> list[str]:
        return cookies_of(self._request, COOKIE)[:_COOKIES]


_HANDLERS: Final[Mapping[str, Callable[[Webchat], Awaitable[HttpReply]]]] = {
    "links": Webchat.make_link,
    "sessions": Webchat.list_sessions,
    "revoke": Webchat.revoke,
    "login": Webchat.log_in,
    "logout": Webchat.log_out,
    "history": Webchat.show_history,
    "messages": Webchat.take_message,
    "presses": Webchat.take_press,
    "stream": Webchat.stream,
}
PAGES: Final = Pages()


def _file(request: HttpRequest, name: str) -> HttpReply:
    if name not in load_pages():
        raise HttpProblem(404, "not_found", "there is no file of this name")
    return load_pages()[name].reply(request.headers.get("if-none-match", ""))


def _with_pages(session: Session, channel: WebchatChannel | None) -> Session:
    return session if channel is None else replace(session, pages=channel.pages_of(session.name, session.id))
