"""The port: Web API, files host, response_urls and WebSocket; each call is checked, recorded, perhaps spoiled, and answered."""

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
import trio
from msgspec import Struct

from tests.fakes.bot_api.bot import Signal
from tests.fakes.bot_api.http_server import Handler, Request, Response
from tests.fakes.slack_platform.delivery.socket_mode import SocketMode
from tests.fakes.slack_platform.errors import Json, SlackError
from tests.fakes.slack_platform.faults import Faults, Rate
from tests.fakes.slack_platform.methods.arguments import Method, read_arguments
from tests.fakes.slack_platform.methods.files import Files
from tests.fakes.slack_platform.methods.scopes import ALL_SCOPES, check_scope
from tests.fakes.slack_platform.responses import Responses
from tests.fakes.slack_platform.workspace import Workspace

TokenState = Literal["active", "account_inactive", "token_revoked", "token_expired"]


class Call(Struct):
    """One request that named a method. ``at`` is Trio's clock at receipt; ``answer`` is None until it is answered."""

    method: str
    params: Json
    at: float
    token: str
    answer: Json | None = None


class Tokens(Struct):
    """The app's tokens: xoxb for the Web API, xapp for apps.connections.open."""

    bot: str
    app: str
    scopes: frozenset[str] = ALL_SCOPES
    state: TokenState = "active"

    def check(self, method: str, token: str) -> None:
        """:raises SlackError: not_authed, invalid_auth, not_allowed_token_type, account_inactive, token_revoked …"""
        if not token:
            raise SlackError("not_authed")
        if token not in {self.bot, self.app}:
            raise SlackError("invalid_auth")
        if (token == self.app) != (method == "apps.connections.open") and method not in {"api.test", "auth.test"}:
            raise SlackError("not_allowed_token_type")
        if self.state != "active":
            raise SlackError(self.state)


class Server:
    """Routes requests. ``violations`` collects what no correct client does, in words."""

    def __init__(
        self,
        tokens: Tokens,
        workspace: Workspace,
        methods: Mapping[str, Method],
        files: Files,
        responses: Responses,
        socket_mode: SocketMode,
        changed: Signal,
    ) -> None:
        self.tokens = tokens
        self._workspace = workspace
        self._methods: dict[str, Method] = {**methods, "apps.connections.open": lambda values: {"url": socket_mode.open()}}
        self._files = files
        self._responses = responses
        self.faults = Faults()
        self.rates: list[Rate] = []
        self.calls: list[Call] = []
        self._changed = changed
        self.violations: list[str] = []
        self.control: Handler | None = None

    async def handle(self, request: Request) -> Response | None:
        """The HTTP handler of the whole port."""
        area = request.path.split("/")[1]
        if area == "api":
            return await self._call(request.path.removeprefix("/api/"), request)
        if area == "control" and self.control is not None:
            return await self.control(request)
        response = await self._spoiled(area, {"path": request.path}, lambda: self._elsewhere(area, request))
        self._changed.notify()
        return response

    def _elsewhere(self, area: str, request: Request) -> Response:
        match area:
            case "upload":
                return self._files.upload(request)
            case "files-pri":
                return self._files.download(request, allowed=self._may_read_files(request))
            case "actions":
                if "authorization" in request.headers:
                    self.violations.append("response_url: it takes no token, and must be given none")
                return self._responses.receive(request)
            case _:
                return Response(404, b"", "text/plain")

    def _may_read_files(self, request: Request) -> bool:
        token = _bearer(request)
        active = token == self.tokens.bot and self.tokens.state == "active"
        return active and "files:read" in self.tokens.scopes

    async def _call(self, method: str, request: Request) -> Response | None:
        try:
            values = read_arguments(request)
        except SlackError as error:
            self.violations.append(f"{method}: {error.name}")
            return self._encode(error.answer(), error)
        token = _bearer(request) or str(values.pop("token", ""))
        if method not in self._methods:
            self.violations.append(f"{method}: not a method, or none that the fake knows")
            return self._encode(SlackError("unknown_method", fields={"req_method": method}).answer())
        call = Call(method, values, trio.current_time(), token)
        self.calls.append(call)
        self._changed.notify()
        response = await self._spoiled(method, values, lambda: self._run(call))
        self._changed.notify()
        return response

    def _run(self, call: Call) -> Response:
        try:
            self.tokens.check(call.method, call.token)
            for rate in self.rates:
                rate.check(call.method, call.params)
            check_scope(call.method, call.params, self.tokens.scopes, self._workspace)
            call.answer = {"ok": True, **self._methods[call.method](dict(call.params))}
        except SlackError as error:
            call.answer = error.answer()
            return self._encode(call.answer, error)
        return self._encode(call.answer)

    def _encode(self, answer: Json, error: SlackError | None = None) -> Response:
        headers = [("X-OAuth-Scopes", ",".join(sorted(self.tokens.scopes))), ("X-Slack-Req-Id", "fake")]
        if error is not None and error.retry_after_seconds is not None:
            headers.append(("Retry-After", str(error.retry_after_seconds)))
        status = 200 if error is None else error.status
        return Response(status, msgspec.json.encode(answer), "application/json; charset=utf-8", tuple(headers))

    async def _spoiled(self, name: str, values: Json, effect: Callable[[], Response]) -> Response | None:
        """The answer of ``effect``, unless a fault is due. None: the connection breaks."""
        fault = self.faults.take(name, values)
        if fault is None:
            return effect()
        if fault.kind in {"error_after", "drop_after", "hang_after"}:
            effect()
            self._changed.notify()
        match fault.kind:
            case "error" | "error_after":
                error: SlackError = fault.limited()
                return self._encode(error.answer(), error)
            case "drop_before" | "drop_after":
                return None
            case "hang" | "hang_after":
                await trio.Event().wait()
            case "delay":
                await trio.sleep(fault.seconds)
            case "hold":
                assert fault.released is not None
                await fault.released.wait()
            case "redirect":
                return Response(302, b"", "text/html", (("Location", fault.location),))
            case "status":
                return Response(fault.status, fault.body, "text/html")
        return effect()


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
