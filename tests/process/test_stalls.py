"""The detector beside real loops that are really held up: each of these waits until it has been found out."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import structlog
import trio
from structlog.typing import EventDict, WrappedLogger

from gatewayd.model.status import StallStatistics
from gatewayd.process.stalls import MAX_FRAMES, UNKNOWN_FRAME, StallDetector

LIMIT = 0.05
PATIENCE = 30.0


class Told:
    """What was logged, and waiting for it in any thread."""

    def __init__(self) -> None:
        self.entries: list[EventDict] = []
        self._new = threading.Condition()

    def __call__(self, logger: WrappedLogger, name: str, entry: EventDict) -> EventDict:
        with self._new:
            self.entries.append(entry)
            self._new.notify_all()
        raise structlog.DropEvent

    def events(self) -> list[str]:
        return [str(entry["event"]) for entry in self.entries]

    def wait(self, event: str, times: int = 1) -> None:
        with self._new:
            assert self._new.wait_for(lambda: self.events().count(event) >= times, PATIENCE)


class Clocks:
    """The real ones, and what a test lets pass beside."""

    def __init__(self) -> None:
        self.skipped = 0.0
        self.computed = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped

    def cpu(self) -> float:
        return time.process_time() + self.computed


@pytest.fixture
def told() -> Iterator[Told]:
    found, before = Told(), structlog.get_config()
    structlog.configure(processors=[found])
    yield found
    structlog.configure(**before)


def run(work: Callable[[], object], *, limit: float = LIMIT, clocks: Clocks | None = None) -> StallDetector:
    """A loop in which one task does this between two looks of the loop."""

    async def main() -> None:
        await trio.lowlevel.checkpoint()
        work()
        await trio.lowlevel.checkpoint()

    clocks = clocks or Clocks()
    with StallDetector(limit, monotonic=clocks.monotonic, cpu=clocks.cpu) as detector:
        trio.run(main, instruments=[detector])
    return detector


def hold_up(told: Told) -> None:
    told.wait("loop_stalled")


def test_the_frame_that_holds_up_the_loop_is_named_while_it_does(told: Told) -> None:
    before = time.time()
    detector = run(lambda: hold_up(told))
    assert told.events() == ["loop_stalled", "loop_resumed"]
    found, ended = told.entries
    assert f"{__file__}:" in found["frames"][-1]
    assert any(frame.startswith(f"{__file__}:") and frame.endswith(" in hold_up") for frame in found["frames"])
    assert found["frame"] == found["frames"][0] == ended["frame"]
    assert LIMIT <= found["seconds"] <= ended["seconds"]
    stall = detector.last_stall()
    assert stall is not None
    assert stall.where == found["frame"]
    assert before <= stall.began_at <= stall.began_at + stall.seconds <= time.time()
    assert detector.statistics() == StallStatistics(stalls=1, longest=stall.seconds)


def test_a_stall_is_told_once_however_long_it_lasts_and_each_is_told(told: Told) -> None:
    more_looks = threading.Event()

    async def main() -> None:
        for times in (1, 2):
            await trio.lowlevel.checkpoint()
            told.wait("loop_stalled", times)
            more_looks.wait(LIMIT * 4)

    with StallDetector(LIMIT) as detector:
        trio.run(main, instruments=[detector])
    assert told.events() == ["loop_stalled", "loop_resumed"] * 2
    assert detector.statistics().stalls == 2
    assert detector.statistics().longest >= LIMIT * 5


def test_a_deep_stack_is_told_from_its_inner_end(told: Told) -> None:
    def dive(depth: int) -> None:
        if depth:
            dive(depth - 1)
        else:
            hold_up(told)

    run(lambda: dive(100))
    frames = told.entries[0]["frames"]
    assert len(frames) == MAX_FRAMES
    assert any(frame.endswith(" in hold_up") for frame in frames)


def test_a_loop_that_waits_or_works_in_small_pieces_is_not_held_up(told: Told) -> None:
    async def main() -> None:
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            await trio.lowlevel.checkpoint()
        await trio.sleep(0.6)

    with StallDetector(0.5) as detector:
        trio.run(main, instruments=[detector])
    assert told.events() == []
    assert detector.statistics() == StallStatistics()
    assert detector.last_stall() is None


def test_a_process_that_was_stopped_is_no_stall_of_a_frame(told: Told) -> None:
    clocks = Clocks()

    def be_stopped() -> None:
        clocks.skipped += 60
        told.wait("process_paused")

    detector = run(be_stopped, limit=0.3, clocks=clocks)
    assert told.events() == ["process_paused"]
    assert 59 <= told.entries[0]["seconds"] <= 90
    assert detector.statistics() == StallStatistics(pauses=1)


def test_a_process_that_was_stopped_in_a_pass_that_ends_at_once(told: Told) -> None:
    """The loop may be the first to run again."""
    clocks = Clocks()

    def be_stopped() -> None:
        clocks.skipped += 60

    detector = run(be_stopped, limit=0.3, clocks=clocks)
    assert told.events() == []
    assert detector.statistics().stalls == 0


def test_what_holds_the_interpreter_lock_is_named_when_it_lets_go(told: Told) -> None:
    """C code that computes: the thread could not run either, but the CPU was used."""
    clocks = Clocks()

    def compute() -> None:
        clocks.computed += 60
        clocks.skipped += 60
        hold_up(told)

    detector = run(compute, limit=0.3, clocks=clocks)
    assert told.events() == ["loop_stalled", "loop_resumed"]
    assert any(" in compute" in frame or ".compute" in frame for frame in told.entries[0]["frames"])
    assert detector.statistics().longest >= 60


def test_a_pass_that_is_over_before_anybody_looks_is_counted(told: Told) -> None:
    clocks = Clocks()

    def compute() -> None:
        clocks.computed += 60
        clocks.skipped += 60

    detector = run(compute, limit=0.3, clocks=clocks)
    assert told.events() == ["loop_resumed"]
    stall = detector.last_stall()
    assert stall is not None
    assert stall.where == UNKNOWN_FRAME
    assert stall.seconds >= 60


def test_the_thread_ends_with_the_loop() -> None:
    before = threading.active_count()
    with StallDetector(60.0):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_the_thread_hardly_runs() -> None:
    """A look in each limit: at the default that is every two seconds, for some microseconds."""
    looks = 0
    clocks = Clocks()

    def count() -> float:
        nonlocal looks
        looks += 1
        return clocks.cpu()

    with StallDetector(LIMIT, cpu=count) as detector:
        trio.run(trio.sleep, LIMIT * 10, instruments=[detector])
    assert looks <= 12
