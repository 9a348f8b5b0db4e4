"""Replies that grow in their message: on the real accounts and the loopback, over crashes, and with calls that fail."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Literal, cast

import anyio
import httpx2
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.channels.loopback import PLUGIN
from gatewayd.channels.loopback.channel import open_loopback
from gatewayd.channels.loopback.platform import LoopbackPlatform, failing, hanging, platform_of, taking
from gatewayd.channels.loopback.settings import LoopbackSettings
from gatewayd.hub.accounts.manager import ChannelManager
from gatewayd.hub.agents.pool import AgentPool
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.events import EventLog
from gatewayd.hub.gateway import Gateway
from gatewayd.hub.inbox.backlog import Backlog
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.hub.turns.outcome import SORRY_FAILED, SORRY_LOST, SORRY_SLOW, STOPPED
from gatewayd.model.config import AccountSettings, AgentFrame, AgentSettings, GatewayConfig, SessionsSection
from gatewayd.model.errors import OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.payload import Draft, EditText, RichText, SendText
from gatewayd.ports.agent import Notice, TextDelta, Turn
from gatewayd.ports.store import InboundRow, OutboundRow
from gatewayd.stores.sqlite import run_inline
from gatewayd.wiring import run_hub, wire
from tests.hub.house import OPEN, NoStalls, Script, ScriptedAgents, ScriptedPool, now
from tests.stores.opened_before import every_outbound, open_store

BEGINNING = "It was a dark and stormy night; the rain fell in torrents"
MIDDLE = f"{BEGINNING}, except at occasional intervals"
WHOLE = f"{MIDDLE}, when it was checked by a violent gust of wind."
GROWING = replace(OPEN, growing=True)


class Town:
    """A hub whose accounts are real, with the loopback's platform."""

    def __init__(self, gateway: Gateway, agents: ScriptedAgents) -> None:
        self.gateway = gateway
        self.agents = agents
        self.platform = platform_of()

    async def say(self, text: str) -> InboundRow:
        envelope = await self.platform.say(text)
        row = await self.gateway.context.store.find_inbound("loopback", "main", envelope.event_key)
        assert row is not None
        return row

    async def ended(self, row: InboundRow) -> InboundRow:
        found = await self.gateway.backlog.wait_ended(row.id)
        await anyio.sleep(10)
        return found

    async def answered(self, text: str) -> InboundRow:
        return await self.ended(await self.say(text))

    @property
    def shown(self) -> list[str]:
        return [shown.text for shown in self.platform.shown.values()]

    async def rows(self) -> list[OutboundRow]:
        return await every_outbound(self.gateway.context.store)  # type: ignore[arg-type]


@asynccontextmanager
async def open_town(
    state_dir: Path, script: Script, *, on_lost_turn: Literal["rerun", "report"] = "rerun", **changes: object
) -> AsyncIterator[Town]:
    """Leaving it is a crash for whatever still runs; the platform stays as it is."""
    agents = ScriptedAgents(script)
    config = replace(
        GatewayConfig(
            agents=(AgentSettings("assistant", AgentFrame(on_lost_turn=on_lost_turn), AgentFrame()),),
            accounts=(AccountSettings("loopback", "main", GROWING, LoopbackSettings()),),
        ),
        **changes,
    )
    async with (
        httpx2.AsyncClient() as http,
        open_store(state_dir, now=now, run_blocking=run_inline) as store,
        anyio.create_task_group() as tasks,
    ):
        configured = Configured(config, {PLUGIN.id: PLUGIN})
        context = Context(store, EventLog(store, now=now, keep=lambda: 1000), now, Random(1), str)

        def accounts(outbox: Outbox, backlog: Backlog) -> ChannelManager:
            return ChannelManager(context, configured, lambda plugin: open_loopback, outbox=outbox, backlog=backlog, http=http)

        pool = cast(AgentPool, ScriptedPool(agents))
        gateway = wire(context, configured, agents=pool, accounts=accounts, stalls=NoStalls())
        async with run_hub(gateway, parent=tasks):
            yield Town(gateway, agents)
            tasks.cancel_scope.cancel()


