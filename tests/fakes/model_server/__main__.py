"""``python -m tests.fakes.model_server [--port N]``: the scripted model as a process; its first line is its URL."""

import argparse
import signal
import sys

import trio

from tests.fakes.model_server.server import ModelServer


async def _serve(port: int) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with ModelServer.serve(port=port) as model:
            sys.stdout.write(model.url + "\n")
            sys.stdout.flush()
            async for _ in signals:
                return


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.model_server", description="A scripted OpenAI-compatible model.")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    trio.run(_serve, parser.parse_args().port)


if __name__ == "__main__":
    main()
