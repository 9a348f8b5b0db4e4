"""A client that talks to the fake Discord as a bot does: REST by httpx2, the gateway by wsproto."""

import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, RejectConnection, Request, TextMessage

from tests.fakes.discord_platform import FakeDiscord, Json

AGENT = "DiscordBot (https://example.org, 1)"
GUILDS, GUILD_MESSAGES, DIRECT_MESSAGES, MESSAGE_CONTENT = 1 << 0, 1 << 9, 1 << 12, 1 << 15
INTENTS = GUILDS | GUILD_MESSAGES | DIRECT_MESSAGES | MESSAGE_CONTENT


class Ended(Exception):
    """The connection is over; ``code`` is of the close frame, None without one."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Line:
    """One connection to the gateway. ``messages`` counts the WebSocket messages that came."""

    def __init__(self, stream: trio.SocketStream, *, compressed: bool) -> None:
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._inflate = zlib.decompressobj() if compressed else None
        self._buffer = b""
        self._text = ""
        self.messages = 0
        self.seq: int | None = None
        self.events: list[Json] = []

    async def open(self, url: str, query: str) -> None:
        parts = urlsplit(url)
        with suppress(trio.BrokenResourceError):  # receive() says so
            await self._stream.send_all(self._protocol.send(Request(host=parts.netloc, target=f"/?{query}")))

    async def receive(self) -> Json:
        """The next payload.

        :raises Ended: the connection is over.
        """
        while True:
            for event in self._protocol.events():
                payload = await self._payload(event)
                if payload is not None:
                    return payload
            try:
                data = await self._stream.receive_some(65536)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise Ended(None) from None
            if not data:
                raise Ended(None)
            self._protocol.receive_data(data)

    async def _payload(self, event: object) -> Json | None:
        raw: str | bytes = b""
        match event:
            case CloseConnection():
                if self._protocol.state is ConnectionState.REMOTE_CLOSING:
                    await self._stream.send_all(self._protocol.send(event.response()))
                raise Ended(int(event.code))
            case RejectConnection():
                raise Ended(event.status_code)
            case TextMessage():
                self._text += event.data
                if not event.message_finished:
                    return None
                raw, self._text = self._text, ""
            case BytesMessage():
                assert self._inflate is not None
                self._buffer += bytes(event.data)
                self.messages += event.message_finished
                if not event.message_finished or not self._buffer.endswith(b"\x00\x00\xff\xff"):
                    return None
                raw, self._buffer = self._inflate.decompress(self._buffer), b""
            case _:
                assert isinstance(event, AcceptConnection)
                return None
        payload = msgspec.json.decode(raw, type=Json)
        if payload["op"] == 0:
            self.seq = payload["s"]
            self.events.append(payload)
        return payload

    async def until(self, wanted: str | int) -> Json:
        """The next payload with this event name or opcode."""
        while True:
            payload = await self.receive()
            if wanted in (payload["op"] if isinstance(wanted, int) else None, payload["t"] or ""):
                return payload

    async def send(self, op: int, data: Any = None) -> None:
        await self.send_text(msgspec.json.encode({"op": op, "d": data}).decode())

    async def send_text(self, text: str) -> None:
        await self._stream.send_all(self._protocol.send(TextMessage(text)))

    async def heartbeat(self) -> None:
        await self.send(1, self.seq)

    async def close(self, code: int) -> None:
        """With a close frame, and what came before the answer to it thrown away."""
        await self._stream.send_all(self._protocol.send(CloseConnection(code)))
        try:
            while True:
                await self.receive()
        except Ended:
            await self._stream.aclose()

    async def cut(self) -> None:
        """Without a close frame."""
        await self._stream.aclose()

    async def ended(self) -> int | None:
        """Wait for the end; its close code."""
        try:
            while True:
                await self.receive()
        except Ended as end:
            return end.code


class Bot:
    """A bot with the fake's token."""

    def __init__(self, discord: FakeDiscord, http: httpx2.AsyncClient) -> None:
        self.discord = discord
        self.http = http
        self.lines: list[Line] = []

    async def call(self, method: str, path: str, *, token: str | None = None, **request: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bot {token or self.discord.token}", "User-Agent": AGENT}
        return await self.http.request(method, self.discord.api_url + path, headers=headers, **request)

    async def ok(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.call(method, path, **({} if body is None else {"json": body}))
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str, body: Any = None) -> tuple[int, int, Json]:
        """Status, code, and the errors of 50035."""
        answer = await self.call(method, path, **({} if body is None else {"json": body}))
        assert answer.status_code >= 400, answer.text
        assert answer.headers["content-type"] == "application/json"
        error = answer.json()
        return answer.status_code, error["code"], error.get("errors", {})

    async def post(self, channel: str, **fields: Any) -> Json:
        message: Json = await self.ok("POST", f"/channels/{channel}/messages", fields)
        return message

    async def connect(self, url: str | None = None, query: str = "v=10&encoding=json") -> Line:
        """A connection after HELLO."""
        line = await self.open(url, query)
        assert (await line.receive())["op"] == 10
        return line

    async def open(self, url: str | None = None, query: str = "v=10&encoding=json") -> Line:
        url = url or self.discord.gateway_url
        host, _, port = urlsplit(url).netloc.partition(":")
        line = Line(await trio.open_tcp_stream(host, int(port)), compressed="zlib-stream" in query)
        self.lines.append(line)
        await line.open(url, query)
        return line

    def identity(self, intents: int = INTENTS, **fields: Any) -> Json:
        properties = {"os": "linux", "browser": "test", "device": "test"}
        return {"token": self.discord.token, "intents": intents, "properties": properties, **fields}

    async def identify(self, intents: int = INTENTS, query: str = "v=10&encoding=json", **fields: Any) -> Line:
        """A connection after READY and the guilds."""
        line = await self.connect(query=query)
        await line.send(2, self.identity(intents, **fields))
        ready = await line.until("READY")
        for _ in ready["d"]["guilds"]:
            await line.until("GUILD_CREATE")
        return line

    async def resume(self, old: Line, **fields: Any) -> Line:
        ready = next(event["d"] for event in old.events if event["t"] == "READY")
        line = await self.connect(ready["resume_gateway_url"])
        session = {"token": self.discord.token, "session_id": ready["session_id"], "seq": old.seq}
        await line.send(6, {**session, **fields})
        return line


@asynccontextmanager
async def bot_of(discord: FakeDiscord) -> AsyncIterator[Bot]:
    async with httpx2.AsyncClient(timeout=None) as http:
        bot = Bot(discord, http)
        yield bot
        for line in bot.lines:
            await line.cut()
