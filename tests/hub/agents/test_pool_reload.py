"""Agents under a changing configuration: a core is reopened only for other settings, and not while a turn runs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import cast

import anyio
import httpx2
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from trio.testing import MockClock

from gatewayd.hub.agents.pool import AgentPool
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.events import EventLog
from gatewayd.model.config import AgentApprovals, AgentFrame, AgentSettings, GatewayConfig, GatewaySection
from gatewayd.model.errors import NeedsOperator, NotFound, TryAgain
from gatewayd.ports.agent import AgentConfig, AgentCore, AgentOpener, AgentServices
from gatewayd.ports.store import Store
from tests.examples import examples
from tests.hub.agents.test_pool import say_nowhere
from tests.hub.house import ScriptedAgents, echo, now, redact


class Own(Struct, frozen=True):
    model: str = "m1"


class Core(ScriptedAgents):
    """One open core, with the settings that it was opened with."""

    def __init__(self, config: AgentConfig, kind: str) -> None:
        super().__init__(echo)
        self.config = config
        self.kind = kind


class Cores:
    """Every core that was opened, in order, and those that are open now."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.open_now: dict[str, str] = {}
        self.error: Exception | None = None
        self.cut: list[str] = []

    def opener(self, kind: str) -> object:
        @asynccontextmanager
        async def open_core(agent: AgentConfig, services: AgentServices) -> AsyncIterator[AgentCore]:
            if self.error is not None:
                raise self.error
            assert isinstance(agent.settings, Own)
            what = f"{agent.agent_id}:{kind}:{agent.settings.model}"
            self.opened.append(what)
            assert agent.agent_id not in self.open_now, "never two cores of one agent"
            self.open_now[agent.agent_id] = what
            try:
                yield Core(agent, kind)
            finally:
                del self.open_now[agent.agent_id]

        return open_core


class Silent:
    def emit(self, kind: str, **data: object) -> None:
        """Ignores late texts."""


def agent(name: str, model: str = "m1", *, core: str = "x", quorum: int = 1) -> AgentSettings:
    return AgentSettings(name, AgentFrame(core=core, approvals=AgentApprovals(quorum=quorum)), Own(model))


def agents(*given: AgentSettings, drain: float = 20.0) -> GatewayConfig:
    return GatewayConfig(agents=given, gateway=GatewaySection(drain_seconds=drain))


@asynccontextmanager
async def open_pool(cores: Cores, config: GatewayConfig) -> AsyncIterator[AgentPool]:
    context = Context(cast(Store, None), cast(EventLog, Silent()), now, Random(1), redact)
    opener = cast(Callable[[str], AgentOpener], cores.opener)
    pool = AgentPool(context, Configured(config, {}), opener, http=cast(httpx2.AsyncClient, None), state_dir=Path("/nowhere"))
    async with pool.run(cut=cores.cut.append, say_later=say_nowhere, parent=None):
        await anyio.sleep(1)
        yield pool


def reconfigure(pool: AgentPool, config: GatewayConfig) -> None:
    pool._configured.replace(config)


async def change(pool: AgentPool, config: GatewayConfig) -> None:
    reconfigure(pool, config)
    with trio.fail_after(100):
        await pool.wait_reconciled()
    await anyio.sleep(1)


async def test_what_is_new_opens_what_is_gone_closes_and_the_rest_is_not_touched(autojump_clock: MockClock) -> None:
    cores = Cores()
    async with open_pool(cores, agents(agent("a"), agent("b"))) as pool:
        kept = pool.status("b")
        await change(pool, agents(agent("c"), agent("b", quorum=2)))
        assert cores.opened == ["a:x:m1", "b:x:m1", "c:x:m1"]
        assert cores.open_now.keys() == {"b", "c"}
        assert [status.agent for status in pool.snapshot()] == ["c", "b"]
        assert pool.status("b") == kept, "other rules for approvals open nothing anew"
        with pytest.raises(NotFound):
            pool.status("a")
        with pytest.raises(NeedsOperator, match="no agent 'a'"):
            await pool.core("a")


