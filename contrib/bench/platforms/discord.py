"""Discord, by the gateway, in direct messages."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from contrib.bench.platforms import Channels, Platform, Reply, Seen
from contrib.bench.processes import write_token
from tests.fakes.discord_platform import CREATE_MESSAGE, FakeDiscord
from tests.fakes.discord_platform.rest.routing import Call

CHANNELS_AT_FIRST = 1000
CHANNELS_IN_GUILD = 5
MOST_AT_ONCE = 18
"""The driver sends twenty at once and then 28 in a second (gatewayd/channels/discord/api.py), and may show that it types."""


def discord_account(directory: Path, discord: FakeDiscord, *more: str) -> str:
    """One account's table; ``more`` are further lines of TOML."""
    lines = [
        "[channels.discord.accounts.bench]",
        f'token = {{ file = "{write_token(directory, "bot", discord.token)}" }}',
        f'api_base = "{discord.api_url}"',
        "commands = false",
        *more,
    ]
    return "\n".join(lines) + "\n"


def rest_seconds(replies: int, *, in_a_chat: int) -> float:
    """See ``Platform``. Of a chat there is no limit here."""
    return 0.5 + replies / 28


class Discord:
    alone_in = MOST_AT_ONCE
    most_at_once: int | None = MOST_AT_ONCE

    def __init__(self, discord: FakeDiscord) -> None:
        self._discord = discord
        self._people: list[tuple[str, str]] = []
        self._chats: dict[str, int] = {}

    def rest_seconds(self, replies: int, *, in_a_chat: int) -> float:
        return rest_seconds(replies, in_a_chat=in_a_chat)

    def account(self, directory: Path) -> str:
        return discord_account(directory, self._discord, 'dm_policy = "open"', 'allow_from = ["*"]')

    def baseline(self) -> Sequence[str]:
        discord = self._discord
        module = "contrib.bench.baselines.gateway_and_send"
        return [sys.executable, "-m", module, discord.api_url, discord.gateway_url, discord.token]

    async def wait_ready(self) -> None:
        await self._discord.gateway.wait_connected()

    def say(self, chat: int, text: str) -> None:
        while len(self._people) <= chat:
            person = self._discord.add_user(f"user{len(self._people)}")
            place = self._discord.dm(person)
            self._chats[place] = len(self._people)
            self._people.append((person, place))
        self._discord.say(*self._people[chat], text)

    def watch(self, seen: Seen) -> None:
        def look(call: Call) -> None:
            if call.route == CREATE_MESSAGE:
                seen(self._chats[call.ids["channel_id"]], Reply(call.fields["content"], call.at, call.status == 200))

        self._discord.watch(look)


@asynccontextmanager
async def open_discord() -> AsyncIterator[Platform]:
    async with FakeDiscord.serve() as discord:
        discord.limits.rules[CREATE_MESSAGE] = (1000, 1.0)
        yield Discord(discord)


class DiscordChannels:
    """In guilds of ``CHANNELS_IN_GUILD``."""

    def __init__(self, discord: FakeDiscord) -> None:
        self._discord = discord

    def account(self, directory: Path) -> str:
        return discord_account(directory, self._discord, 'groups = ["*"]')

    async def talk(self, channels: int) -> None:
        discord = self._discord
        ada, guild = discord.add_user("ada"), ""
        for number in range(channels):
            if number % CHANNELS_IN_GUILD == 0:
                guild = discord.add_guild(f"guild{number}", members=[ada])
            discord.say(ada, discord.add_channel(guild, f"channel{number}"), f"<@{discord.bot_id}> hello")
            if number % MOST_AT_ONCE == MOST_AT_ONCE - 1:
                await trio.sleep(rest_seconds(MOST_AT_ONCE, in_a_chat=0))
        await discord.wait_until(lambda: len(discord.calls(CREATE_MESSAGE)) >= channels)


@asynccontextmanager
async def open_discord_channels(guilds: int = 0) -> AsyncIterator[Channels]:
    """``guilds`` of ``CHANNELS_AT_FIRST`` are there already, of which the gateway tells at once."""
    async with FakeDiscord.serve() as discord:
        for number in range(guilds):
            guild = discord.add_guild(f"large{number}")
            for channel in range(CHANNELS_AT_FIRST):
                discord.add_channel(guild, f"channel{channel}")
        yield DiscordChannels(discord)
