"""A fake Slack for each test, and a client of it."""

from collections.abc import AsyncIterator

import pytest

from tests.fakes.slack_platform import FakeSlack
from tests.fakes.slack_tests.client import Client, client_of


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack.serve() as slack:
        yield slack


@pytest.fixture
async def client(slack: FakeSlack) -> AsyncIterator[Client]:
    async with client_of(slack) as client:
        yield client


@pytest.fixture
async def alice(slack: FakeSlack) -> str:
    return slack.add_user("alice")


@pytest.fixture
async def general(slack: FakeSlack, alice: str) -> str:
    """A public channel with Alice and the bot."""
    return slack.add_channel("general", [alice])