async def says(turn: Turn, *texts: str, every: float = 3.0, before: str = "") -> None:
    """Stream up to each of these texts, which begin with each other."""
    for text in texts:
        await turn.emit(TextDelta(text.removeprefix(before)))
        before = text
        await anyio.sleep(every)


async def tells(turn: Turn) -> str:
    await says(turn, BEGINNING, MIDDLE)
    return WHOLE


async def hangs(turn: Turn) -> str:
    await says(turn, BEGINNING, MIDDLE)
    await anyio.sleep_forever()
    raise AssertionError("unreachable")


async def test_a_reply_is_one_message_that_grows(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, tells) as town:
        await town.answered("go")
        assert town.shown == [WHOLE]
        assert list(town.platform.grown) == [("1", MIDDLE)]
        begun, end = await town.rows()
        assert isinstance(begun.payload, SendText)
        assert (begun.payload.body.text, begun.payload.grows, begun.state) == (BEGINNING, True, "sent")
        assert isinstance(end.payload, EditText)
        assert (end.payload.of, end.payload.body.text, end.state) == (begun.id, WHOLE, "sent")
        assert not [signal for signal in town.platform.signals if isinstance(signal, Draft)]


@pytest.mark.parametrize("text", ["short", BEGINNING])
async def test_a_short_or_a_quick_reply_is_sent_once(tmp_path: Path, autojump_clock: MockClock, text: str) -> None:
    async def tell(turn: Turn) -> str:
        await says(turn, text, every=0.5 if text == BEGINNING else 5.0)
        return text

    async with open_town(tmp_path, tell) as town:
        await town.answered("go")
        [row] = await town.rows()
        assert row.payload == SendText(row.payload.peer, RichText(text))


async def test_an_account_that_does_not_want_it_gets_drafts(tmp_path: Path, autojump_clock: MockClock) -> None:
    accounts = (AccountSettings("loopback", "main", OPEN, LoopbackSettings()),)
    async with open_town(tmp_path, tells, accounts=accounts) as town:
        await town.answered("go")
        assert town.platform.texts == [WHOLE]
        assert [signal.text for signal in town.platform.signals if isinstance(signal, Draft)] == [BEGINNING, MIDDLE]


async def test_a_long_reply_grows_in_its_first_message_only(tmp_path: Path, autojump_clock: MockClock) -> None:
    paragraphs = [f"{number} " + "word " * 300 for number in range(6)]
    texts = ["\n\n".join(paragraphs[:upto]).strip() for upto in (1, 2, 4, 6)]

    async def tell(turn: Turn) -> str:
        await says(turn, *texts)
        return texts[-1]

    async with open_town(tmp_path, tell) as town:
        await town.answered("go")
        assert "".join("".join(town.shown).split()) == "".join(texts[-1].split())
        assert len(town.shown) == 3
        assert all(len(text) <= 4096 for _, text in town.platform.grown)


async def fails(turn: Turn) -> str:
    await says(turn, BEGINNING)
    raise ValueError("a bug")


async def test_a_turn_that_fails_says_so_under_what_is_shown(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, fails) as town:
        row = await town.answered("go")
        assert (row.state, row.reason) == ("dead", "agent_failed")
        assert town.shown == [f"{BEGINNING}\n\n{SORRY_FAILED}"]


async def test_a_turn_that_takes_too_long_says_so_under_what_is_shown(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, hangs, sessions=SessionsSection(turn_timeout_seconds=30)) as town:
        await town.answered("go")
        assert town.shown == [f"{MIDDLE}\n\n{SORRY_SLOW}"]


async def test_a_turn_that_is_stopped_ends_its_message(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, hangs) as town:
        row = await town.say("go")
        await anyio.sleep(8)
        await town.say("/stop")
        await town.ended(row)
        assert town.shown == [f"{MIDDLE}\n\n{STOPPED}", "Stopped."]


