"""The session map: one session per key, kept, and changed by /new alone."""

from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.hub.turns.sessions import SessionMap
from gatewayd.model.errors import StoreRefused, TryAgain
from gatewayd.model.message.route import Route
from gatewayd.ports.store import SessionRow
from gatewayd.stores.sqlite import run_inline
from tests.hub.house import ScriptedAgents, echo, now, open_house
from tests.stores.opened_before import open_store

ROUTE = Route("assistant", "assistant:chat:main:dm:7", "default")


def no_kind(agent_id: str) -> None:
    """No core was ever open."""


class Down(ScriptedAgents):
    async def new_session(self, session_key: str) -> str:
        raise TryAgain("down")


async def test_a_key_keeps_its_session_until_it_is_reset(tmp_path: Path, autojump_clock: MockClock) -> None:
    core = ScriptedAgents(echo)
    for expected in (("session-1", 1), ("session-2", 2)):
        async with open_store(tmp_path, now=now, run_blocking=run_inline) as store:
            sessions = SessionMap(store, kind_of=no_kind, now=now)
            for _ in range(2):
                row = await sessions.resolve(ROUTE, core)
                assert (row.session_id, row.generation) == expected
            await sessions.reset(ROUTE, core)
            assert (await sessions.resolve(ROUTE, core)).generation == expected[1] + 1


async def test_a_core_that_is_down_costs_nobody_a_session(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_store(tmp_path, now=now, run_blocking=run_inline) as store:
        sessions = SessionMap(store, kind_of=no_kind, now=now)
        with pytest.raises(TryAgain):
            await sessions.resolve(ROUTE, Down(echo))
        assert await sessions.find(ROUTE.session_key) is None
        kept = await sessions.resolve(ROUTE, ScriptedAgents(echo))
        with pytest.raises(TryAgain):
            await sessions.reset(ROUTE, Down(echo))
        assert await sessions.find(ROUTE.session_key) == kept


async def test_a_session_that_could_not_be_stored_is_not_used(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        house.flaky.refuses.add("put_session")
        with pytest.raises(StoreRefused):
            await house.sessions.resolve(ROUTE, house.agents)
        assert await house.sessions.find(ROUTE.session_key) is None


async def test_the_last_use_is_noted_now_and_then(tmp_path: Path, autojump_clock: MockClock) -> None:
    core = ScriptedAgents(echo)
    async with open_store(tmp_path, now=now, run_blocking=run_inline) as store:
        sessions = SessionMap(store, kind_of=no_kind, now=now)
        first = await sessions.resolve(ROUTE, core)
        await anyio.sleep(30)
        assert await sessions.resolve(ROUTE, core) == first
        await anyio.sleep(31)
        used = await sessions.resolve(ROUTE, core)
        assert (used.session_id, used.last_used_at - first.last_used_at) == (first.session_id, 61)
        assert await store.get_session(ROUTE.session_key) == used


async def test_another_kind_of_core_gets_no_session_of_the_one_before_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    core = ScriptedAgents(echo)
    for kind, expected in (("acp", ("session-1", 1)), ("echo", ("session-2", 2)), ("echo", ("session-2", 2))):
        async with open_store(tmp_path, now=now, run_blocking=run_inline) as store:
            sessions = SessionMap(store, kind_of={"assistant": kind}.get, now=now)
            for _ in range(2):
                row = await sessions.resolve(ROUTE, core)
                assert (row.session_id, row.generation, row.core) == (*expected, kind)


async def test_a_session_of_an_older_release_is_its_agents_whatever_core_that_has(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    core = ScriptedAgents(echo)
    async with open_store(tmp_path, now=now, run_blocking=run_inline) as store:
        old = SessionRow(ROUTE.session_key, "assistant", "session-of-old", 3, now(), now())
        await store.put_session(old)
        kinds: dict[str, str] = {}
        sessions = SessionMap(store, kind_of=kinds.get, now=now)
        assert await sessions.resolve(ROUTE, core) == old, "while no core was ever open, nobody knows what it is"
        kinds["assistant"] = "acp"
        assert await sessions.resolve(ROUTE, core) == replace(old, core="acp")
        assert await store.get_session(ROUTE.session_key) == replace(old, core="acp")
        kinds["assistant"] = "echo"
        assert (await sessions.resolve(ROUTE, core)).session_id == "session-1"
