"""A channel with routes of its own, good and bad ones. Of gatewayd it uses ports, kit and model only."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from msgspec import Struct

from gatewayd.kit.serving.requests import cookies_of, json_reply, read_body
from gatewayd.model.errors import Conflict, NotFound
from gatewayd.model.message.payload import OutboundPayload, Receipt
from gatewayd.ports.channel import (
    AccountConfig,
    ChannelPlugin,
    ChannelServices,
    Deliver,
    HttpDesk,
    HttpProblem,
    HttpReply,
    HttpRequest,
    HttpRoute,
)
from gatewayd.ports.store import TokenRow
from tests.third_party.kinds import KINDS

PLUGIN = ChannelPlugin(
    id="porch",
    label="Porch",
    settings="tests.web.plugin_routes.porch:PorchSettings",
    open="tests.web.plugin_routes.porch:open_porch",
    http="tests.web.plugin_routes.porch:ROUTES",
    routes=(
        HttpRoute("GET"),
        HttpRoute("GET", "callback"),
        HttpRoute("GET", "people/<name>/rooms/<room>"),
        HttpRoute("POST", "orders", scope="admin"),
        HttpRoute("POST", "json"),
        HttpRoute("POST", "small", at_most_bytes=20),
        HttpRoute("POST", "upload", accepts=None, streams=True),
        HttpRoute("POST", "echo", accepts="application/octet-stream", streams=True),
        HttpRoute("GET", "ticks"),
        HttpRoute("GET", "file"),
        HttpRoute("GET", "silent"),
        HttpRoute("GET", "hang"),
        HttpRoute("GET", "bad/<how>"),
        HttpRoute("GET", "raise/<number>"),
        HttpRoute("POST", "code"),
        HttpRoute("GET", "channel"),
    ),
)
EVENTS = "text/event-stream"


class PorchSettings(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Order(Struct, frozen=True, forbid_unknown_fields=True):
    what: str


class Porch:
    async def listen(self, deliver: Deliver) -> None:
        self.services.connection.connected()
        await anyio.sleep_forever()

    def __init__(self, services: ChannelServices) -> None:
        self.services = services

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        await anyio.lowlevel.checkpoint()
        return Receipt("1")


@asynccontextmanager
async def open_porch(account: AccountConfig, services: ChannelServices) -> AsyncIterator[Porch]:
    yield Porch(services)


def raising(error: BaseException) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


async def wrong_piece() -> AsyncIterator[Any]:
    yield b"one"
    yield "two"


class StopsOddly:
    """An iterator that is no generator, and fails when it is closed."""

    def __aiter__(self) -> "StopsOddly":
        return self

    async def __anext__(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        raise RuntimeError("it does not close")


BAD: Mapping[str, Callable[[], Any]] = {
    "error": raising(RuntimeError("a bug in the plug-in")),
    "group": raising(ExceptionGroup("several", [ValueError("a"), HttpProblem(404, "not_found", "b")])),
    "nothing": lambda: None,
    "text": lambda: HttpReply("text"),  # type: ignore[arg-type]
    "status": lambda: HttpReply(b"", 99),
    "split": lambda: HttpReply(b"", headers=(("X-Split", "a\r\nX-Other: b"),)),
    "type": lambda: HttpReply(b"", content_type="text/plain\r\nX-Other: b"),
    "length": lambda: HttpReply(b"", headers=(("Content-Length", "10"),)),
    "header": lambda: HttpReply(b"", headers=("X",)),  # type: ignore[arg-type]
    "problem": raising(HttpProblem(200, "ok", "no problem")),
    "code": raising(HttpProblem(400, "a\nb", "no code")),
}
GOOD: Mapping[str, Callable[[], Any]] = {
    "missing": raising(NotFound("there is no such room")),
    "conflict": raising(Conflict("it is open already")),
    "teapot": raising(HttpProblem(418, "no_coffee", "this is a teapot")),
    "alone": raising(ExceptionGroup("of a task group", [HttpProblem(409, "taken", "it is taken")])),
}


class Routes:
    """``open`` counts the streams that have begun and have not been closed; ``received`` are the pieces of uploads."""

    def __init__(self) -> None:
        self.open = 0
        self.received: list[bytes] = []
        self.requests: list[HttpRequest] = []

    async def serve(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        self.requests.append(request)
        what, _, rest = request.path.partition("/")
        if what == "raise":
            raise KINDS[list(KINDS)[int(rest)]]()
        if what == "bad":
            reply: HttpReply = {**BAD, **GOOD}[rest]()
            return reply
        return await getattr(self, f"_{what or 'page'}")(request, desk)  # type: ignore[no-any-return]

    async def greeting(self, desk: HttpDesk, base_url: str, *, private: bool) -> str:
        if desk.account.account == "rude":
            raise RuntimeError("no manners")
        return f"Sit down at {base_url}, {desk.account.account}{' (a secret)' if private else ''}."

    async def _page(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        headers = (("Content-Security-Policy", "default-src 'self'"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
        return HttpReply(b"<title>Porch</title>", content_type="text/html", headers=headers)

    async def _callback(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        return json_reply({"query": request.query, "cookies": cookies_of(request, "state"), "client": request.client})

    async def _people(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        return json_reply({"path": request.path})

    async def _orders(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        body = await read_body(request, Order)
        async with desk.order(request, "order", body.what):
            if body.what == "nothing":
                raise NotFound("there is nothing to order")
        desk.emit("ordered", what=body.what)
        return json_reply({"by": request.operator, "authorization": request.headers.get("authorization")})

    async def _json(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        return json_reply({"what": (await read_body(request, Order)).what})

    _small = _json

    async def _upload(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        async for piece in request.body:
            self.received.append(piece)
        return json_reply({"bytes": sum(map(len, self.received))})

    async def _echo(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        async def echo() -> AsyncIterator[bytes]:
            async for piece in request.body:
                yield piece.upper()

        return HttpReply(echo(), content_type="application/octet-stream")

    async def _ticks(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        return HttpReply(self._ticking(), content_type=EVENTS)

    async def _ticking(self) -> AsyncIterator[bytes]:
        """With a task group and a scope that stay open between two pieces."""
        self.open += 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep_forever)
                with anyio.move_on_after(3600):
                    while True:
                        yield b"event: tick\ndata: {}\n\n"
                        await anyio.sleep(10)
        finally:
            self.open -= 1

    async def _file(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        match request.query:
            case "wrong":
                return HttpReply(wrong_piece())
            case "odd":
                return HttpReply(StopsOddly())
            case number if number.isdigit():
                return HttpReply(self._half(KINDS[list(KINDS)[int(number)]]))
            case _:
                return HttpReply(self._half(lambda: RuntimeError("a bug in the middle")))

    async def _half(self, make: Callable[[], BaseException]) -> AsyncIterator[bytes]:
        yield b"half of it"
        raise make()

    async def _silent(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        return HttpReply(self._saying_nothing(), content_type=EVENTS)

    async def _saying_nothing(self) -> AsyncIterator[bytes]:
        yield b"event: hello\n\n"
        await anyio.sleep_forever()

    async def _hang(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        await anyio.sleep_forever()
        raise AssertionError

    async def _code(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        raise await desk.wrong_code(request, "this code is wrong")

    async def _channel(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        return json_reply({"is": type(desk.require_channel()).__name__})


ROUTES = Routes()


def a_login(name: str, digest: str = "d" * 64, kind: Any = "web_session", role: str = "") -> TokenRow:
    return TokenRow(digest, kind, name, role, ("admin",), 0.0, 4_000_000_000.0)
