from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from gatewayd.channels.telegram import PLUGIN
from gatewayd.model.message.envelope import Peer
from gatewayd.ports.channel import AccountConfig
from gatewayd.testing.channel_contract import Button, ChannelContract, Harness, SendFailure, Shown
from tests.channels.telegram.rig import account_of
from tests.fakes.bot_api import FakeBotApi, Json
from tests.fakes.bot_api.methods.keyboards import buttons_of

ALICE = 4711


class TelegramHarness:
    def __init__(self, api: FakeBotApi) -> None:
        self._api = api
        self._produced = 0
        self._presses: list[Json] = []
        self.account: AccountConfig = account_of(api)
        self.peer = Peer("dm", str(ALICE))
        self.unknown_message = "999999"
        api.add_chat(ALICE)

    @property
    def failures(self) -> Mapping[SendFailure, Callable[[], Awaitable[None]]]:
        return {
            "outage": self._outage,
            "rate limit": self._rate_limit,
            "rejected": self._rejected,
            "cut": self._cut,
            "revoked": self._revoked,
        }

    async def _outage(self) -> None:
        self._api.fail_next("sendMessage", 500, "Internal Server Error")

    async def _rate_limit(self) -> None:
        self._api.fail_next("sendMessage", 429, "Too Many Requests: retry after 7", parameters={"retry_after": 7})

    async def _rejected(self) -> None:
        self._api.fail_next("sendMessage", 403, "Forbidden: bot was blocked by the user")

    async def _cut(self) -> None:
        self._api.drop_next("sendMessage", processed=True)

    async def _revoked(self) -> None:
        self._api.fail_next("sendMessage", 401, "Unauthorized")

    async def produce(self, text: str) -> None:
        self._produced += 1
        self._api.user_sends(ALICE, text)

    async def acknowledged(self) -> int:
        return self._produced - self._api.pending_update_count

    async def wait_acknowledged(self, count: int) -> None:
        await self._api.wait_delivered()
        assert await self.acknowledged() >= count

    async def received(self) -> Sequence[str]:
        return self._api.texts(ALICE)

    async def shown(self) -> Sequence[Shown]:
        messages = [message for message in self._api.chat(ALICE).visible(None) if message["from"]["is_bot"]]
        return [
            Shown(
                str(message["message_id"]),
                message["text"],
                tuple(Button(button["text"], button["callback_data"]) for row in buttons_of(message) for button in row),
            )
            for message in messages
        ]

    async def press(self, message_id: str, data: str) -> None:
        self._presses.append(self._api.user_presses(ALICE, int(message_id), data))

    async def wait_answers(self, count: int) -> Sequence[str]:
        return [(await self._api.wait_answer(press))["text"] for press in self._presses[:count]]


class TestTelegramContract(ChannelContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.channels.telegram"

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        return self._serve()

    @asynccontextmanager
    async def _serve(self) -> AsyncIterator[Harness]:
        async with FakeBotApi.serve() as api:
            yield TelegramHarness(api)
