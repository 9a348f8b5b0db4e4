"""``python -m tests.simulation``: what contrib/simulate runs, with PYTHONHASHSEED fixed."""

import argparse
import sys

from tests.simulation.runs import replay, run_many


def main() -> int:
    parser = argparse.ArgumentParser(prog="contrib/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="how many seeds to run")
    parser.add_argument("--from", type=int, default=1, dest="first", metavar="SEED", help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many processes run them")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one seed and tell every step")
    parser.add_argument("--logs", action="store_true", help="with --replay: the daemon's own log as well")
    parser.add_argument("--digests", action="store_true", help="print a digest of each run")
    options = parser.parse_args()
    if options.replay is not None:
        return replay(options.replay, logs=options.logs)
    return run_many(options.first, options.seeds, options.jobs, digests=options.digests)


if __name__ == "__main__":
    sys.exit(main())