async def test_an_agent_that_answers_nothing_leaves_what_is_shown(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def nothing(turn: Turn) -> str:
        await says(turn, BEGINNING, MIDDLE)
        return ""

    async with open_town(tmp_path, nothing) as town:
        await town.answered("go")
        assert town.shown == [MIDDLE]
        assert isinstance((await town.rows())[-1].payload, EditText)  # so that the channel knows that this is the end


async def test_the_note_stands_outside_of_a_code_block_that_was_cut(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def code(turn: Turn) -> str:
        await says(turn, f"Look:\n```\n{BEGINNING}")
        raise ValueError("a bug")

    async with open_town(tmp_path, code) as town:
        await town.answered("go")
        assert town.shown == [f"Look:\n```\n{BEGINNING}\n```\n\n{SORRY_FAILED}"]


Way = Callable[[LoopbackPlatform], None]


def _rejected(platform: LoopbackPlatform) -> None:
    platform.before_send.next(failing(SendRejected("blocked")))


def _perhaps_sent(platform: LoopbackPlatform) -> None:
    platform.before_send.next(failing(OutcomeUnknown("cut")))


def _delayed(platform: LoopbackPlatform) -> None:
    platform.before_send.next(failing(TryAgain("slow down", after_seconds=60, scope="conversation")))


def _slow(platform: LoopbackPlatform) -> None:
    platform.before_send.next(taking(20))


@pytest.mark.parametrize("way", [_rejected, _perhaps_sent, _delayed, _slow])
async def test_the_answer_comes_whole_and_once_whatever_became_of_its_beginning(
    tmp_path: Path, autojump_clock: MockClock, way: Way
) -> None:
    async with open_town(tmp_path, tells) as town:
        way(town.platform)
        await town.answered("go")
        await anyio.sleep(100)
        assert town.shown == [WHOLE], "the answer comes"
        assert not town.platform.grown


async def test_an_end_that_was_perhaps_not_seen_is_told_and_shown_again_whole(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, tells) as town:
        town.platform.before_send.next(*[failing(OutcomeUnknown("cut"))] * 2)
        await town.answered("go")
        [notice] = town.shown
        assert "may not have arrived" in notice
        await town.answered(notice.split("`")[1])
        assert town.shown[2:] == [WHOLE]


async def test_a_message_that_was_deleted_is_written_anew(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, hangs, sessions=SessionsSection(turn_timeout_seconds=30)) as town:
        row = await town.say("go")
        await anyio.sleep(3)
        assert town.shown == [BEGINNING]
        town.platform.shown.clear()
        await town.ended(row)
        assert town.shown == [f"{BEGINNING}\n\n{SORRY_SLOW}"]
        [_, end] = await town.rows()
        assert isinstance(end.payload, SendText)
        assert (end.state, end.reason, end.attempts) == ("sent", None, 1)


async def test_the_pause_that_the_channel_asks_for_is_kept(tmp_path: Path, autojump_clock: MockClock) -> None:
    calls: list[float] = []

    async def limited() -> None:
        calls.append(trio.current_time())
        raise TryAgain("slow down", after_seconds=7)

    async def long(turn: Turn) -> str:
        await says(turn, *(MIDDLE[:at] for at in range(45, len(MIDDLE))), every=1.0)
        return MIDDLE

    async with open_town(tmp_path, long) as town:
        town.platform.before_grow.always(limited)
        await town.answered("go")
        assert len(calls) > 3
        assert all(after - before >= 7 for before, after in pairwise(calls))
        assert town.shown == [MIDDLE]


async def test_a_pause_of_the_chat_holds_for_the_reply_and_for_its_growth(tmp_path: Path, autojump_clock: MockClock) -> None:
    calls: list[float] = []

    async def noted_call() -> None:
        calls.append(trio.current_time())

    async def noted(turn: Turn) -> str:
        await says(turn, BEGINNING)
        town.platform.before_send.next(failing(TryAgain("slow down", after_seconds=60, scope="conversation")))
        await turn.emit(Notice("the provider is slow"))
        began.append(trio.current_time())
        await says(turn, MIDDLE, every=70, before=BEGINNING)
        town.platform.before_grow.next(failing(TryAgain("slow down", after_seconds=50, scope="conversation")))
        await says(turn, WHOLE, before=MIDDLE)
        began.append(trio.current_time())
        return WHOLE

    began: list[float] = []
    async with open_town(tmp_path, noted) as town:
        town.platform.before_grow.always(noted_call)
        await town.answered("go")
        assert town.shown == [MIDDLE, "the provider is slow"]
        assert calls[0] - began[0] >= 60
        await anyio.sleep(60)
        assert town.shown == [WHOLE, "the provider is slow"]


async def test_a_reply_grows_again_when_the_account_may_send_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    calls: list[float] = []

    async def noted_call() -> None:
        calls.append(trio.current_time())

    async with open_town(tmp_path, hangs) as town:
        town.platform.before_grow.always(noted_call)
        town.platform.before_grow.next(failing(TryAgain("too fast", after_seconds=20, scope="sends")))
        began = trio.current_time()
        await town.say("go")
        await anyio.sleep(15)
        assert (town.shown, calls) == ([BEGINNING], [])
        await anyio.sleep(15)
        assert town.shown == [MIDDLE]
        assert [call - began >= 20 for call in calls] == [True]


async def test_the_end_waits_for_a_call_in_progress(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, tells) as town:
        town.platform.before_grow.next(taking(4))
        await town.answered("go")
        assert list(town.platform.grown) == [("1", MIDDLE)], "it was not cut"
        assert town.shown == [WHOLE]


async def test_what_a_call_that_was_cut_does_late_is_overwritten_by_the_end(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, tells) as town, anyio.create_task_group() as network:

        async def late() -> None:
            await anyio.sleep(4)
            town.platform.grow("1", RichText(MIDDLE))

        async def cut() -> None:
            network.start_soon(late)
            raise OutcomeUnknown("cut")

        town.platform.before_grow.next(cut)
        await town.answered("go")
        assert list(town.platform.grown) == [("1", MIDDLE)] * 2
        assert town.shown == [WHOLE], "what came late is gone"


async def test_a_call_that_hangs_holds_the_end_up_for_some_seconds(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, tells) as town:
        town.platform.before_grow.always(hanging)
        row = await town.say("go")
        began = trio.current_time()
        await town.gateway.backlog.wait_ended(row.id)
        assert trio.current_time() - began < 20
        await anyio.sleep(5)
        assert town.shown == [WHOLE]


async def test_a_notice_stands_behind_the_message_that_grows(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def noted(turn: Turn) -> str:
        await says(turn, BEGINNING)
        await turn.emit(Notice("the provider is slow"))
        await says(turn, MIDDLE, before=BEGINNING)
        return WHOLE

    async with open_town(tmp_path, noted) as town:
        await town.answered("go")
        assert town.shown == [WHOLE, "the provider is slow"]


# Crashes.


async def crashed(state_dir: Path, script: Script, after: float) -> InboundRow:
    async with open_town(state_dir, script) as town:
        row = await town.say("go")
        await anyio.sleep(after)
    return row


@pytest.mark.parametrize("after", [0.5, 1.2, 2.0, 4.5, 20.0])
async def test_a_turn_that_is_run_again_goes_on_in_its_message(tmp_path: Path, autojump_clock: MockClock, after: float) -> None:
    row = await crashed(tmp_path, hangs, after)
    async with open_town(tmp_path, tells) as town:
        await town.ended(row)
        assert [row.payload.body.text for row in await town.rows()][1:] == [WHOLE]
        assert town.shown == [WHOLE]


async def test_a_turn_that_is_not_run_again_says_so_in_its_message(tmp_path: Path, autojump_clock: MockClock) -> None:
    row = await crashed(tmp_path, hangs, 20.0)
    async with open_town(tmp_path, tells, on_lost_turn="report") as town:
        await town.ended(row)
        assert town.shown == [f"{BEGINNING}\n\n{SORRY_LOST}"]


@pytest.mark.parametrize("way", [_delayed, lambda platform: platform.before_send.next(hanging)])
async def test_the_end_comes_after_a_crash_right_behind_its_commit(tmp_path: Path, autojump_clock: MockClock, way: Way) -> None:
    async with open_town(tmp_path, tells) as town:
        row = await town.say("go")
        await anyio.sleep(5)
        way(town.platform)
        await town.gateway.backlog.wait_ended(row.id)
        await anyio.sleep(10)
    assert platform_of().texts == [BEGINNING]
    async with open_town(tmp_path, tells) as town:
        await anyio.sleep(100)
        assert town.shown == [WHOLE]
