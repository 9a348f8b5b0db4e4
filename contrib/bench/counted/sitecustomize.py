"""Counts every function call of the main thread of a Python that finds this module on its path; the sum is written at its end."""

import atexit
import cProfile
import os
import pstats
from pathlib import Path

FILE = os.environ.pop("COUNT_CALLS_INTO")
"""Taken out of the environment: a process that this one starts would write into the same file."""

profile = cProfile.Profile()


@atexit.register
def _write() -> None:
    profile.disable()
    Path(FILE).write_text(str(pstats.Stats(profile).total_calls))  # type: ignore[attr-defined]


profile.enable()
