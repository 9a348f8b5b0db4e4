"""Replies of agents through the real hub to the fake Discord: whole, in order, once, whatever it limits, and over a crash."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import cast

import anyio
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.channels.discord import PLUGIN
from gatewayd.channels.discord.channel import open_discord
from gatewayd.channels.discord.settings import DiscordSettings
from gatewayd.hub.accounts.manager import ChannelManager
from gatewayd.hub.agents.pool import AgentPool
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.events import EventLog
from gatewayd.hub.inbox.backlog import Backlog
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.kit.http import create_client
from gatewayd.model.config import AccountSettings, AgentFrame, AgentSettings, GatewayConfig
from gatewayd.model.secret import Secret
from gatewayd.ports.agent import TextDelta, Turn
from gatewayd.stores.sqlite import run_inline
from gatewayd.wiring import run_hub, wire
from tests.channels.discord.reader import plain_of
from tests.fakes.discord_platform import CREATE_MESSAGE, FakeDiscord
from tests.hub.house import OPEN, NoStalls, Script, ScriptedAgents, ScriptedPool, now
from tests.stores.opened_before import open_store

pytestmark = pytest.mark.slow

PARAGRAPHS = [f"Paragraph {number}. " + f"word{number} " * 90 for number in range(30)]
LONG = "\n\n".join(paragraph.strip() for paragraph in PARAGRAPHS)
EDIT_MESSAGE = "PATCH /channels/{channel_id}/messages/{message_id}"


class Town:
    """A hub with one Discord account. ``alice`` is in the channel ``general``."""

    def __init__(self, discord: FakeDiscord) -> None:
        self.discord = discord
        self.alice = discord.add_user("alice")
        self.general = discord.add_channel(discord.add_guild("Home", members=[self.alice]), "general")
        self.others = [discord.add_channel(next(iter(discord._world.guilds)), f"other{number}") for number in range(30)]
        discord.session_starts.max_concurrency = 16

    def ask(self, channel: str | None = None) -> str:
        """The channel of a question."""
        self.discord.say(self.alice, channel or self.general, f"<@{self.discord.bot_id}> go")
        return channel or self.general

    def shown(self, channel: str) -> str:
        """The words of the replies, in order."""
        return words("\n".join(plain_of(text) for text in self.discord.texts(channel)))

    async def wait_shown(self, channel: str, text: str) -> None:
        with trio.fail_after(7200):
            await self.discord.wait_until(lambda: self.shown(channel) == words(text))

    @asynccontextmanager
    async def life(self, state_dir: Path, script: Script, *, growing: bool = False) -> AsyncIterator[None]:
        """The hub, until it is killed."""
        settings = DiscordSettings(token=Secret(self.discord.token), api_base=self.discord.api_url, commands=False)
        frame = replace(OPEN, growing=growing)
        agent = AgentSettings("assistant", AgentFrame(), AgentFrame())
        config = GatewayConfig(agents=(agent,), accounts=(AccountSettings("discord", "main", frame, settings),))
        async with (
            create_client() as http,
            open_store(state_dir, now=now, run_blocking=run_inline) as store,
            anyio.create_task_group() as tasks,
        ):
            configured = Configured(config, {PLUGIN.id: PLUGIN})
            context = Context(store, EventLog(store, now=now, keep=lambda: 1000), now, Random(1), str)

            def accounts(outbox: Outbox, backlog: Backlog) -> ChannelManager:
                return ChannelManager(context, configured, lambda plugin: open_discord, outbox=outbox, backlog=backlog, http=http)

            pool = cast(AgentPool, ScriptedPool(ScriptedAgents(script)))
            gateway = wire(context, configured, agents=pool, accounts=accounts, stalls=NoStalls())
            async with run_hub(gateway, parent=tasks):
                await self.discord.gateway.wait_connected()
                yield
                tasks.cancel_scope.cancel()


@asynccontextmanager
async def open_town() -> AsyncIterator[Town]:
    async with FakeDiscord.serve(now=now) as discord:
        yield Town(discord)


def words(text: str) -> str:
    return " ".join(text.split())


async def tells_long(turn: Turn) -> str:
    return LONG


async def writes_long(turn: Turn) -> str:
    """Writes for some minutes."""
    for at, paragraph in enumerate(LONG.split("\n\n")):
        await turn.emit(TextDelta(f"\n\n{paragraph}" if at else paragraph))
        await anyio.sleep(10)
    return LONG


@pytest.mark.parametrize("scope", ["user", "global", "shared"])
async def test_a_long_reply_over_a_limit_of_149_seconds(scope: str, tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town() as town, town.life(tmp_path, tells_long):
        town.ask()
        await town.discord.wait_texts(town.general, 2)
        town.discord.limit_next(CREATE_MESSAGE, 149.0, scope=scope)
        began = trio.current_time()
        await town.wait_shown(town.general, LONG)
        assert trio.current_time() - began >= 149
        assert len(town.discord.texts(town.general)) > 5
        assert town.discord.statuses(CREATE_MESSAGE).count(429) == 1, "it waits as long as Discord says"


@pytest.mark.parametrize("route", [CREATE_MESSAGE, EDIT_MESSAGE])
@pytest.mark.parametrize("scope", ["user", "global"])
async def test_a_growing_reply_over_a_limit_of_149_seconds(
    route: str, scope: str, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_town() as town, town.life(tmp_path, writes_long, growing=True):
        town.ask()
        await town.discord.wait_until(lambda: len(town.shown(town.general)) > 1000)
        town.discord.limit_next(route, 149.0, scope=scope)
        await town.wait_shown(town.general, LONG)
        await trio.sleep(60)
        assert town.shown(town.general) == words(LONG)


async def test_thirty_replies_at_once_share_the_limits(tmp_path: Path, autojump_clock: MockClock) -> None:
    text = "\n\n".join(LONG.split("\n\n")[:2])

    async def writes(turn: Turn) -> str:
        for at in range(0, len(text), 200):
            await turn.emit(TextDelta(text[at : at + 200]))
            await anyio.sleep(1)
        return text

    async with open_town() as town, town.life(tmp_path, writes, growing=True):
        for channel in town.others:
            town.ask(channel)
        with trio.fail_after(120):
            for channel in town.others:
                await town.wait_shown(channel, text)
        assert [len(town.discord.texts(channel)) for channel in town.others] == [1] * 30
        assert town.discord.invalid.count == 0


async def test_a_crash_in_the_middle_of_a_reply_that_grows(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town() as town:
        async with town.life(tmp_path, writes_long, growing=True):
            town.ask()
            await town.discord.wait_until(lambda: len(town.shown(town.general)) > 1000)
        async with town.life(tmp_path, writes_long, growing=True):
            await town.wait_shown(town.general, LONG)
            await trio.sleep(60)
            assert town.shown(town.general) == words(LONG)


@pytest.mark.parametrize("pause", [1.0, 400.0], ids=["within the time of the nonce", "after it"])
async def test_a_crash_while_a_reply_begins(pause: float, tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town() as town:
        async with town.life(tmp_path, tells_long):
            town.discord.cut_next(CREATE_MESSAGE, after_effect=True)
            town.discord.hang_next(CREATE_MESSAGE)
            town.ask()
            await trio.sleep(5)
        town.discord.behave()
        await trio.sleep(pause)
        async with town.life(tmp_path, tells_long):
            await town.wait_shown(town.general, LONG)
            await trio.sleep(60)
            assert town.shown(town.general) == words(LONG)


async def test_a_crash_before_a_reply(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town() as town:
        async with town.life(tmp_path, writes_long):
            town.ask()
            await trio.sleep(20)
            assert town.discord.texts(town.general) == []
        async with town.life(tmp_path, writes_long):
            await town.wait_shown(town.general, LONG)
            await trio.sleep(60)
            assert town.shown(town.general) == words(LONG)
