"""This revision of gatewayd and another one, in turn, in one run.

    contrib/bench/compare REV [--parts end_to_end,slack,calls,ingest,agents,footprint] [--pairs 5] [--directory PATH]

REV is anything that git names a commit by. Its tree is laid into a temporary folder and runs with the Python and the packages of
this one; the platforms, users and agents around both are those of this revision. One of the two begins each pair, in turn. A
ratio is this revision's figure by the other's, pair by pair; the least and the greatest ratio say how much the machine's own
unrest is worth. The baselines, the least code that does the same work and promises nothing, are measured in the same run.
"""

import argparse
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import trio
from msgspec import Struct

from contrib.bench import agents, calls, end_to_end, footprint, ingest
from contrib.bench.contenders import CONTENDERS, Contender
from contrib.bench.figures import describe_machine, load
from contrib.bench.processes import allow_many_files
from tests.fakes.model_server import RemoteModelServer

ROOT = Path(__file__).resolve().parents[2]

Figures = dict[str, float]
"""What one run of one side came to, by the figure's name."""
Side = Mapping[str, str]
"""The environment by which a process runs one of the two revisions."""


class Part(Struct, frozen=True):
    """One benchmark. ``run`` measures a revision, ``baseline`` the simplest thing, with some of the same names. A revision
    without the path ``needs`` cannot be measured."""

    run: Callable[[Path, Side], Awaitable[Figures]]
    baseline: Callable[[Path], Awaitable[Figures]] | None = None
    needs: str = "gatewayd"


def of_conversations(figures: end_to_end.Figures) -> Figures:
    return {
        "p50 of one user, ms": figures.alone.latencies.p50,
        "replies per second": figures.together.per_second,
        "CPU per reply, ms": figures.cpu_ms,
    }


def end_to_end_part(options: Namespace) -> Part:
    load = end_to_end.Load(options.chats, options.messages, options.alone, min(50, options.alone))
    return _conversations("telegram", load)


def slack_part(options: Namespace) -> Part:
    """In rounds of as many as Slack takes at once."""
    most = end_to_end.USUAL["slack"]
    load = end_to_end.Load(
        min(options.chats, most.chats), 1, min(options.alone, most.alone), min(20, options.alone), rounds=options.messages
    )
    return _conversations("slack", load)


def _conversations(channel: str, load: end_to_end.Load) -> Part:
    async def run(directory: Path, side: Side) -> Figures:
        return of_conversations(await end_to_end.measure_gatewayd(directory, channel, load, side))

    async def baseline(directory: Path) -> Figures:
        return of_conversations(await end_to_end.measure_baseline(directory, channel, load))

    return Part(run, baseline, needs=f"gatewayd/channels/{channel}")


