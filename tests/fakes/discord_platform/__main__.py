"""``python -m tests.fakes.discord_platform [--port N] [--control]``: the fake as a process; its first line is its URL."""

import argparse
import signal
import sys

import trio

from tests.fakes.discord_platform.control import control_of
from tests.fakes.discord_platform.platform import FakeDiscord


async def _serve(port: int, control: bool) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with FakeDiscord.serve(port=port) as discord:
            if control:
                discord.serve_control(control_of(discord))
            sys.stdout.write(discord.url + "\n")
            sys.stdout.flush()
            async for _ in signals:
                return


def main() -> None:
    """Serve until SIGINT or SIGTERM; exit code 1 when a client did what no correct client does."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.discord_platform", description="A fake Discord.")
    parser.add_argument("--port", type=int, default=0, help="of REST, on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--control", action="store_true", help="open POST /control/… to drive it from another process")
    options = parser.parse_args()
    trio.run(_serve, options.port, options.control)


if __name__ == "__main__":
    main()
