"""``/v1/{channel}/…``: the routes that the manifests of channels list, and ``/``, the front page of one of them.

Host, Origin and the token of a route with a scope are checked before the plug-in is asked. Whatever its code does ends no more
than the request: an error is a 500, and what hangs is cut.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import anyio
import structlog
from msgspec import Struct
from quart import Blueprint, Request, Response, request

from gatewayd.actor.border import Bug, describe, sole, third_party, trace_of
from gatewayd.hub.accounts.account import AccountActor
from gatewayd.hub.gateway import Gateway
from gatewayd.model.config import BrokenPlugin
from gatewayd.model.errors import GatewayError, NotFound
from gatewayd.ports.channel import (
    ChannelPlugin,
    GreetsOperators,
    HttpDesk,
    HttpProblem,
    HttpReply,
    HttpRequest,
    HttpRoute,
    ServesHttp,
)
from gatewayd.web.access.auth import Auth
from gatewayd.web.http.assets import response_of
from gatewayd.web.http.bodies import headers_of
from gatewayd.web.http.errors import HttpError, error_of_status
from gatewayd.web.http.waits import Waits
from gatewayd.web.plugin_routes.bodies import PluginStream, body_of
from gatewayd.web.plugin_routes.desk import Desk

SERVE_SECONDS: Final = 60.0
"""How long a plug-in may take for the head of a reply."""
GREETING_SECONDS: Final = 5.0
QUARTERS_OF_ONE: Final = 3
_FORBIDDEN: Final = frozenset({"connection", "content-length", "content-type", "keep-alive", "transfer-encoding", "upgrade"})
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE: Final = re.compile(r"[ -~\u0080-\u00ff]*")
_CODE: Final = re.compile(r"[a-z_]{1,40}")

log = structlog.get_logger("gatewayd.web.plugin_routes")


class Site(Struct, frozen=True):
    """An installed channel with routes. ``load`` imports what serves them. :raises PluginError: it cannot be used."""

    plugin: ChannelPlugin
    load: Callable[[], ServesHttp]


class PluginRoutes:
    """The routes of all ``sites``. One account may have three quarters of the connections, so that it leaves some to others."""

    def __init__(self, gateway: Gateway, auth: Auth, waits: Waits, sites: Sequence[Site], *, max_connections: int) -> None:
        self._gateway = gateway
        self._auth = auth
        self._waits = waits
        self._sites = tuple(sites)
        self._most_open = max(1, max_connections * QUARTERS_OF_ONE // 4)
        self._open: Counter[tuple[str, str]] = Counter()

    def blueprint(self) -> Blueprint:
        routes = Blueprint("plugin_routes", __name__)
        for site in self._sites:
            for number, route in enumerate(site.plugin.routes):
                view = partial(self._serve, site, route)
                rule = "/".join(filter(None, (_mount(site.plugin), route.path)))
                routes.add_url_rule(rule, f"{site.plugin.id}:{number}", view, methods=[route.method])

        @routes.get("/")
        async def front_page() -> Response:
            return await self._show_front_page()

        return routes

    async def greetings(self, base_url: str, *, private: bool) -> list[str]:
        """What the plug-ins of enabled accounts tell the operator at the start; see ``ports.channel.GreetsOperators``."""
        found = []
        for site in self._sites:
            for name in [it.account for it in self._gateway.config.accounts if it.channel == site.plugin.id and it.frame.enabled]:
                try:
                    serves = site.load()
                    with anyio.move_on_after(GREETING_SECONDS), third_party():
                        if isinstance(serves, GreetsOperators):
                            desk = self._desk(self._actor(site.plugin, name))
                            found.append(str(await serves.greeting(desk, base_url, private=private)))
                except Exception as error:
                    log.error("greeting_failed", channel=site.plugin.id, account=name, reason=describe(error))
        return found

    async def _show_front_page(self) -> Response:
        configured = {account.channel for account in self._gateway.config.accounts}
        for site in self._sites:
            if site.plugin.front_page and site.plugin.id in configured:
                [route] = [it for it in site.plugin.routes if (it.method, it.path) == ("GET", "")]
                return await self._serve(site, route)
        raise HttpError("not_found", "no configured channel has a page here: gatewayd init writes a file in which one has")

    async def _serve(self, site: Site, route: HttpRoute, /, ACCOUNT: str | None = None, **_: str) -> Response:
        operator = None if route.scope is None else (await self._auth.require(route.scope)).label
        actor = self._actor(site.plugin, ACCOUNT)
        closed = None if actor.channel is None else actor.closed
        with ExitStack() as held:
            held.enter_context(self._slot(actor))
            note = partial(_note, actor, request.path)
            asked = self._request(site.plugin, route, operator)
            reply = await self._answer(site, asked, self._desk(actor), note)
            if isinstance(reply.body, bytes):
                return response_of(reply)
            stream = PluginStream(reply, self._waits, closed, held.pop_all(), note=note)
            if request.method == "HEAD":
                await stream.aclose()
                return response_of(reply)
            return response_of(reply, stream)

    def _actor(self, plugin: ChannelPlugin, account: str | None) -> AccountActor:
        """:raises NotFound: it is not configured. :raises HttpError: unavailable: its settings cannot be used."""
        for settings in self._gateway.config.accounts:
            if settings.channel == plugin.id and account in (None, settings.account):
                if isinstance(settings.settings, BrokenPlugin):
                    raise HttpError("unavailable", "this account cannot run: gatewayctl status says why")
                return self._gateway.manager.account(settings.channel, settings.account)
        wanted = f"[channels.{plugin.id}.accounts.{account or 'main'}]"
        raise NotFound(f"this account of {plugin.label} is not configured: add {wanted} to the configuration")

    def _desk(self, actor: AccountActor) -> HttpDesk:
        return Desk(self._gateway, self._auth, actor)

    @contextmanager
    def _slot(self, actor: AccountActor) -> Iterator[None]:
        account = (actor.settings.channel, actor.settings.account)
        if self._open[account] >= self._most_open:
            raise HttpError("overloaded", f"{self._most_open} requests of this account are open: try again later")
        self._open[account] += 1
        try:
            yield
        finally:
            self._open[account] -= 1

    def _request(self, plugin: ChannelPlugin, route: HttpRoute, operator: str | None) -> HttpRequest:
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]
        headers = headers_of(asked.scope["headers"])
        if operator is not None:
            headers.pop("authorization", None)  # it is checked, and the plug-in is told who it is
        depth = _mount(plugin).count("/")
        public = urlsplit(self._gateway.config.gateway.public_url or "")
        return HttpRequest(
            method=route.method,
            path="" if asked.path == "/" else "/".join(asked.path.split("/")[depth + 1 :]),
            query=asked.query_string.decode("latin-1"),
            headers=headers,
            client=self._auth.client_address(),
            base_url=(self._gateway.config.gateway.public_url or asked.host_url).rstrip("/"),
            # Behind a TLS proxy every request looks like plain HTTP; its Host tells.
            secure=public.scheme == "https" and asked.host.lower() == public.netloc.lower(),
            operator=operator,
            body=body_of(asked, route),
        )

    async def _answer(self, site: Site, asked: HttpRequest, desk: HttpDesk, note: Callable[[Exception], None]) -> HttpReply:
        """:raises HttpError: the plug-in answers with an error, has a bug, or hangs. :raises GatewayError: it names its cure."""
        try:
            serves = site.load()
        except GatewayError as error:
            note(error)
            raise HttpError("unavailable", "the plug-in of this page cannot be loaded: the log of gatewayd says why") from None
        try:
            with anyio.move_on_after(SERVE_SECONDS):
                with third_party():
                    outcome = await _call(serves.serve(asked, desk))
                if isinstance(outcome, HttpProblem):
                    raise HttpError.of(outcome)
                return outcome
        except (GatewayError, HttpProblem):
            raise
        except Exception as error:
            note(error)
            raise error_of_status(500) from None
        note(Bug(f"it did not answer within {SERVE_SECONDS:g} s"))
        raise HttpError("gateway_timeout", f"the plug-in did not answer within {SERVE_SECONDS:g} s: try again later")


def _mount(plugin: ChannelPlugin) -> str:
    return f"/v1/{plugin.id}" if plugin.one_account else f"/v1/{plugin.id}/<ACCOUNT>"


def _note(actor: AccountActor, path: str, error: Exception) -> None:
    account = actor.settings
    log.error("plugin_route_failed", channel=account.channel, account=account.account, path=path, exception=trace_of(error))


async def _call(answering: Awaitable[HttpReply]) -> HttpReply | HttpProblem:
    """What the plug-in answers; a problem may come out of a task group of its own. :raises Bug: it is no answer."""
    try:
        return _checked_reply(await answering)
    except Exception as error:
        problem = sole(error)
        if not isinstance(problem, HttpProblem):
            raise
        return _checked_problem(problem)


def _checked_problem(problem: HttpProblem) -> HttpProblem:
    status: object = problem.status
    if type(status) is not int or not 400 <= status <= 599 or _CODE.fullmatch(str(problem.code)) is None:
        raise Bug(f"a problem with the status {status!r} and the code {problem.code!r}")
    return problem if isinstance(problem, HttpError) else HttpProblem(status, str(problem.code), str(problem.message))


def _checked_reply(reply: object) -> HttpReply:
    if not isinstance(reply, HttpReply):
        raise Bug(f"serve returned a {type(reply).__name__}, not an HttpReply")
    if type(reply.status) is not int or not 200 <= reply.status <= 599:
        raise Bug(f"a reply with the status {reply.status!r}")
    if not isinstance(reply.body, bytes | AsyncIterator):
        raise Bug(f"a reply with a body that is a {type(reply.body).__name__}, not bytes and no iterator")
    for name, value in (("-", reply.content_type), *reply.headers):
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None or name.lower() in _FORBIDDEN:
            raise Bug(f"a reply with the header {name!r}, which is malformed or not the plug-in's to set")
    return reply
