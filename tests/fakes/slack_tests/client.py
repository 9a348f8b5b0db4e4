"""A minimal client of Slack for the fake's own tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec

from gatewayd.kit.network import websocket
from tests.fakes.slack_platform import FakeSlack, Json


class Client:
    """Calls the Web API with the bot token, and opens WebSockets with the app token."""

    def __init__(self, slack: FakeSlack, http: httpx2.AsyncClient) -> None:
        self._slack = slack
        self._http = http

    async def call(self, method: str, /, **params: Any) -> Json:
        """A call with a JSON body; the answer, whatever it says."""
        answer: Json = (await self.ask(method, json=params)).json()
        return answer

    async def ask(self, method: str, /, token: str | None = None, **request: Any) -> httpx2.Response:
        """A call with any body; the HTTP answer."""
        headers = {"Authorization": f"Bearer {token or self._slack.bot_token}"}
        return await self._http.post(f"{self._slack.api_base}/{method}", headers=headers, **request)

    async def get(self, url: str, token: str | None) -> httpx2.Response:
        return await self._http.get(url, headers={"Authorization": f"Bearer {token}"} if token else {})

    async def post(self, url: str, **request: Any) -> httpx2.Response:
        return await self._http.post(url, **request)

    @asynccontextmanager
    async def socket(self) -> AsyncIterator["Socket"]:
        """An open connection of Socket Mode."""
        answer = (await self.ask("apps.connections.open", token=self._slack.app_token)).json()
        async with websocket.connect(self._http, answer["url"]) as connection:
            yield Socket(connection)


class Socket:
    """Frames as JSON."""

    def __init__(self, connection: websocket.WebSocket) -> None:
        self._connection = connection

    async def receive(self) -> Json:
        return msgspec.json.decode(await self._connection.receive(), type=Json)

    async def acknowledge(self, envelope: Json, payload: Json | None = None) -> None:
        answer: Json = {"envelope_id": envelope["envelope_id"]}
        await self._connection.send(msgspec.json.encode(answer | ({"payload": payload} if payload else {})).decode())


@asynccontextmanager
async def client_of(slack: FakeSlack) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(timeout=None, trust_env=False, verify=False) as http:
        yield Client(slack, http)
