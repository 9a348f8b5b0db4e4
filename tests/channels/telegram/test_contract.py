"""Telegram passes the contract, polled and by webhook. Its other side is the fake Bot API, over real sockets."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

import trio
from msgspec.structs import replace

from gatewayd.channels.telegram import PLUGIN
from gatewayd.model.message.envelope import Peer
from gatewayd.ports.channel import AccountConfig, WebhookRequest
from gatewayd.testing.channel_contract import Account, Button, ChannelContract, Harness, Place, SendFailure, Shown
from tests.channels.telegram.rig import WEBHOOK_URL, account_of
from tests.fakes.bot_api import FakeBotApi, Json
from tests.fakes.bot_api import updates as shapes
from tests.fakes.bot_api.http_server import Request, Response, listen, port_of, serve_http
from tests.fakes.bot_api.methods.keyboards import buttons_of

ALICE, BOB, OPS, TOPIC = 4711, 4712, -1001234567890, 7
HEADER = "x-telegram-bot-api-secret-token"
SENDS = ("sendMessage", "editMessageText")


class TelegramHarness:
    people = (str(ALICE), str(BOB))
    peer = Peer("dm", str(ALICE))
    unknown_message = "999999"
    places: Mapping[Place, Peer] = {
        "other": Peer("dm", str(BOB)),
        "group": Peer("group", str(OPS)),
        "thread": Peer("group", str(OPS), str(TOPIC)),
    }

    def __init__(self, api: FakeBotApi, mode: str = "poll") -> None:
        self.api = api
        self.account: AccountConfig = account_of(api, mode=mode)
        self._produced = 0
        self._latest: Json = {}
        self._presses: list[Json] = []
        self._users = {ALICE: shapes.make_user(ALICE, "Alice"), BOB: shapes.make_user(BOB, "Bob", "bob")}
        self._forum = shapes.make_supergroup(OPS, forum=True)
        for chat in (*map(shapes.make_private_chat, self._users.values()), self._forum):
            api.add_chat(chat)

    @property
    def failures(self) -> Mapping[SendFailure, Callable[[], Awaitable[None]]]:
        token = self.api.token
        return {
            # A server may repeat what it was asked for, and that has the token in it.
            "outage": self._refuse(500, f"Internal Server Error: /bot{token}/sendMessage"),
            "rate limit": self._refuse(429, "Too Many Requests: retry after 7", parameters={"retry_after": 7}),
            "rejected": self._refuse(403, f"Forbidden: bot was blocked by the user, {token}"),
            "revoked": self._refuse(401, "Unauthorized"),
            "cut": self._cut,
            "half": self._half,
        }

    def _refuse(self, code: int, description: str, parameters: Json | None = None) -> Callable[[], Awaitable[None]]:
        async def arrange() -> None:
            for method in SENDS:
                self.api.fail_next(method, code, description, parameters=parameters)

        return arrange

    async def _cut(self) -> None:
        for method in SENDS:
            self.api.drop_next(method, processed=True)

    async def _half(self) -> None:
        """The server counts otherwise than we do, so that the driver halves the text; and it takes one half."""
        self.api.fail_next("sendMessage", 400, "Bad Request: message is too long")
        answered: list[Json] = []

        def is_second(values: Json) -> bool:
            answered.append(values)
            return len(answered) == 2

        self.api.fail_next("sendMessage", 403, "Forbidden: bot was blocked by the user", when=is_second)

    async def produce(self, text: str) -> None:
        self._note(self.api.user_sends(self._chat(self.peer), text))

    async def write(self, text: str, *, peer: Peer, sender: str, mentions: bool = False) -> None:
        text = f"@{self.api.user['username']} {text}" if mentions else text
        thread = None if peer.thread is None else int(peer.thread)
        self._note(self.api.user_sends(self._chat(peer), text, user=self._users[int(sender)], thread=thread))

    async def correct(self, text: str) -> None:
        self._note(self.api.user_edits(self._chat(self.peer), self._latest["message"]["message_id"], text))

    async def produce_file(self, name: str, content: bytes) -> None:
        self._note(self.api.user_sends_document(self._chat(self.peer), name, content))

    async def redeliver(self) -> None:
        self._produced += 1
        self.api.redeliver(self._latest)

    def _note(self, update: Json) -> None:
        self._produced += 1
        self._latest = update

    def _chat(self, peer: Peer) -> Json:
        return self._forum if int(peer.id) == OPS else shapes.make_private_chat(self._users[int(peer.id)])

    async def acknowledged(self) -> int:
        return self._produced - self.api.pending_update_count

    async def wait_acknowledged(self, count: int) -> None:
        await self.api.wait_delivered()
        assert await self.acknowledged() >= count

    async def received(self) -> Sequence[str]:
        return await self.received_in(self.peer)

    async def received_in(self, peer: Peer) -> Sequence[str]:
        thread = None if peer.thread is None else int(peer.thread)
        return [message["text"] for message in self._ours(peer) if message.get("message_thread_id") == thread]

    async def shown(self) -> Sequence[Shown]:
        return [
            Shown(
                str(message["message_id"]),
                message["text"],
                tuple(Button(button["text"], button["callback_data"]) for row in buttons_of(message) for button in row),
                str(message["reply_to_message"]["message_id"]) if "reply_to_message" in message else None,
            )
            for message in self._ours(self.peer)
        ]

    def _ours(self, peer: Peer) -> list[Json]:
        return [message for message in self.api.chat(int(peer.id)).visible(None) if message["from"]["is_bot"]]

    async def press(self, message_id: str, data: str) -> None:
        self._presses.append(self.api.user_presses(ALICE, int(message_id), data))

    async def wait_answers(self, count: int) -> Sequence[str]:
        return [(await self.api.wait_answer(press))["text"] for press in self._presses[:count]]

    async def stall(self) -> None:
        self.api.hang_next("sendMessage", times=None, when=lambda values: values["chat_id"] == ALICE)


class PolledHarness(TelegramHarness):
    async def cut(self) -> None:
        self.api.drop_next("getUpdates", processed=False, times=None)
        self.api.drop_poll()

    async def heal(self) -> None:
        self.api.behave()

    async def go_silent(self) -> None:
        self.api.hang_next("*", times=None)


EXCUSES = {
    "pace": "Telegram names no limit of the whole bot; the driver infers one from two chats (test_send.py)",
    "reports": "a bot is not told what became of its messages",
}


class TestTelegramContract(ChannelContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.channels.telegram"
    excuses: ClassVar[Mapping[str, str]] = {**EXCUSES, "pings": "it is polled", "webhooks": "it is polled"}

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        return self._serve()

    @asynccontextmanager
    async def _serve(self) -> AsyncIterator[Harness]:
        async with FakeBotApi.serve() as api:
            yield PolledHarness(api)


class WebhookHarness(TelegramHarness):
    """Telegram posts to us."""

    def __init__(self, api: FakeBotApi) -> None:
        super().__init__(api, mode="webhook")
        self._account: Account | None = None

    def reach(self, account: Account | None) -> None:
        self._account = account

    async def genuine(self, text: str) -> WebhookRequest:
        assert self._account is not None
        [secret] = [value for key, value in self._account.services.kept.items() if key.startswith("webhook_secret.")]
        message = shapes.make_message(99, self._chat(self.peer), 1, sender=self._users[ALICE], content=shapes.text_content(text))
        headers = {"content-type": "application/json", HEADER: secret}
        return WebhookRequest("POST", headers, "", json.dumps({"update_id": 99, "message": message}).encode())

    def forged(self, genuine: WebhookRequest) -> Sequence[WebhookRequest]:
        without = {"content-type": "application/json"}
        return [replace(genuine, headers=headers) for headers in (without, {**without, HEADER: "guessed"})]

    async def answer(self, request: Request) -> Response | None:
        """The daemon's HTTP server."""
        if self._account is None:
            return Response(503, b"")
        reply = await self._account.webhook(WebhookRequest(request.method, request.headers, request.query, request.body))
        return Response(reply.status, reply.body, reply.content_type)


class TestTelegramWebhookContract(ChannelContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.channels.telegram"
    excuses: ClassVar[Mapping[str, str]] = {
        **EXCUSES,
        "pings": "Telegram calls us",
        "breaks": "Telegram calls us",
        "silence": "Telegram calls us, and is silent while nobody writes",
    }

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        return self._serve()

    @asynccontextmanager
    async def _serve(self) -> AsyncIterator[Harness]:
        listener = await listen(0)
        async with trio.open_nursery() as nursery, FakeBotApi.serve() as api:
            harness = WebhookHarness(api)
            api.route_webhooks(WEBHOOK_URL, f"http://127.0.0.1:{port_of(listener)}/")
            nursery.start_soon(serve_http, listener, harness.answer)
            yield harness
            nursery.cancel_scope.cancel()
