from collections.abc import Callable
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gatewayd.channels.slack.receiving.openings import (
    ATTEMPTS_A_MINUTE,
    FORGOTTEN_SECONDS,
    LEFT_SECONDS,
    LONGEST_PAUSE_SECONDS,
    STEADY_SECONDS,
    Crew,
    Pauses,
)
from gatewayd.channels.slack.receiving.socket import LINGER_SECONDS, RECHECK_SECONDS


@given(st.randoms(use_true_random=False), st.lists(st.floats(0, 70), min_size=30, max_size=60))
def test_refused_attempts_come_less_and_less_often(rng: Random, takes: list[float]) -> None:
    """Whatever each attempt takes."""
    pauses, now, attempts = Pauses(rng), 0.0, list[float]()
    for seconds in takes:
        now = max(now, pauses.ready_at)
        attempts.append(now)
        now += seconds
        pauses.note_failure(now)
    assert max(sum(at <= other < at + 60 for other in attempts) for at in attempts) <= ATTEMPTS_A_MINUTE
    assert attempts[-1] - attempts[-11] >= 9.99 * LONGEST_PAUSE_SECONDS / 2


@given(st.randoms(use_true_random=False), st.integers(0, 30), st.floats(0, 1000))
def test_a_pause_is_at_least_what_slack_wants(rng: Random, failures: int, wanted: float) -> None:
    pauses = Pauses(rng)
    for _ in range(failures):
        pauses.note_failure(0.0)
    pauses.note_failure(0.0, at_least=wanted)
    assert wanted <= pauses.ready_at <= max(wanted, LONGEST_PAUSE_SECONDS)


def test_failures_of_long_ago_are_forgotten() -> None:
    pauses = Pauses(Random(1))
    for _ in range(10):
        pauses.note_failure(0.0)
    pauses.note_failure(FORGOTTEN_SECONDS)
    assert pauses.ready_at <= FORGOTTEN_SECONDS + 1


def test_a_connection_that_lasted_is_replaced_at_once() -> None:
    pauses = Pauses(Random(1))
    assert not pauses.note_end(1000.0, lasted=STEADY_SECONDS)
    assert pauses.ready_at <= 1000.0
    assert pauses.note_end(1000.0, lasted=STEADY_SECONDS - 0.1)
    assert pauses.ready_at > 1000.0


def test_a_renewed_connection_is_not_counted_any_more_at_the_next_look() -> None:
    assert LINGER_SECONDS + LEFT_SECONDS < RECHECK_SECONDS


class CrewMachine(RuleBasedStateMachine):
    """Against a model: who was told to go, who is there."""

    def __init__(self) -> None:
        super().__init__()
        self.crew: Crew[int] = Crew(3)
        self.now = 0.0
        self.fresh: dict[int, float] = {}
        self.leaving: set[int] = set()
        self.left: list[float] = []
        self.number = 0

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.crew.is_short)
    @rule(strangers=st.integers(0, 12), knows=st.booleans())
    def join(self, strangers: int, knows: bool) -> None:
        self.number += 1
        self.fresh[self.number] = self.now
        ours = len(self.fresh) + len(self.leaving)
        found = self.crew.join(self.number, self.now, told=ours + strangers if knows else None)
        recent = sum(self.now - at < LEFT_SECONDS for at in self.left)
        assert found == (strangers if knows and strangers > recent else 0)

    def choose(self, draw: Callable[[st.SearchStrategy[int]], int], among: list[int]) -> int:
        return draw(st.sampled_from(among))

    @precondition(lambda self: self.fresh)
    @rule(data=st.data())
    def be_told_to_go(self, data: st.DataObject) -> None:
        member = self.choose(data.draw, sorted(self.fresh))
        assert self.crew.will_leave(member, self.now) == self.now - self.fresh.pop(member)
        assert self.crew.will_leave(member, self.now) is None, "a second time it is no news"
        self.leaving.add(member)

    @precondition(lambda self: self.fresh or self.leaving)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        member = self.choose(data.draw, sorted([*self.fresh, *self.leaving]))
        joined_at = self.fresh.pop(member, None)
        self.leaving.discard(member)
        self.left.append(self.now)
        assert self.crew.leave(member, self.now) == (None if joined_at is None else self.now - joined_at)
        assert self.crew.leave(member, self.now) is None

    @invariant()
    def agrees(self) -> None:
        assert self.crew.fresh == len(self.fresh)
        assert self.crew.is_short == (len(self.fresh) < 3)
        assert self.crew.is_empty == (not self.fresh and not self.leaving)
        assert sorted(self.crew.members()) == sorted([*self.fresh, *self.leaving])
        assert set(self.crew.leaving()) == self.leaving
        assert self.crew.oldest() == next(iter(self.fresh), None)


TestCrew = CrewMachine.TestCase
