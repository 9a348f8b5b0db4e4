"""The slots of running turns: fair between accounts, first come first served within one, and none is lost."""

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from gatewayd.hub.turns.slots import Slots, SlotStatistics


class Bench:
    """Turns that hold a slot until they are told to go."""

    def __init__(self, slots: Slots, nursery: trio.Nursery) -> None:
        self.slots = slots
        self.nursery = nursery
        self.running: list[str] = []
        self._ends: dict[str, trio.CancelScope] = {}

    async def add(self, *turns: str) -> None:
        """``main1`` is the first turn of the account ``main``."""
        for turn in turns:
            self.nursery.start_soon(self._run, turn)
            await wait_all_tasks_blocked()

    async def end(self, turn: str) -> None:
        self._ends[turn].cancel()
        await wait_all_tasks_blocked()

    async def _run(self, turn: str) -> None:
        slot = self.slots.of(turn.rstrip("0123456789"))
        with trio.CancelScope() as self._ends[turn]:
            await slot.acquire()
            self.running.append(turn)
            try:
                await trio.sleep_forever()
            finally:
                self.running.remove(turn)
                slot.release()


async def test_within_an_account_the_first_come_is_first_served(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        bench = Bench(Slots(2, shared=False), nursery)
        await bench.add("main1", "main2", "main3", "main4")
        assert bench.running == ["main1", "main2"]
        await bench.end("main1")
        assert bench.running == ["main2", "main3"]
        assert bench.slots.statistics() == SlotStatistics(used=2, limit=2, waiting=1)
        nursery.cancel_scope.cancel()


async def test_a_free_slot_goes_to_the_accounts_in_turn(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        bench = Bench(Slots(1, shared=False), nursery)
        await bench.add("a1", "a2", "a3", "a4", "b1", "b2", "c1")
        served = []
        while bench.running:
            served += bench.running
            await bench.end(bench.running[0])
        assert served == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


async def test_some_slots_are_kept_for_accounts_that_have_no_turn_running(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        bench = Bench(Slots(16, shared=True), nursery)
        await bench.add(*(f"flood{number}" for number in range(1000)))
        assert len(bench.running) == 14
        await bench.add("other1", "third1", "other2")
        assert bench.running[14:] == ["other1", "third1"]
        await bench.end("third1")
        assert len(bench.running) == 15  # it is kept again
        nursery.cancel_scope.cancel()


async def test_a_cancelled_waiter_takes_no_slot(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        bench = Bench(Slots(1, shared=False), nursery)
        await bench.add("a1", "b1", "a2")
        await bench.end("b1")
        await bench.end("a1")
        assert bench.running == ["a2"]
        await bench.end("a2")
        assert bench.slots.statistics() == SlotStatistics(used=0, limit=1, waiting=0)
        await bench.add("b2")
        assert bench.running == ["b2"]
        nursery.cancel_scope.cancel()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.integers(1, 5), st.booleans())
def test_no_slot_is_lost_and_none_is_idle_while_one_may_have_it(steps: list[tuple[str, bool]], limit: int, shared: bool) -> None:
    """A step is a new turn of an account, or the end of its oldest one, running or waiting."""

    async def go() -> None:
        async with trio.open_nursery() as nursery:
            bench = Bench(Slots(limit, shared=shared), nursery)
            alive: list[str] = []
            for number, (account, arrives) in enumerate(steps):
                if arrives:
                    alive.append(f"{account}{number}")
                    await bench.add(alive[-1])
                elif mine := [turn for turn in alive if turn[0] == account]:
                    alive.remove(mine[0])
                    await bench.end(mine[0])
                found = bench.slots.statistics()
                assert found.used == len(bench.running) <= limit
                assert found.waiting == len(alive) - len(bench.running)
                idle_accounts = {turn[0] for turn in alive} - {turn[0] for turn in bench.running}
                assert found.used == limit or not idle_accounts
            for turn in alive:
                await bench.end(turn)
            assert bench.slots.statistics() == SlotStatistics(used=0, limit=limit, waiting=0)

    trio.run(go, clock=MockClock(autojump_threshold=0))


async def test_a_slot_is_not_given_to_a_waiter_that_has_just_been_cancelled(autojump_clock: MockClock) -> None:
    """Who waits is cancelled, and a slot becomes free before it has run again."""
    slots = Slots(1, shared=False)
    await slots.acquire("main")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slots.acquire, "main")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        slots.release("main")
        with trio.CancelScope(shield=True), trio.fail_after(1):
            await slots.acquire("main")
    assert slots.statistics() == SlotStatistics(used=1, limit=1, waiting=0)
    slots.release("main")
    assert slots.statistics().used == 0


@given(st.lists(st.sampled_from(["a", "b", "end first", "end last", "cancel", "settle"]), max_size=30), st.integers(1, 3))
def test_no_slot_is_lost_whatever_happens_at_the_same_moment(steps: list[str], limit: int) -> None:
    async def go() -> None:
        async with trio.open_nursery() as nursery:
            bench = Bench(Slots(limit, shared=False), nursery)
            for number, step in enumerate(steps):
                if step in ("a", "b"):
                    nursery.start_soon(bench._run, f"{step}{number}")
                elif step == "settle":
                    await wait_all_tasks_blocked()
                elif step == "cancel" and (waiting := [turn for turn in bench._ends if turn not in bench.running]):
                    bench._ends[waiting[0]].cancel()
                elif step != "cancel" and bench.running:
                    bench._ends[bench.running[0 if step == "end first" else -1]].cancel()
            await wait_all_tasks_blocked()
            while bench.running:
                await bench.end(bench.running[0])
            assert bench.slots.statistics() == SlotStatistics(used=0, limit=limit, waiting=0)

    trio.run(go, clock=MockClock(autojump_threshold=0))
