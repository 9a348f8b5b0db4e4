"""The server: one port, any number of clients at once; each request is understood, recorded and answered by its own script."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Self

import msgspec
import trio
from msgspec import Struct

from tests.fakes.bot_api.http_server import ConnectionCut, Request, Response, Send, Stream, listen, port_of, serve_http
from tests.fakes.model_server import chat_completions, responses
from tests.fakes.model_server.exchange import Json, Message, Understood
from tests.fakes.model_server.script import Answer, Ask, Failure, answer

MODEL = "fake-1"
_WHY: Mapping[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", None),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
_KEPT_RESPONSES = 10_000


class Seen(Struct):
    """A request as it came. ``body`` is the JSON; ``end`` is None while it is being answered."""

    path: str
    headers: dict[str, str]
    body: Json
    text: str
    results: tuple[str, ...]
    end: str | None = None
    """answered, failed, cut (as the script says) or aborted (the client closed the connection)."""


class ModelServer:
    """Drive it from the test that made it. ``requests`` are those of agents; ``titles`` those for a session's title."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Seen] = []
        self.titles: list[Seen] = []
        self._asked: Counter[tuple[str, int]] = Counter()
        self._released: defaultdict[str, trio.Event] = defaultdict(trio.Event)
        self._held: Counter[str] = Counter()
        self._conversations: dict[str, tuple[Message, ...]] = {}
        self._changed = trio.Event()

    @classmethod
    @asynccontextmanager
    async def serve(cls, *, port: int = 0) -> AsyncIterator[Self]:
        """On 127.0.0.1; port 0 takes a free one. ``url`` ends in /v1."""
        listener = await listen(port)
        model = cls(f"http://127.0.0.1:{port_of(listener)}/v1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_http, listener, model.handle)
            yield model
            nursery.cancel_scope.cancel()

    def release(self, text: str) -> None:
        """Let the requests go on that wait under ``text`` (see the scripts slow and hang), now and from now on."""
        self._released[text].set()

    async def wait_held(self, text: str) -> None:
        """Wait until a request waits under ``text``."""
        await self._wait(lambda: self._held[text] > 0)

    async def wait_requests(self, condition: Callable[[list[Seen]], bool] | int) -> list[Seen]:
        """Wait until there are so many requests, or until they fulfil the condition."""
        await self._wait(lambda: len(self.requests) >= condition if isinstance(condition, int) else condition(self.requests))
        return self.requests

    async def handle(self, request: Request) -> Response | Stream | None:
        """The HTTP handler of the whole port."""
        match request.method, request.path:
            case "POST", "/v1/chat/completions" | "/v1/responses":
                return await self._complete(request)
            case "GET", "/v1/models":
                return _json({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "tests"}]})
            case "GET", "/_requests":
                return _json({"requests": self.requests, "titles": self.titles})
            case "POST", "/_release" | "/_wait_held" | "/_wait_requests" as path:
                return await self._control(path, msgspec.json.decode(request.body, type=Json))
        return _failure(Failure(404, f"Unknown request URL: {request.method} {request.path}"))

    async def _control(self, path: str, arguments: Json) -> Response:
        match path:
            case "/_release":
                self.release(arguments["text"])
            case "/_wait_held":
                await self.wait_held(arguments["text"])
            case _:
                await self.wait_requests(int(arguments["count"]))
        return _json({})

    async def _complete(self, request: Request) -> Response | Stream | None:
        try:
            body = msgspec.json.decode(request.body, type=Json)
            chat = request.path.endswith("/completions")
            before = self._conversations.get(body.get("previous_response_id") or "", ())
            understood = chat_completions.understand(body) if chat else responses.understand(body, before)
            seen, said = self._record(request, body, understood)
        except (msgspec.DecodeError, KeyError, ValueError, TypeError) as error:
            return _failure(Failure(400, f"not understood: {error!r}"))
        if said.failure is not None and said.failure.status != 200:
            seen.end = "failed"
            return _failure(said.failure)
        response_id = responses.new_id()
        self._remember(response_id, understood)
        write = partial(chat_completions.write, body) if chat else partial(responses.write, response_id)
        if understood.stream:
            return Stream(partial(self._stream, seen, lambda send: write(understood, said, send, self._hold)))
        if said.first is not None:
            await self._hold(said.first.text)
        seen.end = "answered"
        return _json(chat_completions.whole(understood, said) if chat else responses.whole(response_id, understood, said))

    def _record(self, request: Request, body: Json, understood: Understood) -> tuple[Seen, Answer]:
        asked = (understood.text, len(understood.results))
        ask = Ask(understood.text, understood.system, understood.results, understood.tools, self._asked[asked])
        said = answer(ask)
        seen = Seen(request.path, request.headers, body, understood.text, understood.results)
        (self.titles if ask.for_title else self.requests).append(seen)
        if not ask.for_title:
            self._asked[asked] += 1
        self._tell()
        return seen, said

    def _remember(self, response_id: str, understood: Understood) -> None:
        self._conversations[response_id] = understood.messages
        if len(self._conversations) > _KEPT_RESPONSES:
            del self._conversations[next(iter(self._conversations))]

    async def _stream(self, seen: Seen, write: Callable[[Send], Awaitable[None]], send: Send) -> None:
        end = "aborted"
        try:
            await write(send)
            end = "answered"
        except ConnectionCut:
            end = "cut"
            raise
        finally:
            seen.end = end
            self._tell()

    async def _hold(self, text: str) -> None:
        self._held[text] += 1
        self._tell()
        try:
            await self._released[text].wait()
        finally:
            self._held[text] -= 1

    async def _wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _json(value: object) -> Response:
    return Response(200, msgspec.json.encode(value))


def _failure(failure: Failure) -> Response:
    kind, code = _WHY.get(failure.status, ("server_error", None))
    body = {"error": {"message": failure.message, "type": kind, "param": None, "code": code}}
    headers = (("Retry-After", str(failure.after)),) if failure.after is not None else ()
    return Response(failure.status, msgspec.json.encode(body), headers=headers)
