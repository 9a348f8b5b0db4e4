"""Replies of agents through the real hub to the fake Slack: whole, in order, once, whatever Slack limits, and over a crash."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Literal, cast

import anyio
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.channels.slack import PLUGIN
from gatewayd.channels.slack.channel import open_slack
from gatewayd.channels.slack.settings import SlackSettings
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
from tests.fakes.slack_platform import FakeSlack, Json
from tests.hub.house import OPEN, NoStalls, Script, ScriptedAgents, ScriptedPool, now
from tests.stores.opened_before import open_store

pytestmark = pytest.mark.slow

PARAGRAPHS = [f"Paragraph {number}. " + f"word{number} " * 90 for number in range(30)]
LONG = "\n\n".join(paragraph.strip() for paragraph in PARAGRAPHS)


class Town:
    """A hub with one Slack account. ``alice`` is in the channel ``general``."""

    def __init__(self, slack: FakeSlack) -> None:
        self.slack = slack
        self.alice = slack.add_user("alice")
        self.general = slack.add_channel("general", [self.alice])

    def ask(self, text: str = "go") -> str:
        """The thread of a question."""
        return self.slack.say(self.alice, self.general, f"<@{self.slack.bot_user}> {text}")

    def replies(self, thread: str) -> list[Json]:
        return [message for message in self.slack.messages(self.general, thread=thread) if message.get("bot_id")]

    def shown(self, thread: str) -> str:
        """The words of the replies in a thread, in order."""
        return words("\n".join(message["text"] for message in self.replies(thread)))

    async def wait_shown(self, thread: str, text: str) -> None:
        with trio.fail_after(7200):
            await self.slack.wait_until(
                lambda: self.shown(thread) == words(text) and not any(map(is_stream, self.replies(thread)))
            )

    @asynccontextmanager
    async def life(
        self, state_dir: Path, script: Script, *, growing: bool = False, streaming: bool = False
    ) -> AsyncIterator[None]:
        """The hub, until it is killed."""
        settings = SlackSettings(
            bot_token=Secret(self.slack.bot_token),
            app_token=Secret(self.slack.app_token),
            api_base=self.slack.api_base,
            streaming=streaming,
        )
        frame = replace(OPEN, growing=growing)
        agent = AgentSettings("assistant", AgentFrame(), AgentFrame())
        config = GatewayConfig(agents=(agent,), accounts=(AccountSettings("slack", "main", frame, settings),))
        async with (
            create_client() as http,
            open_store(state_dir, now=now, run_blocking=run_inline) as store,
            anyio.create_task_group() as tasks,
        ):
            configured = Configured(config, {PLUGIN.id: PLUGIN})
            context = Context(store, EventLog(store, now=now, keep=lambda: 1000), now, Random(1), str)

            def accounts(outbox: Outbox, backlog: Backlog) -> ChannelManager:
                return ChannelManager(context, configured, lambda plugin: open_slack, outbox=outbox, backlog=backlog, http=http)

            pool = cast(AgentPool, ScriptedPool(ScriptedAgents(script)))
            gateway = wire(context, configured, agents=pool, accounts=accounts, stalls=NoStalls())
            async with run_hub(gateway, parent=tasks):
                await self.slack.wait_connections()
                yield
                tasks.cancel_scope.cancel()


@asynccontextmanager
async def open_town() -> AsyncIterator[Town]:
    async with FakeSlack.serve(now=now) as slack:
        yield Town(slack)


def words(text: str) -> str:
    return " ".join(text.split())


def is_stream(message: Json) -> bool:
    return message.get("streaming_state") == "in_progress"


async def tells_long(turn: Turn) -> str:
    return LONG


async def writes_long(turn: Turn) -> str:
    """Writes for some minutes."""
    for at, paragraph in enumerate(LONG.split("\n\n")):
        await turn.emit(TextDelta(f"\n\n{paragraph}" if at else paragraph))
        await anyio.sleep(10)
    return LONG


async def test_a_long_reply_over_a_limit_of_149_seconds(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town() as town, town.life(tmp_path, tells_long):
        thread = town.ask()
        await town.slack.wait_until(lambda: len(town.replies(thread)) >= 2)
        town.slack.rate_limit("chat.postMessage", 149)
        began = trio.current_time()
        await town.wait_shown(thread, LONG)
        assert trio.current_time() - began >= 149
        assert len(town.replies(thread)) > 3
        asked = [call.at - began for call in town.slack.log if call.method == "chat.postMessage" and call.at > began]
        assert len([at for at in asked if at < 149]) <= 1, "it waits as long as Slack says"


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("method", ["*", "chat.update", "chat.appendStream"])
async def test_a_growing_reply_over_a_limit_of_149_seconds(
    method: str, streaming: bool, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_town() as town, town.life(tmp_path, writes_long, growing=True, streaming=streaming):
        thread = town.ask()
        await town.slack.wait_until(lambda: len(town.shown(thread)) > 1000)
        town.slack.rate_limit(method, 149)
        await town.wait_shown(thread, LONG)
        await trio.sleep(60)
        assert town.shown(thread) == words(LONG)
        assert bool(town.slack.calls("chat.startStream")) == streaming


@pytest.mark.parametrize("streaming", [False, True])
async def test_thirty_replies_at_once_share_the_limits(streaming: bool, tmp_path: Path, autojump_clock: MockClock) -> None:
    text = "\n\n".join(LONG.split("\n\n")[:3])

    async def writes(turn: Turn) -> str:
        for at in range(0, len(text), 200):
            await turn.emit(TextDelta(text[at : at + 200]))
            await anyio.sleep(1)
        return text

    async with open_town() as town, town.life(tmp_path, writes, growing=True, streaming=streaming):
        threads = [town.ask(str(at)) for at in range(30)]
        with trio.fail_after(120):
            for thread in threads:
                await town.wait_shown(thread, text)
        assert [len(town.replies(thread)) for thread in threads] == [1] * 30


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_crash_in_the_middle_of_a_reply_that_grows(streaming: bool, tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town() as town:
        async with town.life(tmp_path, writes_long, growing=True, streaming=streaming):
            thread = town.ask()
            await town.slack.wait_until(lambda: len(town.shown(thread)) > 1000)
        async with town.life(tmp_path, writes_long, growing=True, streaming=streaming):
            await town.wait_shown(thread, LONG)
            await trio.sleep(60)
            assert town.shown(thread) == words(LONG)


@pytest.mark.parametrize("streaming", [False, True])
async def test_the_beginning_of_a_reply_is_cut_and_found(streaming: bool, tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town() as town, town.life(tmp_path, writes_long, growing=True, streaming=streaming):
        method = "chat.startStream" if streaming else "chat.postMessage"
        town.slack.fault("drop_after", method)
        thread = town.ask()
        await town.wait_shown(thread, LONG)
        assert len(town.slack.calls(method)) == (1 if streaming else len(town.replies(thread)))


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("fault", ["hang", "hang_after"])
async def test_a_crash_while_a_reply_begins(
    fault: Literal["hang", "hang_after"], streaming: bool, tmp_path: Path, autojump_clock: MockClock
) -> None:
    method = "chat.startStream" if streaming else "chat.postMessage"
    async with open_town() as town:
        async with town.life(tmp_path, writes_long, growing=True, streaming=streaming):
            town.slack.fault(fault, method)
            thread = town.ask()
            await town.slack.wait_call(method)
            await trio.sleep(1)
        async with town.life(tmp_path, writes_long, growing=True, streaming=streaming):
            await town.wait_shown(thread, LONG)
            await trio.sleep(60)
            assert town.shown(thread) == words(LONG)


@pytest.mark.parametrize("fault", ["drop_after", "hang_after"])
@pytest.mark.parametrize("method", ["chat.update", "chat.stopStream"])
async def test_an_end_that_is_cut_costs_no_connection(
    method: str, fault: Literal["drop_after", "hang_after"], tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_town() as town, town.life(tmp_path, writes_long, growing=True, streaming=True):
        thread = town.ask()
        await town.slack.wait_until(lambda: len(town.shown(thread)) > 1000)
        connections = len(town.slack.calls("apps.connections.open"))
        town.slack.fault(fault, method, times=3)
        await town.wait_shown(thread, LONG)
        await trio.sleep(60)
        assert town.shown(thread) == words(LONG)
        assert len(town.slack.calls("apps.connections.open")) == connections
