"""A fake Bot API for each test, and a bot that calls it."""

from collections.abc import AsyncIterator

import pytest

from tests.fakes.bot_api import FakeBotApi
from tests.fakes.bot_client import Client, client_of


@pytest.fixture
async def api() -> AsyncIterator[FakeBotApi]:
    async with FakeBotApi.serve() as api:
        yield api


@pytest.fixture
async def bot(api: FakeBotApi) -> AsyncIterator[Client]:
    async with client_of(api) as client:
        yield client
