"""A platform and a provider that repeat everything they were told, in every error they can think of.

What a call's path says of its token decides how it is answered; what was asked is kept, without the place where the token belongs
(the Bot API's path, the Authorization header).
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import trio
from msgspec import Struct

_BOT = re.compile(r"/(?:file/)?bot([^/]*)/(\w+)")
WAYS = ("unauthorized", "conflict", "garbage", "shape", "broken", "cut", "redirect", "nohttp", "endless")
"""How a call can fail."""
BOUNDS = (200, 300, 500, 600, 1000, 2000)
"""Characters at which somebody may cut a text: what is repeated is put there, so that the cut goes through the secret."""


class Asked(Struct):
    """One request. ``headers`` is its raw head."""

    path: str
    head: str
    body: str


class Parrot:
    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.ways: dict[str, str] = {}
        self.secrets: list[str] = []
        self.port = 0
        self._updates = 0
        self._calls = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    @asynccontextmanager
    async def serve(cls) -> AsyncIterator["Parrot"]:
        parrot = cls()
        async with trio.open_nursery() as nursery:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            parrot.port = listener.socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, parrot._connection, [listener])
            yield parrot
            nursery.cancel_scope.cancel()

    async def _connection(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                while asked := await _read(stream):
                    self.bodies.append(asked.body)
                    if not await self._answer(stream, asked):
                        return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def _answer(self, stream: trio.SocketStream, asked: Asked) -> bool:
        """Whether the connection goes on."""
        self._calls += 1
        echo = _echo(asked, self._calls)
        bot = _BOT.search(asked.path)
        way = self.ways.get(bot[1], "unauthorized") if bot else asked.path.split("/")[1]
        if bot and way == "works":
            await self._bot(stream, bot[2], asked, echo)
            return True
        return await _fail(stream, way if way in WAYS else WAYS[self._calls % len(WAYS)], asked, echo)

    async def _bot(self, stream: trio.SocketStream, method: str, asked: Asked, echo: str) -> None:
        """A Bot API on which everything works but sending, files and webhooks."""
        if method == "getMe":
            await _reply(stream, 200, {"ok": True, "result": {"id": 7, "is_bot": True, "first_name": "b", "username": "b"}})
        elif method == "getUpdates" and self._updates < 3:
            self._updates += 1
            user = {"id": 70 + self._updates, "is_bot": False, "first_name": "u"}
            chat = {"id": user["id"], "type": "private", "first_name": "u"}
            message = {"message_id": 1, "date": 1_800_000_000, "chat": chat, "from": user, "text": "fail"}
            await _reply(stream, 200, {"ok": True, "result": [{"update_id": self._updates, "message": message}]})
        elif method == "getUpdates":
            await trio.sleep(0.5)
            await _reply(stream, 200, {"ok": True, "result": []})
        elif method == "getWebhookInfo":
            await _reply(stream, 200, {"ok": True, "result": {"url": "", "pending_update_count": 0}})
        elif method == "setWebhook":
            self.secrets.append(json.loads(asked.body)["secret_token"])
            await _reply(stream, 400, {"ok": False, "error_code": 400, "description": f"Bad Request: {asked.body}"})
        elif method.startswith("send"):
            status = (400, 403, 500)[self._updates % 3]
            await _reply(stream, status, {"ok": False, "error_code": status, "description": f"Bad Request: {echo}"})
        else:
            await _reply(stream, 200, {"ok": True, "result": True})


def _echo(asked: Asked, number: int) -> str:
    """What a call is authorised with, in one of the forms in which it could be repeated, behind a text of some length."""
    header = re.search(r"authorization: \w+ (.*)", asked.head, re.I)
    said = f"{asked.path} {header[1] if header else ''} {asked.body}"
    form = (str, quote, json.dumps, repr, lambda text: quote(text, safe=""))[number % 5]
    secret_at = said.index(header[1]) if header else 0
    before = BOUNDS[number % len(BOUNDS)] - secret_at - number * 7 % 50
    return "x" * (max(0, before) if number % 4 else 0) + form(said)


async def _fail(stream: trio.SocketStream, way: str, asked: Asked, echo: str) -> bool:
    match way:
        case "unauthorized":
            error = {"message": f"invalid key: {echo}", "type": "auth", "code": echo}
            await _reply(stream, 401, {"ok": False, "error_code": 401, "description": f"Unauthorized: {echo}", "error": error})
        case "conflict":
            await _reply(stream, 409, {"ok": False, "error_code": 409, "description": f"Conflict: {echo}", "error": echo})
        case "garbage":
            await _send(stream, 200, f"<html>{echo}", {"X-Debug": asked.path})
        case "shape":
            await _reply(stream, 200, {"ok": echo, "result": [echo], "choices": {echo: echo}, "error": {echo: [echo]}})
        case "broken":
            await _reply(stream, 500, {"error": {"message": echo}, "description": echo})
        case "redirect":
            await _send(stream, 302, echo, {"Location": f"http://127.0.0.1:1{asked.path}"})
        case "nohttp":
            await stream.send_all(f"{asked.path} {' '.join(asked.head.split())}\r\n\r\n".encode())
            return False
        case "endless":
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + echo.encode())
            return False
        case _:
            await stream.send_all(b"HTTP/1.1 200 OK\r\nX-Debug: " + asked.path.encode())
            return False
    return True


async def _reply(stream: trio.SocketStream, status: int, body: object) -> None:
    await _send(stream, status, json.dumps(body), {"Content-Type": "application/json"})


async def _send(stream: trio.SocketStream, status: int, text: str, headers: dict[str, str]) -> None:
    body = text.encode()
    lines = [f"HTTP/1.1 {status} {quote(text[:200])}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    await stream.send_all("\r\n".join([*lines, "", ""]).encode() + body)


async def _read(stream: trio.SocketStream) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    found = re.search(r"content-length: *(\d+)", text, re.I)
    while len(body) < int(found[1] if found else 0):
        body += await stream.receive_some(65536)
    return Asked(text.split(" ")[1], text, body.decode("utf-8", "replace"))