async def test_a_core_with_other_settings_is_opened_anew_when_its_turns_have_ended(autojump_clock: MockClock) -> None:
    cores = Cores()
    async with open_pool(cores, agents(agent("a"))) as pool:
        pool.note_turn("a", +1)
        reconfigure(pool, agents(agent("a", "m2")))
        await anyio.sleep(5)
        assert (cores.open_now["a"], pool.pending, pool.kind_of("a")) == ("a:x:m1", ("a",), "x")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.wait_reconciled)
            pool.note_turn("a", -1)
            core = await pool.core("a")
        assert isinstance(core, Core)
        assert core.config.settings == Own("m2"), "the next turn has the new one"
        assert cores.opened == ["a:x:m1", "a:x:m2"]


async def test_a_turn_that_does_not_end_is_not_waited_for_for_ever(autojump_clock: MockClock) -> None:
    cores = Cores()
    async with open_pool(cores, agents(agent("a"), drain=30.0)) as pool:
        pool.note_turn("a", +1)
        began_at = trio.current_time()
        reconfigure(pool, agents(agent("a", core="y"), drain=30.0))
        with pytest.raises(TryAgain, match="when its turns have ended"):
            await pool.core("a")
        await pool.wait_reconciled()
        assert trio.current_time() - began_at == 30
        await anyio.sleep(1)
        assert (cores.open_now["a"], pool.kind_of("a"), cores.cut) == ("a:y:m1", "y", [])


async def test_turns_of_an_agent_that_is_gone_end_or_are_cut(autojump_clock: MockClock) -> None:
    cores = Cores()
    async with open_pool(cores, agents(agent("a"), agent("b"))) as pool:
        pool.note_turn("a", +1)
        reconfigure(pool, agents(agent("b")))
        await anyio.sleep(19)
        assert (set(cores.open_now), cores.cut) == ({"a", "b"}, [])
        await anyio.sleep(2)
        assert (set(cores.open_now), cores.cut) == ({"a", "b"}, ["a"]), "it has a moment to end by itself"
        pool.note_turn("a", -1)
        await pool.wait_reconciled()
        assert cores.open_now.keys() == {"b"}
        pool.note_turn("a", -1)
        pool.note_end("a", 1.0, error=None)


async def test_gone_and_there_again_is_as_if_nothing_had_been(autojump_clock: MockClock) -> None:
    cores = Cores()
    async with open_pool(cores, agents(agent("a"), agent("b"))) as pool:
        pool.note_turn("a", +1)
        reconfigure(pool, agents(agent("b")))
        await anyio.sleep(5)
        await change(pool, agents(agent("a"), agent("b")))
        assert (cores.opened, cores.cut) == (["a:x:m1", "b:x:m1"], [])
        assert pool.status("a").running == 1


async def test_new_settings_end_a_parking(autojump_clock: MockClock) -> None:
    cores = Cores()
    cores.error = NeedsOperator("wrong key")
    async with open_pool(cores, agents(agent("a"))) as pool:
        assert pool.status("a").state == "parked"
        cores.error = None
        await change(pool, agents(agent("a", quorum=2)))
        assert pool.status("a").state == "parked", "nothing of it has changed"
        await change(pool, agents(agent("a", "m2")))
        assert pool.status("a").state == "open"


WANTED = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.tuples(st.sampled_from("xy"), st.sampled_from(["m1", "m2"])), max_size=3),
    min_size=1,
    max_size=6,
)


@given(wanted=WANTED, pauses=st.lists(st.sampled_from([0.0, 0.0, 1.0, 25.0]), min_size=6, max_size=6), busy=st.booleans())
@settings(max_examples=examples(60), deadline=None)
def test_whatever_comes_after_whatever_the_last_configuration_is_what_is_open(
    wanted: list[dict[str, tuple[str, str]]], pauses: list[float], busy: bool
) -> None:
    async def go() -> None:
        cores = Cores()
        async with open_pool(cores, agents(agent("a"))) as pool:
            if busy:
                pool.note_turn("a", +1)
            for each, pause in zip(wanted, pauses, strict=False):
                reconfigure(pool, agents(*(agent(name, model, core=kind) for name, (kind, model) in each.items())))
                await anyio.sleep(pause)
            await pool.wait_reconciled()
            await anyio.sleep(1)
            assert cores.open_now == {name: f"{name}:{kind}:{model}" for name, (kind, model) in wanted[-1].items()}
            assert {status.agent: status.core for status in pool.snapshot()} == {n: kind for n, (kind, _) in wanted[-1].items()}

    trio.run(go, clock=MockClock(autojump_threshold=0))
