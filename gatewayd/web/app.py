"""The Quart app: all routes, and the checks and error responses that they share.

Checks come in this order: Host (421), Origin (403), route (404, 405), token (401, 403, 429), body (408, 413, 415, 400).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, get_args

import structlog
from hypercorn.typing import ASGISendCallable
from quart import Response, request
from quart.routing import QuartRule
from quart.typing import ResponseTypes
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from werkzeug.exceptions import HTTPException, NotFound

from gatewayd.hub.gateway import Gateway
from gatewayd.model.bind import parse_bind
from gatewayd.model.config import GatewayConfig
from gatewayd.model.errors import GatewayError
from gatewayd.ports.channel import HttpProblem, WebhookMethod, WebhookRequest
from gatewayd.ports.proxy import AgentProxy
from gatewayd.web.access.auth import Auth
from gatewayd.web.access.origin import HostPolicy
from gatewayd.web.api import (
    agents,
    approvals,
    audit,
    channels,
    chat,
    dead_letters,
    events,
    health,
    messages,
    metrics,
    pairing,
    reload,
    status,
)
from gatewayd.web.api.metrics import Traffic
from gatewayd.web.console import routes as console
from gatewayd.web.http.addresses import TrustedProxies
from gatewayd.web.http.assets import load_pages, respond
from gatewayd.web.http.bodies import headers_of
from gatewayd.web.http.connection_slots import ConnectionSlots
from gatewayd.web.http.errors import BODY_SECONDS, HttpError, error_of, error_of_framework, error_of_status
from gatewayd.web.http.paths import PROBE_PATHS, is_one_spelling
from gatewayd.web.http.response import SECURITY_HEADERS
from gatewayd.web.http.streams import StreamedBody
from gatewayd.web.http.waits import Waits
from gatewayd.web.plugin_routes.routes import PluginRoutes, Site
from gatewayd.web.proxy import routes as proxy
from gatewayd.web.webhooks import PREFIX, WebhookDesk

_RENAMED: Final = {"/letters": "/dead-letters"}

log = structlog.get_logger("gatewayd.web")


class _Connection(TrioASGIHTTPConnection):
    """One request. It closes a stream even when the client has left before the first byte: then Quart does not enter the body."""

    async def _send_response(self, send: ASGISendCallable, response: ResponseTypes) -> None:
        try:
            await super()._send_response(send, response)
        finally:
            if isinstance(response, Response) and isinstance(response.response, StreamedBody):
                await response.response.aclose()


class _Route(QuartRule):
    """A route whose URL is never built. The code that werkzeug would compile to build URLs takes 40 ms of every start."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _build_nothing


def _build_nothing(route: QuartRule, **values: object) -> tuple[str, str]:
    raise NotImplementedError("no URL of a route is built")


class GatewayApp(QuartTrio):
    """The app, and the parts of it that the server runs, ends and calls."""

    asgi_http_class = _Connection
    url_rule_class = _Route  # type: ignore[assignment]  # as Quart's own

    def __init__(self, gateway: Gateway, sites: Sequence[Site], *, max_connections: int, max_per_address: int | None) -> None:
        super().__init__("gatewayd.web", static_folder=None, template_folder=None)
        self.url_map.merge_slashes = False  # one path, one way to write it
        self.gateway = gateway
        proxies = TrustedProxies(gateway.config.gateway.trusted_proxies)
        self.auth = Auth(gateway.store, gateway.config.auth, now=gateway.now, audit=gateway.audit, proxies=proxies)
        self.waits = Waits()
        self.webhooks = WebhookDesk(gateway)
        self.plugin_routes = PluginRoutes(gateway, self.auth, self.waits, sites, max_connections=max_connections)
        per_client = max_per_address or max_connections
        self.connection_slots = ConnectionSlots(max_connections, per_client=per_client, proxies=lambda: self.auth.proxies)
        self.traffic = Traffic(self.connection_slots)
        self.hosts = _hosts(gateway.config)
        gateway.configured.follow(self.reconfigure)

    def reconfigure(self, config: GatewayConfig) -> None:
        """Use this configuration from the next request on."""
        self.auth.reconfigure(config.auth)
        self.auth.trust(TrustedProxies(config.gateway.trusted_proxies))
        self.hosts = _hosts(config)


