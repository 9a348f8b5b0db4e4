"""Many seeds over some processes, or one of them step by step."""

import gc
import itertools
import math
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import structlog
from msgspec import Struct

from tests.simulation.repeatable import repeatable
from tests.simulation.trace import Trace
from tests.simulation.world import simulate

_COLLECT_EVERY = 8
_LINES_TOLD = 8
_TOLD_WHOLE = 3
_SPIN_SECONDS = 60.0
"""CPU time of one seed, a hundred times what most need: more than that is a loop without an await in it."""
OnSpin = Callable[[str], None]
"""Called with what was seen, in the middle of the loop: it ends the process, because the daemon would catch what it raises."""
_ROUND = 400
"""So many seeds are given to the processes at once where there is no end: the last of a round wait for each other."""


class Result(Struct, frozen=True):
    """What one seed came to. ``fired``: how often each workload happened. ``broken`` is the invariant, ``what`` the violation in
    words; ``newest`` are the last lines."""

    seed: int
    digest: str
    steps: int
    commits: int
    crashes: int
    lives: int
    messages: int
    seconds: float
    fired: dict[str, int]
    broken: str | None = None
    what: str | None = None
    newest: tuple[str, ...] = ()


def end_process(what: str) -> None:
    """End the run, with the process that has given this one its seeds: it would wait for the result for ever."""
    print(what, file=sys.stderr, flush=True)
    if (parent := multiprocessing.parent_process()) is not None and parent.pid is not None:
        os.kill(parent.pid, signal.SIGTERM)
    os._exit(1)


@contextmanager
def spins_noticed(name: str, on_spin: OnSpin, *, seconds: float = _SPIN_SECONDS) -> Iterator[None]:
    """Call ``on_spin`` when what is in the block takes more CPU time. Trio cannot: a loop without an await ends no step."""

    def notice(_: int, frame: FrameType | None) -> None:
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "an unknown place"
        on_spin(f"{name}: {seconds:g} s of CPU time, and no end: a loop without an await near {where}")

    before = signal.signal(signal.SIGVTALRM, notice)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def run_seed(seed: int, trace: Trace | None = None, *, on_spin: OnSpin = end_process) -> Result:
    """Run one seed in this process. ``seconds`` is its CPU time."""
    trace = trace or Trace()
    began = time.process_time()
    with repeatable(seed), spins_noticed(f"seed {seed}", on_spin):
        world = simulate(seed, trace)
    violation = world.violation
    return Result(
        seed=seed,
        digest=trace.digest,
        steps=world.steps.count,
        commits=world.disk.commits,
        crashes=world.crashes,
        lives=len(world.lives),
        messages=sum(len(account.updates) + len(account.shown) for account in world.accounts.values()),
        seconds=time.process_time() - began,
        fired=dict(world.fired),
        broken=violation.invariant if violation else None,
        what=str(violation) if violation else None,
        newest=tuple(trace.newest) if violation else (),
    )


def run_seeds(first: int, count: int | None, jobs: int, *, on_spin: OnSpin = end_process) -> Iterator[Result]:
    """The results, in no order when there are several jobs; without a ``count`` they never end. Closing the iterator ends the
    processes. ``on_spin`` is for a single job."""
    seeds: Iterable[int] = itertools.count(first) if count is None else range(first, first + count)
    if jobs <= 1:
        with _without_logs():
            for seed in seeds:
                if seed % _COLLECT_EVERY == 0:
                    gc.collect()
                yield run_seed(seed, on_spin=on_spin)
        return
    # Forked: each process has its own memory, and the hash seed of this one.
    with multiprocessing.get_context("fork").Pool(jobs, initializer=_be_quiet) as pool:
        if count is None:
            for begin in itertools.count(first, _ROUND):
                yield from pool.imap_unordered(_run_collected, range(begin, begin + _ROUND), chunksize=4)
        yield from pool.imap_unordered(_run_collected, seeds, chunksize=4)


def run_many(first: int, count: int | None, jobs: int, *, minutes: float = math.inf, digests: bool = False) -> int:
    """Run seeds and tell what came of them; without a ``count``, as many as are begun within ``minutes``. Returns the exit code:
    1 when a promise was broken."""
    began, results, failed = time.monotonic(), [], 0
    for result in run_seeds(first, count, jobs):
        results.append(result)
        if digests:
            print(result.seed, result.digest)
        if result.what is not None:
            failed += 1
            print("\n".join(result.newest[-_LINES_TOLD:] if failed <= _TOLD_WHOLE else ()))
            print(f"seed {result.seed}: {result.what}\n    contrib/simulate --replay {result.seed}", flush=True)
        if time.monotonic() - began > 60 * minutes:
            break
    _tell_workloads(results)
    seconds = time.monotonic() - began
    broken = [result for result in results if result.what is not None]
    print(
        f"{len(results)} seeds in {seconds:.1f} s ({len(results) / seconds:.1f}/s, "
        f"{sum(r.seconds for r in results) / len(results):.3f} s of CPU each): {sum(r.steps for r in results)} steps, "
        f"{sum(r.lives for r in results)} lives, {sum(r.crashes for r in results)} crashes, "
        f"{sum(r.commits for r in results)} commits, {sum(r.messages for r in results)} messages, {len(broken)} violations"
    )
    return 1 if broken else 0


def _tell_workloads(results: Sequence[Result]) -> None:
    """How often each happened, per 1,000 seeds."""
    fired = sum((Counter(result.fired) for result in results), Counter[str]())
    for what, times in sorted(fired.items()):
        print(f"{what:<48} {1000 * times / len(results):>10,.0f} per 1,000 seeds")


def replay(seed: int, *, logs: bool) -> int:
    """Run one seed and print what happens, step by step."""
    with _without_logs() if not logs else _logs_between():
        result = run_seed(seed, Trace(print))
    print(f"seed {seed}: {result.what or 'every promise held'} ({result.steps} steps, digest {result.digest})")
    return 0 if result.what is None else 1


def _run_collected(seed: int) -> Result:
    if seed % _COLLECT_EVERY == 0:
        gc.collect()
    return run_seed(seed)


def _be_quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50), processors=[_drop])


@contextmanager
def _without_logs() -> Iterator[None]:
    before = structlog.get_config()
    _be_quiet()
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def _logs_between() -> Iterator[None]:
    """The daemon's log lines stand between those of the trace."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20), processors=[_print])
    try:
        yield
    finally:
        structlog.configure(**before)


def _drop(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    raise structlog.DropEvent


def _print(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    what = event.pop("event", "")
    print(f"            {'log ' + method:<14} {what} {dict(sorted(event.items()))}")
    raise structlog.DropEvent
