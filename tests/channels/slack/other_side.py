"""The other side of the Web API as a function from requests to responses."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.settings import PUBLIC_API, SlackSettings
from gatewayd.model.secret import Secret
from tests.channels.slack.test_settings import APP, BOT


class Other:
    """The other side: what it was asked, and what it answers next."""

    def __init__(self, *answers: httpx2.Response | Exception, api_base: str = PUBLIC_API) -> None:
        self.requests: list[httpx2.Request] = []
        self.answers = list(answers)
        self.http = httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))
        self.api = SlackApi(self.http, SlackSettings(bot_token=Secret(BOT), app_token=Secret(APP), api_base=api_base))

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else ok()
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer.status_code, headers=answer.headers, content=in_pieces(answer.content))


async def in_pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


def ok(**fields: Any) -> httpx2.Response:
    return httpx2.Response(200, json={"ok": True, **fields})


def refused(error: str, status: int = 200, headers: Mapping[str, str] | None = None, **fields: Any) -> httpx2.Response:
    return httpx2.Response(status, json={"ok": False, "error": error, **fields}, headers=headers)