def create_app(
    gateway: Gateway,
    reload_configuration: reload.Reload,
    proxies: Mapping[str, AgentProxy],
    sites: Sequence[Site] = (),
    *,
    max_connections: int,
    max_per_address: int | None = None,
) -> GatewayApp:
    """The app over a hub. The limits are on open connections, in all and of one address. ``proxies`` are by the kind of core,
    ``sites`` are the channels with routes of their own."""
    app = GatewayApp(gateway, sites, max_connections=max_connections, max_per_address=max_per_address)
    app.config["MAX_CONTENT_LENGTH"] = gateway.config.gateway.max_body_bytes
    app.config["BODY_TIMEOUT"] = BODY_SECONDS
    app.config["RESPONSE_TIMEOUT"] = None  # each write has its own limit, see web/server/stream.py
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    _check_every_request(app)
    _answer_errors(app)
    app.after_request(_finish(app.traffic))
    app.add_url_rule(f"{PREFIX}<channel>/<account>", "webhook", _webhook_view(app), methods=get_args(WebhookMethod))
    app.add_url_rule("/static/<name>", "static", _show_file, methods=["GET"])
    for blueprint in (
        health.blueprint(gateway, app.auth),
        status.blueprint(gateway, app.auth),
        channels.blueprint(gateway, app.auth),
        chat.blueprint(gateway, app.auth, app.waits),
        events.blueprint(gateway, app.auth, app.waits),
        agents.blueprint(gateway, app.auth),
        approvals.blueprint(gateway, app.auth, app.waits),
        console.blueprint(gateway, app.auth),
        audit.blueprint(gateway, app.auth),
        dead_letters.blueprint(gateway, app.auth),
        messages.blueprint(gateway, app.auth),
        metrics.blueprint(gateway, app.auth, app.traffic),
        pairing.blueprint(gateway, app.auth),
        proxy.blueprint(gateway, app.auth, app.waits, proxies),
        reload.blueprint(app.auth, reload_configuration),
        app.plugin_routes.blueprint(),
    ):
        app.register_blueprint(blueprint)
    return app


def _hosts(config: GatewayConfig) -> HostPolicy:
    section = config.gateway
    bind_host, _ = parse_bind(section.bind)
    return HostPolicy(bind_host=bind_host, public_url=section.public_url, allowed_hosts=section.allowed_hosts)


def _check_every_request(app: GatewayApp) -> None:
    @app.before_request
    async def check_host_and_origin() -> None:
        if not is_one_spelling(request.scope["raw_path"]):
            raise NotFound()
        if request.path.startswith(PREFIX):
            return  # a platform sends it, not a browser: its signature decides, see web/webhooks.py
        if request.path in PROBE_PATHS:
            return  # load balancers send an address or no Host at all; the response is public
        host = request.headers.get("Host")
        server = request.scope.get("server")
        if not app.hosts.allows_host(host, reached=server[0] if server else None):
            raise HttpError("misdirected", "this Host is not allowed: use another URL, or add it to gateway.allowed_hosts")
        origin = request.headers.get("Origin")
        if origin is not None and not app.hosts.allows_origin(origin, host):
            raise HttpError(
                "bad_origin",
                "a page of another site sent this request: add its Origin to gateway.allowed_hosts if that is intended",
            )


def _answer_errors(app: GatewayApp) -> None:
    @app.errorhandler(HttpProblem)
    async def http_error(problem: HttpProblem) -> Response:
        return _error_response(HttpError.of(problem))

    @app.errorhandler(GatewayError)
    async def gateway_error(error: GatewayError) -> Response:
        return _error_response(error_of(error))

    @app.errorhandler(HTTPException)
    async def framework_error(error: HTTPException) -> Response:
        if request.path in _RENAMED:
            return _error_response(HttpError("not_found", f"this path is {_RENAMED[request.path]} now"))
        return _error_response(error_of_framework(error))

    @app.errorhandler(Exception)
    async def unexpected_error(error: Exception) -> Response:
        log.exception("request_failed", method=request.method, path=request.path)
        return _error_response(error_of_status(500))


def _error_response(error: HttpError) -> Response:
    return Response(error.body, status=error.status, headers=error.headers, content_type="application/json")


def _finish(traffic: Traffic) -> Callable[[Response], Awaitable[Response]]:
    async def finish(response: Response) -> Response:
        traffic.note(response.status_code)
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return finish


async def _show_file(name: str) -> Response:
    if name not in load_pages():
        raise HttpError("not_found", "there is no file of this name")
    return respond(load_pages()[name])


def _webhook_view(app: GatewayApp) -> Callable[[str, str], Awaitable[Response]]:
    async def webhook(channel: str, account: str) -> Response:
        """The reference: web/server/accelerator.py in front of it gives the same responses."""
        headers = headers_of(request.scope["headers"])
        method = "GET" if request.method == "HEAD" else request.method
        app.webhooks.check(channel, account, method, headers)
        body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
        query = request.query_string.decode("latin-1")
        asked = WebhookRequest(method=method, headers=headers, query=query, body=body)
        receipt = await app.webhooks.answer(channel, account, asked)
        app.webhooks.afterwards(receipt)
        reply = receipt.reply
        return Response(reply.body, status=reply.status, content_type=reply.content_type)

    return webhook