def calls_part(options: Namespace) -> Part:
    async def run(directory: Path, side: Side) -> Figures:
        few = max(1, options.messages // 5)  # a count needs no long run
        return {
            "calls per reply, one user": await calls.per_reply(directory, 1, options.alone, side),
            "calls per reply, all at once": await calls.per_reply(directory, options.chats, few, side),
        }

    return Part(run)


def ingest_part(options: Namespace) -> Part:
    settings = Namespace(connections=64, clients=2, seconds=options.seconds, rounds=1, warm_up=options.seconds / 4)

    async def run(directory: Path, side: Side) -> Figures:
        return {"webhooks per second": median(await ingest.measure_gatewayd(directory, settings, side))}

    async def baseline(directory: Path) -> Figures:
        return {"webhooks per second": median(await ingest.measure_baseline(directory, settings))}

    return Part(run, baseline)


def agents_part(options: Namespace) -> Part:
    settings = Namespace(turns=options.turns, warm_up=min(5, options.turns), sessions=options.sessions)

    async def run(directory: Path, side: Side) -> Figures:
        return await _with_each_agent(
            directory, lambda contender, root: agents.through_gatewayd(contender, root, settings, side), options.agents
        )

    async def baseline(directory: Path) -> Figures:
        return await _with_each_agent(directory, lambda contender, root: agents.directly(contender, settings), options.agents)

    return Part(run, baseline)


async def _with_each_agent(
    directory: Path, measure: Callable[[Contender, Path], Awaitable[agents.Figures]], names: str
) -> Figures:
    found: Figures = {}
    async with RemoteModelServer.start() as model:
        for name in names.split(","):
            root = directory / name
            await trio.Path(root).mkdir()
            figures = await measure(CONTENDERS[name](root, model.url), root)
            found[f"{name}: p50 of one session, ms"] = figures.alone.p50
            found[f"{name}: all sessions at once, s"] = figures.together
    return found


def footprint_part(options: Namespace) -> Part:
    settings = Namespace(settle=options.seconds, seconds=0.1)

    async def run(directory: Path, side: Side) -> Figures:
        one = await footprint.measure_idle(1, "poll", directory / "one", settings, side)
        return {"start to ready, s": one.ready_after, "memory at rest, MiB": one.rss}

    return Part(run)


PARTS: Mapping[str, Callable[[Namespace], Part]] = {
    "end_to_end": end_to_end_part,
    "slack": slack_part,
    "calls": calls_part,
    "ingest": ingest_part,
    "agents": agents_part,
    "footprint": footprint_part,
}


@contextmanager
def tree_of(revision: str, directory: Path) -> Iterator[Path]:
    """The files of a revision, in ``directory`` until exit.

    :raises SystemExit: git knows no such revision.
    """
    tree = directory / "tree"
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", revision, "gatewayd"], capture_output=True)
    if archive.returncode:
        raise SystemExit(f"git has no files of {revision}: {archive.stderr.decode().strip()}")
    tree.mkdir()
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    yield tree


async def compare(part: Part, sides: Sequence[Side], directory: Path, pairs: int) -> tuple[list[list[Figures]], Figures]:
    """What each of the two sides came to in each pair, and the baseline's figures."""
    found: list[list[Figures]] = [[], []]
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 else (1, 0):
            with tempfile.TemporaryDirectory(dir=directory) as name:
                found[which].append(await part.run(Path(name), sides[which]))
    base: Figures = {}
    if part.baseline is not None:
        with tempfile.TemporaryDirectory(dir=directory) as name:
            base = await part.baseline(Path(name))
    return found, base


def tell(name: str, found: list[list[Figures]], base: Figures) -> Iterator[str]:
    """A line for each figure."""
    theirs, ours = found
    for figure in ours[0]:
        ratios = [here[figure] / there[figure] for here, there in zip(ours, theirs, strict=True)]
        there, here = (median([run[figure] for run in side]) for side in found)
        ratio = f"ratio {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        floor = f"   {here / base[figure]:.3g} of the baseline's {base[figure]:.3g}" if base.get(figure) else ""
        yield f"{name:11} {figure:44} {there:9.2f} -> {here:9.2f}   {ratio}{floor}"


async def compare_all(options: Namespace, directory: Path, tree: Path) -> None:
    print(describe_machine(directory), flush=True)
    print(f"{options.revision} -> here: medians of {options.pairs} pairs; the ratio is here by there", flush=True)
    sides = [{"PYTHONPATH": str(tree)}, {"PYTHONPATH": str(ROOT)}]
    for name in options.parts.split(","):
        part = PARTS[name](options)
        if not (tree / part.needs).exists():
            print(f"{name:11} is left out: {options.revision} has no {part.needs}", flush=True)
            continue
        found, base = await compare(part, sides, directory, options.pairs)
        print("\n".join(tell(name, found, base)), flush=True)
    print(load())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", metavar="REV")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, with commas between them")
    parser.add_argument("--pairs", type=int, default=5, help="how often each of the two is run")
    parser.add_argument("--chats", type=int, default=100, help="end_to_end, slack: users at once")
    parser.add_argument("--messages", type=int, default=10, help="end_to_end, slack: messages of each of them")
    parser.add_argument("--alone", type=int, default=100, help="end_to_end, slack: messages of the single user")
    parser.add_argument("--seconds", type=float, default=2.0, help="ingest: of a round; footprint: of rest before the look")
    parser.add_argument("--agents", default="echo,chat_completions,scripted_acp", help="agents: which, with commas between them")
    parser.add_argument("--turns", type=int, default=50, help="agents: turns in the one session")
    parser.add_argument("--sessions", type=int, default=50, help="agents: sessions at once")
    parser.add_argument("--directory", type=Path, default=None, help="where the state is written, on the disk to be measured")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts.split(",")) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if unknown := set(options.agents.split(",")) - CONTENDERS.keys():
        parser.error(f"no such agent: {', '.join(sorted(unknown))}; there are {', '.join(CONTENDERS)}")
    if options.pairs < 1:
        parser.error("--pairs is at least 1")
    with tempfile.TemporaryDirectory(dir=options.directory) as name, tree_of(options.revision, Path(name)) as tree:
        trio.run(compare_all, options, Path(name), tree)


if __name__ == "__main__":
    allow_many_files()
    main(sys.argv[1:])
