"""A fake Discord for each test, with a guild, a channel, a person, and a bot."""

from collections.abc import AsyncIterator

import pytest
from msgspec import Struct

from tests.fakes.discord_platform import FakeDiscord
from tests.fakes.discord_tests.bot import Bot, bot_of


class Place(Struct):
    """Ids."""

    guild: str
    channel: str
    ada: str


@pytest.fixture
async def discord() -> AsyncIterator[FakeDiscord]:
    async with FakeDiscord.serve() as discord:
        yield discord


@pytest.fixture
async def place(discord: FakeDiscord) -> Place:
    ada = discord.add_user("ada")
    guild = discord.add_guild("Home", members=[ada])
    return Place(guild, discord.add_channel(guild, "general"), ada)


@pytest.fixture
async def bot(discord: FakeDiscord) -> AsyncIterator[Bot]:
    async with bot_of(discord) as bot:
        yield bot
