"""``python -m tests.fakes.slack_platform [--port N] [--mode socket|events] [--control]``: the fake as a process.

Its first line is its URL, to be followed by ``/api``.
"""

import argparse
import signal
import sys

import trio

from tests.fakes.slack_platform.control import control_of
from tests.fakes.slack_platform.platform import FakeSlack, Mode


async def _serve(port: int, mode: Mode, control: bool) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with FakeSlack.serve(port=port, mode=mode) as slack:
            if control:
                slack.serve_control(control_of(slack))
            sys.stdout.write(slack.url + "\n")
            sys.stdout.flush()
            async for _ in signals:
                return


def main() -> None:
    """Serve until SIGINT or SIGTERM; exit code 1 when a client did what no correct client does."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.slack_platform", description="A fake Slack.")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--mode", choices=("socket", "events"), default="socket")
    parser.add_argument("--control", action="store_true", help="open POST /control/… to drive it from another process")
    options = parser.parse_args()
    trio.run(_serve, options.port, options.mode, options.control)


if __name__ == "__main__":
    main()
