"""``python -m tests.simulation``: what contrib/simulate runs, with PYTHONHASHSEED fixed."""

import argparse
import sys

from tests.simulation.bugs import hunt
from tests.simulation.bugs.planted import bugs, plant


def main() -> int:
    options = _parse()
    if options.planted is not None:
        return hunt.hunt_all(options.planted, options.jobs, options.first if options.by_seeds else None)
    if options.with_bug is not None:
        plant(bugs()[options.with_bug])
        if options.replay is None:
            return hunt.hunt_here(bugs()[options.with_bug], options.first if options.by_seeds else None)
    # Only now, so that a bug is in what is imported here.
    from tests.simulation.runs import replay, run_many

    if options.replay is not None:
        return replay(options.replay, logs=options.logs)
    if options.minutes is not None:
        return run_many(options.first, None, options.jobs, minutes=options.minutes, digests=options.digests)
    return run_many(options.first, options.seeds, options.jobs, digests=options.digests)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="contrib/simulate", description="The deterministic simulation: docs/simulation.md.")
    parser.add_argument("--seeds", type=_one_or_more, default=100, metavar="N", help="how many seeds to run")
    parser.add_argument("--minutes", type=float, metavar="N", help="run seeds for so long, however many those are")
    parser.add_argument("--from", type=int, default=1, dest="first", metavar="SEED", help="the first of them")
    parser.add_argument("--jobs", type=_one_or_more, default=1, metavar="N", help="how many processes run them")
    parser.add_argument("--digests", action="store_true", help="print a digest of each run")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one seed and tell every step")
    parser.add_argument("--logs", action="store_true", help="with --replay: the daemon's own log as well")
    parser.add_argument("--planted", nargs="*", metavar="NAME", help="plant bugs (all, or these) and see that each is found")
    parser.add_argument(
        "--by-seeds", action="store_true", help="look for planted bugs with seeds, from SEED, where a test is named, too"
    )
    parser.add_argument("--with-bug", metavar="NAME", help="look for one of them here; with --replay: see how it is found")
    options = parser.parse_args()
    if options.with_bug is not None and options.with_bug not in bugs():
        parser.error(f"there is no planted bug {options.with_bug!r}; there are: {', '.join(bugs())}")
    if options.with_bug is not None and options.replay is not None and not (bug := bugs()[options.with_bug]).seeds:
        parser.error(f"{bug.name} is nothing that the simulation sees: it is found by {bug.test}")
    if options.by_seeds and options.planted is None and options.with_bug is None:
        parser.error("--by-seeds goes with --planted or --with-bug")
    if options.minutes is not None and not options.minutes > 0:
        parser.error("--minutes must be more than 0")
    if options.logs and options.replay is None:
        parser.error("--logs goes with --replay")
    return options


def _one_or_more(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
