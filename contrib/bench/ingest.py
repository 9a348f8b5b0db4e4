"""Durable webhook ingest: updates per second that gatewayd has committed to its store before it answers 200.

    python -m contrib.bench.ingest [--connections 64] [--clients 2] [--seconds 5] [--rounds 3] [--warm-up 1] [--directory PATH]

The clients are processes of their own. The account admits nobody (dm_policy = "disabled"): every message is journaled,
acknowledged and then dropped with a reason, so that what is measured is ingest and not turns. The baseline takes the same
posts from the same clients, with the same parser, and answers 200 without keeping anything.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import trio
from msgspec import Struct

from contrib.bench.figures import describe_machine, load, median
from contrib.bench.processes import run_gatewayd, run_process, telegram_account, wait_seen, write_token
from tests.fakes.bot_api import FakeBotApi

UPDATES_PER_CLIENT = 10_000_000


class Posted(Struct):
    """What one client process saw."""

    statuses: dict[int, int]
    seconds: float


class Target(Struct):
    """Where to post. ``next_id`` keeps update ids fresh over the rounds."""

    url: str
    secret: str = ""
    next_id: int = 1


async def post(target: Target, options: argparse.Namespace, seconds: float) -> tuple[float, Counter[int]]:
    """Updates accepted per second by all clients together, and the answers by status."""
    results: list[Posted] = []
    parts = urlsplit(target.url)

    async def run_client(first_id: int) -> None:
        arguments = [
            parts.netloc,
            parts.path or "/",
            target.secret,
            str(options.connections // options.clients),
            str(seconds),
            str(first_id),
        ]
        command = [sys.executable, "-m", "contrib.bench.post_updates", *arguments]
        done = await trio.run_process(command, capture_stdout=True)
        results.append(msgspec.json.decode(done.stdout, type=Posted, strict=False))

    with trio.fail_after(seconds + 60):
        async with trio.open_nursery() as nursery:
            for _ in range(options.clients):
                nursery.start_soon(run_client, target.next_id)
                target.next_id += UPDATES_PER_CLIENT
    statuses: Counter[int] = Counter()
    for result in results:
        statuses.update(result.statuses)
    return sum(result.statuses.get(200, 0) / result.seconds for result in results), statuses


async def measure_gatewayd(directory: Path, options: argparse.Namespace, env: Mapping[str, str] | None = None) -> list[float]:
    async with FakeBotApi.serve() as api:
        public = "https://bench.example"
        account = telegram_account(
            "bench", write_token(directory, "bench", api.token), api.url, 'mode = "webhook"', 'dm_policy = "disabled"'
        )
        config = (
            f'[gateway]\nbind = "127.0.0.1:0"\npublic_url = "{public}"\nlog_level = "warning"\n'
            f'[agents.echo]\ncore = "echo"\n{account}'
        )
        async with run_gatewayd(config, directory, env=env) as daemon:
            registered = await api.wait_webhook()
            secret = api.calls("setWebhook")[-1]["secret_token"]
            target = Target(daemon.url + registered.removeprefix(public), secret)
            return await rounds("gatewayd, durable", target, options)


async def measure_baseline(directory: Path, options: argparse.Namespace) -> list[float]:
    log = directory / "bare_server.log"
    async with run_process([sys.executable, "-m", "contrib.bench.baselines.bare_server"], log):
        await wait_seen(lambda: log.read_text().endswith("\n"), at_most_seconds=20)
        return await rounds("answering only", Target(log.read_text().strip()), options)


async def rounds(name: str, target: Target, options: argparse.Namespace) -> list[float]:
    if options.warm_up:
        await post(target, options, options.warm_up)
    rates: list[float] = []
    for _ in range(options.rounds):
        rate, statuses = await post(target, options, options.seconds)
        print(f"{name:18} {rate:8,.0f} updates/s   answers {dict(statuses)}", flush=True)
        rates.append(rate)
    return rates


async def compare(directory: Path, options: argparse.Namespace) -> None:
    print(describe_machine(directory))
    base = median(await measure_baseline(directory, options))
    ours = median(await measure_gatewayd(directory, options))
    print(f"median: gatewayd {ours:,.0f} updates/s, answering only {base:,.0f} updates/s, ratio {ours / base:.2f}; {load()}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=64, help="of all client processes together")
    parser.add_argument("--clients", type=int, default=2, help="client processes")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds of a round before them, not counted; 0: none")
    parser.add_argument("--directory", type=Path, default=None, help="where the state is written, on the disk to be measured")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        trio.run(compare, Path(name), options)


if __name__ == "__main__":
    main()
