"""The console: the pages on which operators answer approvals, retry dead letters and read traces, and the login to them.

The page exchanges the one-time code of a link for a token that is valid for twelve hours. The token has the scopes that the page
needs, as far as the maker of the link has them. The page keeps it while its tab is open and sends it as a bearer token: there is
no cookie that another page could make the browser send.
"""

import secrets
from base64 import b32encode
from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace
from quart import Blueprint, Response, request

from gatewayd.hub.gateway import Gateway
from gatewayd.kit.serving.pages import Asset, compose
from gatewayd.model.config import Scope
from gatewayd.model.operator_api import ConsolePage, LoginLink, MakeConsoleLink, Request
from gatewayd.ports.store import TokenRow
from gatewayd.web.access.auth import Auth
from gatewayd.web.access.tokens import digest_of
from gatewayd.web.http.assets import load_pages, respond
from gatewayd.web.http.bodies import LOGIN_BYTES, LoginRequest, json_response, read_body
from gatewayd.web.http.errors import HttpError

CODE_SECONDS: Final = 15 * 60.0
SESSION_SECONDS: Final = 12 * 3600.0
_CODE_BYTES: Final = 15
_OF_CONSOLE: Final = "console:"
"""Prefix of a code before its digest is made: a code of the web chat is no code of the console, and the other way round."""
_Kind = Literal["login_code", "token"]


class _Page(Struct, frozen=True):
    """``purpose`` completes "Log in to …". ``scopes``: the maker of a link needs the first one; the page gets those of the others
    that the maker has."""

    title: str
    purpose: str
    scopes: tuple[Scope, ...]


_PAGES: Final[Mapping[ConsolePage, _Page]] = {
    "approvals": _Page("Approvals", "answer requests", ("approvals", "read")),
    "dead-letters": _Page("Dead letters", "repair what went wrong", ("read", "admin")),
    "trace": _Page("Trace", "see what happened", ("read",)),
}


class ConsoleSession(Struct, frozen=True):
    """The login of a page: its token, the name and scopes of it, and its end (Unix seconds)."""

    token: str
    name: str
    scopes: tuple[str, ...]
    expires_at: float


def blueprint(gateway: Gateway, auth: Auth) -> Blueprint:
    routes, shown, store = Blueprint("console", __name__), _compose_pages(), gateway.store

    @routes.get("/approvals")
    async def show_approvals() -> Response:
        return respond(shown["approvals"])

    @routes.get("/dead-letters")
    async def show_dead_letters() -> Response:
        return respond(shown["dead-letters"])

    @routes.get("/trace")
    async def show_trace() -> Response:
        return respond(shown["trace"])

    @routes.post("/v1/console/links")
    async def make_link() -> Response:
        identity = await auth.identify_sender()
        page = (await read_body(MakeConsoleLink)).page
        needed = _PAGES[page].scopes
        if identity.role != "operator":
            raise HttpError(
                "forbidden", "the console is for people, and this token is a program's: use one with the role operator"
            )
        identity.require(needed[0])
        row = await store.get_token(_digest_of_request())
        if row is not None and row.expires_at is not None:
            raise HttpError("forbidden", "a login of the console makes no links, or it would never end: use gatewayctl console")
        code, now = b32encode(secrets.token_bytes(_CODE_BYTES)).decode().lower(), gateway.now()
        scopes = tuple(scope for scope in needed if identity.may(scope))
        row = _row("login_code", _OF_CONSOLE + code, identity.name, identity.role, scopes, now, CODE_SECONDS)
        await store.put_token(row)
        await gateway.audit.record(identity.label, "console.link", identity.name, page=page)
        base = (gateway.config.gateway.public_url or request.host_url).rstrip("/")
        # The code is in the fragment, which browsers do not send: no access log and no Referer holds it.
        return json_response(LoginLink(url=f"{base}/{page}#code={code}", expires_at=now + CODE_SECONDS))

    @routes.post("/v1/console/login")
    async def log_in() -> Response:
        body, now = await read_body(LoginRequest, at_most_bytes=LOGIN_BYTES), gateway.now()
        used = await store.take_token(digest_of(_OF_CONSOLE + body.code.strip().lower()))
        if used is None or used.expires_at is None or used.expires_at <= now:
            gone = HttpError("unauthorized", "This link was used already or is too old. Ask for a new one: gatewayctl console")
            raise await auth.count_failure("console code", gone)
        token = secrets.token_urlsafe(32)
        row = _row("token", token, used.name, used.role, used.scopes, now, SESSION_SECONDS)
        # It counts as old as its code, so that it ends with the token that made the link.
        await store.put_token(replace(row, created_at=used.created_at))
        await gateway.audit.record(f"{used.role}:{used.name}", "console.login", used.name, address=auth.client_address())
        return json_response(ConsoleSession(token, used.name, used.scopes, now + SESSION_SECONDS))

    @routes.post("/v1/console/logout")
    async def log_out() -> Response:
        identity = await auth.identify_sender()
        await read_body(Request)
        digest = _digest_of_request()
        row = await store.get_token(digest)
        if row is not None and row.expires_at is not None:  # a token without an end is not a page's
            await store.delete_token(digest)
            await gateway.audit.record(identity.label, "console.logout", identity.name)
        return json_response(Request())

    return routes


def _compose_pages() -> Mapping[ConsolePage, Asset]:
    files = load_pages()
    return {
        name: compose(
            files["shell.html"], name=name, title=page.title, purpose=page.purpose, main=files[f"{name}.html"].body.decode()
        )
        for name, page in _PAGES.items()
    }


def _digest_of_request() -> str:
    """The digest of the present request's token."""
    return digest_of(request.headers["Authorization"].strip().partition(" ")[2].strip())


def _row(kind: _Kind, secret: str, name: str, role: str, scopes: tuple[str, ...], now: float, seconds: float) -> TokenRow:
    return TokenRow(
        digest=digest_of(secret), kind=kind, name=name, role=role, scopes=scopes, created_at=now, expires_at=now + seconds
    )
