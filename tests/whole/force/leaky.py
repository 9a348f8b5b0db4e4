"""Agents that say in every way they have what they know of secrets: as a callable, and as an ACP program."""

import os
import runpy
import sys
from collections.abc import AsyncGenerator

from gatewayd.agents.callable import CallableTurn


def known() -> str:
    return " ".join(value for name, value in sorted(os.environ.items()) if name.startswith("CANARY_"))


async def fail(turn: CallableTurn) -> AsyncGenerator[str, None]:
    """Raises what it knows, as an error with a cause, in a group, with a note."""
    try:
        raise KeyError(known())
    except KeyError as cause:
        error = RuntimeError(f"{known()!r} in {known()}")
        error.add_note(known())
        if turn.attempt:
            raise ExceptionGroup(known(), [error, ValueError(known())]) from cause
    yield ""


def main() -> None:
    """An ACP agent that prints its environment on both outputs, in lines of many lengths; it dies, or with an argument lives."""
    for stream in (sys.stderr, sys.stdout):
        for before in (0, *range(150, 210, 8), *range(560, 600, 8), *range(940, 1000, 8)):
            stream.write(f"{'x' * before}{known()} {'y' * (before // 2)}\n")
        stream.write(known())
        stream.flush()
    if len(sys.argv) == 1:
        sys.exit(3)
    sys.argv = sys.argv[:1]
    sys.stdout.write("\n")
    runpy.run_module("tests.fakes.acp_agent", run_name="__main__")


if __name__ == "__main__":
    main()
