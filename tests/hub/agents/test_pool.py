"""The agent pool: supervised cores, and what a turn is told about a core that is not open."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import cast

import anyio
import httpx2
import pytest
import trio
from trio.testing import MockClock

from gatewayd.hub.agents.pool import AgentPool
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.events import EventLog
from gatewayd.model.config import AgentFrame, AgentSettings, GatewayConfig
from gatewayd.model.errors import NeedsOperator, TryAgain
from gatewayd.ports.agent import AgentConfig, AgentCore, AgentServices
from gatewayd.ports.store import Store
from tests.hub.house import CANARY, ScriptedAgents, echo, now, redact


class Told:
    """The events that would be logged."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []

    def emit(self, kind: str, **data: object) -> None:
        self.events.append((kind, data.get("reason")))


@asynccontextmanager
async def open_pool(before_open: Callable[[], None], told: Told | None = None, *, slow: float = 0.0) -> AsyncIterator[AgentPool]:
    @asynccontextmanager
    async def opener(agent: AgentConfig, services: AgentServices) -> AsyncIterator[AgentCore]:
        await anyio.sleep(slow)
        before_open()
        yield ScriptedAgents(echo)

    settings = AgentSettings("assistant", AgentFrame(), AgentFrame())
    events = told or Told()
    context = Context(cast(Store, None), cast(EventLog, events), now, Random(1), redact)
    configured = Configured(GatewayConfig(agents=(settings,)), {})
    pool = AgentPool(context, configured, lambda core: opener, http=cast(httpx2.AsyncClient, None), state_dir=Path("/nowhere"))
    async with pool.run(cut=lambda agent_id: None, say_later=say_nowhere, parent=None):
        yield pool


async def say_nowhere(agent_id: str, session_id: str, text: str) -> None:
    """No late texts in these tests."""


def fine() -> None:
    """Every opening succeeds."""


async def test_a_turn_waits_for_a_core_that_is_opening(autojump_clock: MockClock) -> None:
    async with open_pool(fine, slow=5) as pool:
        assert isinstance(await pool.core("assistant"), ScriptedAgents)
        assert trio.current_time() >= 5
        assert pool.snapshot()[0].state == "open"


async def test_a_core_that_takes_long_to_open_is_an_outage(autojump_clock: MockClock) -> None:
    async with open_pool(fine, slow=50) as pool:
        with pytest.raises(TryAgain, match="is starting"):
            await pool.core("assistant")
        await anyio.sleep(50)
        assert isinstance(await pool.core("assistant"), ScriptedAgents)


async def test_an_outage_is_waited_out_and_a_wrong_key_is_parked(autojump_clock: MockClock) -> None:
    errors: list[Exception] = [TryAgain("refused"), NeedsOperator(f"wrong key {CANARY}")]

    def fail() -> None:
        raise errors[0]

    told = Told()
    async with open_pool(fail, told) as pool:
        await anyio.sleep(0.001)
        with pytest.raises(TryAgain, match="waiting: refused"):
            await pool.core("assistant")
        errors.pop(0)
        await anyio.sleep(100)
        with pytest.raises(NeedsOperator, match=r"wrong key \*\*\*"):
            await pool.core("assistant")
        assert pool.snapshot()[0].state == "parked"
        assert ("agent.state", "wrong key ***") in told.events


async def test_an_agent_nobody_configured_needs_the_operator(autojump_clock: MockClock) -> None:
    async with open_pool(fine) as pool:
        with pytest.raises(NeedsOperator, match="no agent 'other'"):
            await pool.core("other")


async def test_turns_are_counted(autojump_clock: MockClock) -> None:
    async with open_pool(fine) as pool:
        pool.note_turn("assistant", +1)
        pool.note_turn("assistant", +1)
        pool.note_turn("assistant", -1)
        pool.note_end("assistant", 3.0, error="failed")
        status = pool.snapshot()[0]
        assert (status.running, status.turns, status.failures, status.last_error) == (1, 2, 1, "failed")
        assert (pool.durations()["assistant"].count, pool.durations()["assistant"].total_seconds) == (1, 3.0)


async def test_failures_in_a_row_count_from_the_first_until_a_turn_ends_well_or_a_person_restarts(
    autojump_clock: MockClock,
) -> None:
    async with open_pool(fine) as pool:

        def row() -> tuple[int, float | None]:
            status = pool.snapshot()[0]
            return status.failed_in_a_row, status.failing_since

        began_at = now()
        for _ in range(2):
            pool.note_end("assistant", 1.0, error="failed")
            await trio.sleep(60)
        assert row() == (2, began_at)
        pool.note_end("assistant", 1.0, error=None)
        assert row() == (0, None)
        pool.note_end("assistant", 1.0, error="failed")
        assert row() == (1, now())
        await pool.restart("assistant")
        assert row() == (0, None)


class ToldAll(Told):
    def __init__(self) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, object]]] = []

    def emit(self, kind: str, **data: object) -> None:
        self.all.append((kind, data))


async def test_what_becomes_of_an_agent_is_told_as_events(autojump_clock: MockClock) -> None:
    told = ToldAll()
    async with open_pool(fine, told, slow=0.1) as pool:
        await pool.core("assistant")
        pool.note_end("assistant", 1.0, error=None)
        pool.note_end("assistant", 1.0, error="the model is gone")
        await pool.restart("assistant")
        await pool.core("assistant")
    said = [(kind, data.get("state") or data.get("reason")) for kind, data in told.all]
    assert said == [
        ("agent.state", "opening"),
        ("agent.state", "open"),
        ("agent.failed", "the model is gone"),
        ("agent.restarted", None),
        ("agent.state", "closed"),
        ("agent.state", "opening"),
        ("agent.state", "open"),
    ]
    assert {data["agent"] for _, data in told.all} == {"assistant"}
