"""Members that are reconciled with what is desired: one task for each name, and the newest settings count."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import trio
import trio.lowlevel
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from gatewayd.actor.backoff import Backoff
from gatewayd.actor.life import Life
from gatewayd.actor.pool import Pool
from gatewayd.actor.supervisor import Supervisor

SECONDS = 5.0


class Member:
    def __init__(self, colour: str) -> None:
        self.colour = colour
        self.lives_as: str | None = None


class Street:
    """A pool whose members live in a colour, and take ``SECONDS`` to be reconciled."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(Backoff(Random(0)), now=trio.current_time)
        self.pool: Pool[Member] = Pool(self.supervisor, live=self.live, reconcile=self.reconcile, redact=str)
        self.busy: list[str] = []
        self.looks: list[str] = []

    @asynccontextmanager
    async def open(self, **colours: str) -> AsyncIterator[None]:
        self.set_desired(colours)
        async with self.pool.run(parent=None, starts=lambda member: member.colour != "off"):
            yield

    def set_desired(self, colours: dict[str, str]) -> None:
        def change(member: Member, colour: str) -> None:
            member.colour = colour

        self.pool.set_desired(colours, make=Member, change=change)
        for name in list(self.pool.all):
            self.pool.schedule(name)

    async def live(self, member: Member, life: Life) -> None:
        member.lives_as = member.colour
        try:
            life.started()
            life.connected()
            await trio.sleep_forever()
        finally:
            member.lives_as = None

    async def reconcile(self, name: str, member: Member) -> None:
        assert name not in self.busy, "two at once"
        self.busy.append(name)
        self.looks.append(name)
        await trio.sleep(SECONDS)
        if self.pool.is_gone(name) or member.lives_as != member.colour:
            await self.supervisor.stop(name)
        if self.pool.is_gone(name):
            self.pool.forget(name)
        elif member.colour != "off":
            await self.supervisor.start(name)
        self.busy.remove(name)

    @property
    def living(self) -> dict[str, str | None]:
        return {name: member.lives_as for name, member in self.pool.all.items()}


async def test_what_is_wanted_lives_and_what_is_not_ends(autojump_clock: MockClock) -> None:
    street = Street()
    async with street.open(a="red", b="blue", c="off"):
        await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert street.living == {"a": "red", "b": "blue", "c": None}
        street.set_desired({"d": "green", "a": "white"})
        assert list(street.pool.pending) == ["a", "b", "c", "d"]
        assert list(street.pool.desired) == ["d", "a"]
        assert list(street.pool.all) == ["a", "b", "c", "d"]
        await street.pool.wait_reconciled()
        assert street.living == {"a": "white", "d": "green"}
        assert list(street.pool.pending) == []
    assert street.living == {"a": None, "d": None}


async def test_who_is_asked_while_it_works_looks_once_more(autojump_clock: MockClock) -> None:
    street = Street()
    async with street.open(a="red"):
        street.set_desired({"a": "blue"})
        await trio.sleep(SECONDS / 2)
        street.set_desired({"a": "green"})
        street.set_desired({"a": "white"})
        assert "a" in street.pool.pending
        assert street.pool.is_scheduled("a")
        await street.pool.wait_reconciled()
        assert (street.looks, street.living) == (["a", "a"], {"a": "white"})


async def test_outside_of_a_run_nothing_is_reconciled(autojump_clock: MockClock) -> None:
    street = Street()
    async with street.open(a="red"):
        street.set_desired({"a": "blue"})
        assert street.looks == []
    street.set_desired({"b": "blue"})
    await street.pool.wait_reconciled()
    assert (street.pool.pending, "b" in street.looks) == ((), False)


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from("abc"), st.sampled_from(["red", "blue", "off"])), st.integers(0, 12)),
        min_size=1,
        max_size=5,
    )
)
def test_the_last_wish_comes_true(wishes: list[tuple[dict[str, str], int]]) -> None:
    async def run() -> None:
        street = Street()
        async with street.open():
            for colours, seconds in wishes:
                street.set_desired(colours)
                await trio.sleep(seconds)
            await street.pool.wait_reconciled()
            await trio.testing.wait_all_tasks_blocked()
            assert street.living == {name: None if colour == "off" else colour for name, colour in wishes[-1][0].items()}

    trio.run(run, clock=MockClock(autojump_threshold=0))
