"""The HTTP side: each request is checked, recorded, limited, perhaps spoiled, and answered."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import parse_qsl

import msgspec
import trio

from tests.fakes.bot_api.http_server import Request, Response
from tests.fakes.discord_platform.errors import ApiError, Json, not_found, unauthorized
from tests.fakes.discord_platform.faults import Fault, Faults
from tests.fakes.discord_platform.model.cdn import Cdn
from tests.fakes.discord_platform.model.world import World
from tests.fakes.discord_platform.rest.answers import WEBHOOK
from tests.fakes.discord_platform.rest.bodies import Body, read_body
from tests.fakes.discord_platform.rest.limits import Limits, Verdict
from tests.fakes.discord_platform.rest.routing import Call, Endpoint, Routes

BASE = "/api/v10"
DOWNLOAD = "GET /attachments/{channel_id}/{attachment_id}/{filename}"
"""The one route of the CDN."""
_AGENT = re.compile(r"DiscordBot \(\S+,? [^)]+\)")
_OPEN = (" /interactions/", f" {WEBHOOK}", " /gateway")
"""Routes that need no bot token: theirs is in the path. GET /gateway needs none, GET /gateway/bot does."""
_VIA = ("Via", "1.1 google")
"""On every answer of the API itself; clients tell Cloudflare's answers by its absence."""


class RestServer:
    """``violations`` collects what no correct client does, in words. ``calls`` are all requests that named a route."""

    def __init__(self, world: World, cdn: Cdn, endpoints: dict[str, Endpoint]) -> None:
        self._world = world
        self._cdn = cdn
        self._routes = Routes(endpoints)
        self.limits = Limits(world.now)
        self.faults = Faults()
        self.calls: list[Call] = []
        self.watchers: list[Callable[[Call], None]] = []
        self.violations: list[str] = []
        self.is_down = False
        """An outage: every connection is reset."""

    def knows(self, request: Request) -> bool:
        """Whether a request is of this bot: by its token, its application in the path, or a file that it can see."""
        token = request.headers.get("authorization")
        return (
            token == f"Bot {self._world.application.token}"
            or (token is None and self._world.application.id in request.path)
            or self._cdn.has(request.path)
        )

    async def handle(self, request: Request) -> Response | None:
        """None breaks the connection."""
        return await (self._download(request) if request.path.startswith("/attachments/") else self._api(request))

    async def _api(self, request: Request) -> Response | None:
        if not request.path.startswith(BASE + "/"):
            self.violations.append(f"{request.method} {request.path}: not below {BASE}")
            return _refusal(not_found())
        try:
            found = self._routes.find(request.method, request.path.removeprefix(BASE))
            if found is None:
                self.violations.append(f"{request.method} {request.path}: no route that the fake knows")
                raise not_found()
            route, ids, endpoint = found
            call = Call(
                route, ids, dict(parse_qsl(request.query, keep_blank_values=True)), read_body(request), trio.current_time()
            )
        except ApiError as error:
            if error.status != 404:
                self.violations.append(f"{request.method} {request.path}: {error}")
            return _refusal(error)
        return await self._record(call, self._limited(request, call, endpoint))

    async def _download(self, request: Request) -> Response | None:
        """A file of the CDN, which knows neither tokens nor buckets."""
        call = Call(DOWNLOAD, {}, dict(parse_qsl(request.query)), Body(), trio.current_time())
        fault = self.faults.take(call)

        def respond() -> Response:
            return Response(*self._cdn.read(request.path, request.query))

        return await self._record(call, _spoil(fault, respond))

    async def _record(self, call: Call, answering: Awaitable[Response | None]) -> Response | None:
        self.calls.append(call)
        response = await answering
        call.status = response.status if response is not None else 0
        for watch in self.watchers:
            watch(call)
        self._world.changed.notify()
        return response

    async def _limited(self, request: Request, call: Call, endpoint: Endpoint) -> Response | None:
        if not self._is_authorized(request, call):
            return _refusal(unauthorized())
        fault = self.faults.take(call)
        if fault is not None and fault.kind in {"limit", "shared", "global"}:
            return self._refuse_by_limit(fault, call)
        verdict = self.limits.check(call.route, call.resource)
        if verdict.body is not None:
            return self._limit(verdict)
        return await _spoil(fault, partial(_answer, endpoint, call, verdict))

    def _is_authorized(self, request: Request, call: Call) -> bool:
        if any(part in call.route for part in _OPEN) and call.route != "GET /gateway/bot":
            return True
        if not _AGENT.match(request.headers.get("user-agent", "")):
            self.violations.append('User-Agent must begin with "DiscordBot (url, version)" ("Reference", User Agent)')
        return request.headers.get("authorization") == f"Bot {self._world.application.token}"

    def _refuse_by_limit(self, fault: Fault, call: Call) -> Response:
        match fault.kind:
            case "shared":
                return self._limit(self.limits.shared(call.route, fault.until - trio.current_time()))
            case "global":
                self.limits.limit_globally(fault.seconds)
            case _:
                self.limits.exhaust(call.route, call.resource, fault.seconds)
        return self._limit(self.limits.check(call.route, call.resource))

    @staticmethod
    def _limit(verdict: Verdict) -> Response:
        return Response(429, msgspec.json.encode(verdict.body), headers=(*verdict.headers, _VIA))


async def _spoil(fault: Fault | None, respond: Callable[[], Response]) -> Response | None:
    """What a request gets that meets a fault, or none."""
    if fault is None:
        return respond()
    match fault.kind:
        case "error":
            assert fault.error is not None
            return _refusal(fault.error)
        case "page":
            return Response(fault.status, fault.body, fault.content_type)
        case "cut_before":
            return None
        case "cut_after":
            respond()
            return None
        case "delay":
            await trio.sleep(fault.seconds)
        case "hold":
            assert fault.released is not None
            await fault.released.wait()
        case _:
            await trio.sleep_forever()
    return respond()


def _answer(endpoint: Endpoint, call: Call, verdict: Verdict) -> Response:
    headers = (*verdict.headers, _VIA)
    try:
        answer = endpoint(call)
    except ApiError as error:
        return _refusal(error, headers)
    call.answer = answer.value
    if answer.status == 204:
        return Response(204, b"", "text/html; charset=utf-8", headers)
    return Response(answer.status, msgspec.json.encode(answer.value), "application/json", headers)


def _refusal(error: ApiError, headers: tuple[tuple[str, str], ...] = (_VIA,)) -> Response:
    body: Json = error.body()
    return Response(error.status, msgspec.json.encode(body), "application/json", headers)
