"""A client that calls the fake Bot API as a bot does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from tests.fakes.bot_api import FakeBotApi, Json, make_supergroup

ALICE = 4711
FORUM = make_supergroup(-1001234567890, forum=True)
OTHER_POLL = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"


class Client:
    """Calls methods as a bot does."""

    def __init__(self, api: FakeBotApi, http: httpx2.AsyncClient) -> None:
        self.base = f"{api.url}/bot{api.token}"
        self.http = http

    async def call(self, method: str, **params: Any) -> Json:
        """By JSON body; the whole answer."""
        answer = await self.http.post(f"{self.base}/{method}", json=params)
        body: Json = answer.json()
        assert answer.status_code == (200 if body["ok"] else body["error_code"])
        return body

    async def ok(self, method: str, **params: Any) -> Any:
        body = await self.call(method, **params)
        assert body["ok"], body
        return body["result"]

    async def refused(self, method: str, **params: Any) -> tuple[int, str]:
        body = await self.call(method, **params)
        assert not body["ok"], body
        return body["error_code"], body["description"]


@asynccontextmanager
async def client_of(api: FakeBotApi) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(timeout=None) as http:
        yield Client(api, http)
