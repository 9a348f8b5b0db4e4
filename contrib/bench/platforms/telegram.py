"""Telegram, polled."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from contrib.bench.platforms import Platform, Reply, Seen
from contrib.bench.processes import telegram_account, write_token
from tests.fakes.bot_api import FakeBotApi
from tests.fakes.bot_api.bot import Call

FIRST_CHAT = 10_000


class Telegram:
    alone_in = 1
    most_at_once: int | None = None

    def __init__(self, api: FakeBotApi) -> None:
        self._api = api

    def rest_seconds(self, replies: int, *, in_a_chat: int) -> float:
        return 0.0

    def account(self, directory: Path) -> str:
        token = write_token(directory, "bench", self._api.token)
        return telegram_account("bench", token, self._api.url, 'dm_policy = "open"', 'allow_from = ["*"]')

    def baseline(self) -> Sequence[str]:
        return [sys.executable, "-m", "contrib.bench.baselines.poll_and_send", self._api.url, self._api.token]

    async def wait_ready(self) -> None:
        """Updates wait for who polls."""

    def say(self, chat: int, text: str) -> None:
        self._api.user_sends(FIRST_CHAT + chat, text)

    def watch(self, seen: Seen) -> None:
        def look(call: Call) -> None:
            if call.method == "sendMessage":
                seen(call.params["chat_id"] - FIRST_CHAT, Reply(call.params["text"], call.at, call.status == 200))

        self._api.watch(look)


@asynccontextmanager
async def open_telegram() -> AsyncIterator[Platform]:
    async with FakeBotApi.serve() as api:
        yield Telegram(api)
