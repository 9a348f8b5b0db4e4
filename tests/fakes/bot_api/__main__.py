"""``python -m tests.fakes.bot_api [--port N] [--token T] [--control]``: the fake as a process; its first line is its URL."""

import argparse
import signal
import sys

import trio

from tests.fakes.bot_api.api import TOKEN, USERNAME, FakeBotApi
from tests.fakes.bot_api.control import control_of


async def _serve(port: int, token: str, username: str, control: bool) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with FakeBotApi.serve(token=token, username=username, port=port) as api:
            if control:
                api.serve_control(control_of(api))
            sys.stdout.write(api.url + "\n")
            sys.stdout.flush()
            async for _ in signals:
                return


def main() -> None:
    """Serve until SIGINT or SIGTERM; exit code 1 when a client violated the Bot API."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.bot_api", description="A fake Telegram Bot API server.")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--token", default=TOKEN)
    parser.add_argument("--username", default=USERNAME)
    parser.add_argument("--control", action="store_true", help="open POST /control/… to drive it from another process")
    options = parser.parse_args()
    trio.run(_serve, options.port, options.token, options.username, options.control)


if __name__ == "__main__":
    main()
