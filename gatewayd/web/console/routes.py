"""The console: the pages on which an operator answers requests and repairs what went wrong, and the way into them.

A one-time code in a link is exchanged for a token that can do what the page is for and no more than the one who asked for the
link, for twelve hours. The page keeps it for as long as its tab is open and sends it as a bearer token: there is no cookie that
another page could make the browser send.
"""

import secrets
from base64 import b32encode
from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace
from quart import Blueprint, Response, request

from gatewayd.hub.gateway import Gateway
from gatewayd.model.config import Scope
from gatewayd.model.operator_api import ConsolePage, LoginLink, MakeConsoleLink, Request
from gatewayd.ports.store import TokenRow
from gatewayd.web.access.auth import Auth
from gatewayd.web.access.tokens import digest_of
from gatewayd.web.http.assets import load_pages
from gatewayd.web.http.bodies import LOGIN_BYTES, LoginRequest, json_response, read_body
from gatewayd.web.http.errors import HttpError

CODE_SECONDS: Final = 15 * 60.0
SESSION_SECONDS: Final = 12 * 3600.0
_CODE_BYTES: Final = 15
_OF_CONSOLE: Final = "console:"
"""Before a code's digest is made: a code of the web chat opens no console, and the other way round."""
_Kind = Literal["login_code", "token"]
_SCOPES: Final[Mapping[ConsolePage, tuple[Scope, ...]]] = {
    "approvals": ("approvals", "read"),
    "dead-letters": ("read", "admin"),
    "trace": ("read",),
}
"""What each page is for. Who asks for a link needs the first of them; of the others the page gets those that its maker has."""


class Session(Struct, frozen=True):
    """What the page needs: its token, who it speaks for, what it may do, and until when."""

    token: str
    name: str
    scopes: tuple[str, ...]
    expires_at: float


def blueprint(gateway: Gateway, auth: Auth) -> Blueprint:
    routes, pages, store = Blueprint("console", __name__), load_pages(), gateway.store

    @routes.get("/approvals")
    async def show_approvals() -> Response:
        return pages["approvals.html"].respond()

    @routes.get("/dead-letters")
    async def show_dead_letters() -> Response:
        return pages["dead-letters.html"].respond()

    @routes.get("/trace")
    async def show_trace() -> Response:
        return pages["trace.html"].respond()

    @routes.post("/v1/console/links")
    async def make_link() -> Response:
        identity = await auth.identify_sender()
        page = (await read_body(MakeConsoleLink)).page
        needed = _SCOPES[page]
        if identity.role != "operator":
            raise HttpError("forbidden", "the console is for people: this token is a program's")
        identity.require(needed[0])
        row = await store.get_token(_digest_of_request())
        if row is not None and row.expires_at is not None:
            raise HttpError("forbidden", "a login of the page makes no further links: it would never end")
        code, now = b32encode(secrets.token_bytes(_CODE_BYTES)).decode().lower(), gateway.now()
        scopes = tuple(scope for scope in needed if identity.may(scope))
        row = _row("login_code", _OF_CONSOLE + code, identity.name, identity.role, scopes, now, CODE_SECONDS)
        await store.put_token(row)
        await gateway.audit.record(identity.label, "console.link", identity.name, page=page)
        base = (gateway.config.gateway.public_url or request.host_url).rstrip("/")
        # In the fragment, which browsers send to nobody: it is in no access log and no Referer.
        return json_response(LoginLink(url=f"{base}/{page}#code={code}", expires_at=now + CODE_SECONDS))

    @routes.post("/v1/console/login")
    async def log_in() -> Response:
        body, now = await read_body(LoginRequest, at_most_bytes=LOGIN_BYTES), gateway.now()
        used = await store.take_token(digest_of(_OF_CONSOLE + body.code.strip().lower()))
        if used is None or used.expires_at is None or used.expires_at <= now:
            gone = HttpError("unauthorized", "This link was used already, or it is too old. Ask for a new one.")
            raise await auth.count_failure("console code", gone)
        token = secrets.token_urlsafe(32)
        row = _row("token", token, used.name, used.role, used.scopes, now, SESSION_SECONDS)
        # As old as its code: what was asked for with a token ends with that token.
        await store.put_token(replace(row, created_at=used.created_at))
        await gateway.audit.record(f"{used.role}:{used.name}", "console.login", used.name, address=auth.client_address())
        return json_response(Session(token, used.name, used.scopes, now + SESSION_SECONDS))

    @routes.post("/v1/console/logout")
    async def log_out() -> Response:
        identity = await auth.identify_sender()
        await read_body(Request)
        digest = _digest_of_request()
        row = await store.get_token(digest)
        if row is not None and row.expires_at is not None:  # one that lasts is not a page's
            await store.delete_token(digest)
            await gateway.audit.record(identity.label, "console.logout", identity.name)
        return json_response(Request())

    return routes


def _digest_of_request() -> str:
    """The digest of the token that the present request was let in with."""
    return digest_of(request.headers["Authorization"].strip().partition(" ")[2].strip())


def _row(kind: _Kind, secret: str, name: str, role: str, scopes: tuple[str, ...], now: float, seconds: float) -> TokenRow:
    return TokenRow(
        digest=digest_of(secret), kind=kind, name=name, role=role, scopes=scopes, created_at=now, expires_at=now + seconds
    )
