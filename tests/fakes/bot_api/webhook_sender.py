"""Delivery to a webhook by real HTTP POST.

Facts (tdlib/telegram-bot-api, ``WebhookActor.cpp``; core.telegram.org/bots/api#setwebhook): updates of one chat go out in
order, one at a time; different chats side by side, up to ``max_connections``. Any answer but 2xx, and a broken connection,
is a failure: the same update is sent again at once the first time, then after 2, 4, 8 … up to 60 seconds, or after the
Retry-After of the answer, for 24 hours.
"""

from collections.abc import Callable

import httptools
import msgspec
import trio
from msgspec import Struct

from tests.fakes.bot_api.bot import Bot, Webhook
from tests.fakes.bot_api.errors import Json
from tests.fakes.bot_api.update_queue import PendingUpdate

LONGEST_PAUSE_SECONDS = 60.0
LONGEST_RETRY_AFTER_SECONDS = 3600.0
ANSWER_LIMIT_SECONDS = 60.0
"""How long an answer is waited for. (The real figure is not documented.)"""
IDLE_CONNECTIONS = 100


class _Answer(Struct):
    status: int
    reason: str
    headers: dict[str, str]
    keep_alive: bool


class WebhookSender:
    """Delivers the updates of one bot while a webhook is set; waits while none is.

    ``resolve`` turns the public URL into the one that is really connected to: what DNS and a TLS proxy do elsewhere.
    """

    def __init__(self, bot: Bot, resolve: Callable[[str], str]) -> None:
        self._bot = bot
        self._resolve = resolve
        self._busy: set[str] = set()
        self._idle: list[tuple[str, trio.SocketStream]] = []

    async def run(self) -> None:
        """Deliver until cancelled; closes its connections."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    webhook = self._bot.webhook
                    due, pause = self._due(webhook)
                    if webhook is not None:
                        for pending in due:
                            self._busy.add(pending.lane)
                            nursery.start_soon(self._deliver, webhook, pending)
                    with trio.move_on_after(pause):
                        await self._bot.deliverable.wait()
        finally:
            for _, stream in self._idle:
                stream.socket.close()

    def _due(self, webhook: Webhook | None) -> tuple[list[PendingUpdate], float]:
        """What may go out now, and how long to wait for what may not yet."""
        due: list[PendingUpdate] = []
        pause = float("inf")
        seen = set(self._busy)
        for pending in self._bot.updates.waiting() if webhook else []:
            if webhook is None or len(self._busy) + len(due) >= webhook.max_connections:
                break
            if pending.lane in seen:
                continue
            seen.add(pending.lane)
            wait = pending.not_before - trio.current_time() if pending.failures else 0.0
            if wait <= 0:
                due.append(pending)
            else:
                pause = min(pause, wait)
        return due, pause

    async def _deliver(self, webhook: Webhook, pending: PendingUpdate) -> None:
        try:
            with trio.move_on_after(ANSWER_LIMIT_SECONDS) as limit:
                answer = await self.post(webhook.url, pending.update, webhook.secret_token)
            if limit.cancelled_caught:
                self._failed(webhook, pending, "Read timeout expired", 0.0)
            elif 200 <= answer.status <= 299:
                self._bot.updates.remove(pending)
            else:
                reason = f"Wrong response from the webhook: {answer.status} {answer.reason}"
                self._failed(webhook, pending, reason, _retry_after(answer))
        except ConnectionError as error:
            self._failed(webhook, pending, str(error), 0.0)
        finally:
            self._busy.discard(pending.lane)
            self._bot.deliverable.notify()
            self._bot.changed.notify()

    def _failed(self, webhook: Webhook, pending: PendingUpdate, reason: str, retry_after: float) -> None:
        webhook.last_error_date = self._bot.unix_time()
        webhook.last_error_message = reason
        pause = retry_after
        if not retry_after and pending.failures:
            pause = pending.pause = min(LONGEST_PAUSE_SECONDS, pending.pause * 2)
        pending.failures += 1
        pending.not_before = trio.current_time() + pause

    async def post(self, url: str, update: Json, secret_token: str) -> _Answer:
        """One POST of one update.

        :raises ConnectionError: refused, reset, or not HTTP.
        """
        origin, path = _split(self._resolve(url))
        request = _encode(url, path, msgspec.json.encode(update), secret_token)
        try:
            stream = self._take_idle(origin)
            if stream is None:
                host, _, port = origin.partition(":")
                stream = await trio.open_tcp_stream(host, int(port))
            return await self._exchange(origin, stream, request)
        except OSError as error:
            raise ConnectionError(f"Connection failed: {error.strerror or error}") from error
        except trio.BrokenResourceError as error:
            raise ConnectionError("Webhook connection closed") from error

    def _take_idle(self, origin: str) -> trio.SocketStream | None:
        """An open connection to this place; those that the other side has closed meanwhile are thrown away."""
        for index in range(len(self._idle) - 1, -1, -1):
            if self._idle[index][0] == origin:
                stream = self._idle.pop(index)[1]
                if not stream.socket.is_readable():
                    return stream
                stream.socket.close()
        return None

    async def _exchange(self, origin: str, stream: trio.SocketStream, request: bytes) -> _Answer:
        kept = False
        try:
            answer = await _talk(stream, request)
            kept = answer.keep_alive and len(self._idle) < IDLE_CONNECTIONS
            if kept:
                self._idle.append((origin, stream))
            return answer
        finally:
            if not kept:
                stream.socket.close()


class _AnswerParser:
    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.reason = b""
        self.headers: dict[str, str] = {}
        self.answer: _Answer | None = None

    def on_status(self, status: bytes) -> None:
        self.reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_message_complete(self) -> None:
        self.answer = _Answer(
            self.parser.get_status_code(), self.reason.decode("latin-1"), self.headers, self.parser.should_keep_alive()
        )


async def _talk(stream: trio.SocketStream, request: bytes) -> _Answer:
    parser = _AnswerParser()
    await stream.send_all(request)
    data = await stream.receive_some(65536)
    while data:
        try:
            parser.parser.feed_data(data)
        except httptools.HttpParserError:
            raise ConnectionError("Wrong response from the webhook: not HTTP") from None
        if parser.answer is not None:
            return parser.answer
        data = await stream.receive_some(65536)
    raise ConnectionError("Webhook connection closed")


def _encode(url: str, path: str, body: bytes, secret_token: str) -> bytes:
    """The request as the Bot API server words it."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {url.partition('://')[2].partition('/')[0]}",
        *([f"X-Telegram-Bot-Api-Secret-Token: {secret_token}"] if secret_token else []),
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: keep-alive",
        "Accept-Encoding: gzip, deflate",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _split(url: str) -> tuple[str, str]:
    scheme, _, rest = url.partition("://")
    if scheme != "http":
        raise ConnectionError("the fake speaks no TLS: name the plain HTTP address behind it with route_webhooks()")
    host, slash, path = rest.partition("/")
    return (host if ":" in host else f"{host}:80"), slash + path or "/"


def _retry_after(answer: _Answer) -> float:
    value = answer.headers.get("retry-after", "0")
    return min(float(value), LONGEST_RETRY_AFTER_SECONDS) if value.isdigit() else 0.0
