"""What gatewayd costs while it has nothing to do: start to ready, memory, CPU.

    python -m contrib.bench.footprint [--starts 7] [--accounts 1000] [--modes poll webhook]
                                      [--channels 1000] [--guilds 200] [--settle 5] [--seconds 30] [--directory PATH]

Measured with one polling Telegram account, and with many idle accounts, polling and by webhook, against the tests' fake Bot
API in this process. And with one account of Slack or Discord, before and after somebody has talked to it in many channels, each
of which has a session then (in Slack that of a thread; in Discord the channels are in guilds of five), and with one in many large
guilds of Discord. The baseline is a Python that imports the very modules that a ready gatewayd has imported (its own aside) and
then waits.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import trio
from msgspec import Struct

from contrib.bench.figures import describe_machine, load, median, verdict
from contrib.bench.platforms import OpenChannels, networks_with_channels
from contrib.bench.platforms.discord import CHANNELS_AT_FIRST, open_discord_channels
from contrib.bench.processes import (
    Daemon,
    allow_many_files,
    cpu_percent,
    rss_mib,
    run_gatewayd,
    run_process,
    telegram_account,
    wait_seen,
    write_token,
)
from tests.fakes.bot_api import FakeBotApi

CONNECT_SECONDS = 120.0
PUBLIC_URL = "https://bench.example"
IDLE = "import sys, time; print('ready', flush=True); time.sleep(600)"

Mode = Literal["poll", "webhook"]


@asynccontextmanager
async def gatewayd_with(
    accounts: int, mode: Mode, directory: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[Daemon]:
    """A gatewayd with this many idle accounts, all of them connected."""
    await trio.Path(directory).mkdir()
    async with FakeBotApi.serve() as api:
        tables: list[str] = []
        for number in range(accounts):
            token = f"{600_000 + number}:AAbench_token_{number:06}_0123456789abcdef"
            api.add_bot(token, f"bench_{number}_bot")
            name = f"bench{number}"
            tables.append(telegram_account(name, write_token(directory, name, token), api.url, f'mode = "{mode}"'))
        config = (
            f'[gateway]\nbind = "127.0.0.1:0"\npublic_url = "{PUBLIC_URL}"\nlog_level = "warning"\n'
            f'[agents.echo]\ncore = "echo"\n{"".join(tables)}'
        )
        async with run_gatewayd(config, directory, ready_within=CONNECT_SECONDS, env=env) as daemon:
            await wait_connected(daemon)
            yield daemon


async def wait_connected(daemon: Daemon) -> None:
    """:raises RuntimeError: an account did not connect in time."""
    until = time.perf_counter() + CONNECT_SECONDS
    while missing := (await daemon.status()).not_connected():
        if time.perf_counter() > until:
            raise RuntimeError(f"{len(missing)} accounts are not connected, the first: {missing[0]}")
        await trio.sleep(0.1)


class Idle(Struct):
    """Of a process that waits: seconds from its start until it was ready, MiB, and percent of one core."""

    ready_after: float
    rss: float
    percent: float


async def measure_idle(
    accounts: int, mode: Mode, directory: Path, options: argparse.Namespace, env: Mapping[str, str] | None = None
) -> Idle:
    """A gatewayd, once it has settled."""
    async with gatewayd_with(accounts, mode, directory, env) as daemon:
        await trio.sleep(options.settle)
        percent = await cpu_percent(daemon.pid, options.seconds)
        return Idle(daemon.ready_after, rss_mib(daemon.pid), percent)


class Known(Struct):
    """MiB of a process with no channels, and at rest with those that it knows."""

    before: float
    after: float


async def measure_channels(
    network: OpenChannels, channels: int, directory: Path, settle: float, env: Mapping[str, str] | None = None
) -> Known:
    """A gatewayd in a network. It is mentioned once in each channel, and answers."""
    await trio.Path(directory).mkdir()
    async with network() as rooms:
        account = rooms.account(directory)
        config = f'[gateway]\nbind = "127.0.0.1:0"\nlog_level = "warning"\n[agents.echo]\ncore = "echo"\n{account}'
        async with run_gatewayd(config, directory, env=env) as daemon:
            await wait_connected(daemon)
            await trio.sleep(settle)
            before = rss_mib(daemon.pid)
            await rooms.talk(channels)
            await trio.sleep(settle)
            return Known(before, rss_mib(daemon.pid))


async def measure_starts(starts: int, directory: Path) -> list[float]:
    """Seconds from the start of the process to the first 200 of /readyz."""
    taken: list[float] = []
    for number in range(starts):
        async with gatewayd_with(1, "poll", directory / f"start{number}") as daemon:
            taken.append(daemon.ready_after)
    return taken


def imported_modules(directory: Path, settle: float) -> list[str]:
    """What a gatewayd imports until it is ready, its own modules aside, by Python's own account (-X importtime)."""

    async def start_once() -> str:
        state = directory / "imports"
        log = directory / "imports.log"
        command = [sys.executable, "-X", "importtime", "-m", "gatewayd", "--config", str(directory / "empty.toml")]
        (directory / "empty.toml").write_text('[gateway]\nbind = "127.0.0.1:0"\n')
        async with run_process([*command, "--state-dir", str(state)], log) as process:
            endpoint = state / "endpoint.json"
            await wait_seen(lambda: endpoint.exists() or process.poll() is not None, at_most_seconds=60)
            await trio.sleep(settle)
        return log.read_text(errors="replace")

    lines = [line for line in trio.run(start_once).splitlines() if line.startswith("import time:")]
    names = [line.rpartition("|")[2].strip() for line in lines[1:]]
    return [name for name in names if name.partition(".")[0] not in {"gatewayd", "__main__"}]


def baseline_program(modules: list[str]) -> str:
    return (
        "import importlib\n"
        f"for name in {modules!r}:\n"
        "    try:\n        importlib.import_module(name)\n    except ImportError:\n        pass\n"
        f"{IDLE}\n"
    )


async def measure_baseline(program: Path, directory: Path, seconds: float) -> Idle:
    """A Python that imports the same and does nothing."""
    log = directory / "baseline.log"
    started = time.perf_counter()
    async with run_process([sys.executable, str(program)], log) as process:
        await wait_seen(lambda: "ready" in log.read_text(), at_most_seconds=60)
        ready_after = time.perf_counter() - started
        percent = await cpu_percent(process.pid, seconds)
        return Idle(ready_after, rss_mib(process.pid), percent)


def measure_python() -> float:
    """Seconds of an interpreter that starts and ends."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", ""], check=True)
    return time.perf_counter() - started


async def measure_all(program: Path, directory: Path, options: argparse.Namespace) -> None:
    starts = await measure_starts(options.starts - 1, directory)
    baselines = [await measure_baseline(program, directory, 0.1) for _ in range(options.starts - 1)]
    base = await measure_baseline(program, directory, options.seconds)
    one = await measure_idle(1, "poll", directory / "idle", options)
    ready = median([*starts, one.ready_after])
    print(f"start to ready: {ready:.3f} s, {verdict(ready, at_most=0.7)}; importing the same and waiting: ", end="")
    imported = median([each.ready_after for each in (*baselines, base)])
    print(f"{imported:.3f} s; a bare interpreter: {measure_python():.3f} s; {load()}", flush=True)
    print(f"baseline, importing the same and waiting: {base.rss:.1f} MiB, {base.percent:.2f} % CPU", flush=True)
    print(
        f"idle, 1 account: {one.rss:.1f} MiB, {verdict(one.rss, at_most=60)}; "
        f"{one.percent:.2f} % CPU, {verdict(one.percent, at_most=0.3)}; {load()}",
        flush=True,
    )
    for name, network in networks_with_channels().items() if options.channels else ():
        known = await measure_channels(network, options.channels, directory / name, options.settle)
        print(
            f"idle, {name}: {known.before:.1f} MiB; with {options.channels} channels known: {known.after:.1f} MiB, "
            f"ratio {known.after / known.before:.2f}; {load()}",
            flush=True,
        )
    if options.guilds:
        network = partial(open_discord_channels, guilds=options.guilds)
        told = await measure_channels(network, 0, directory / "guilds", options.settle)
        print(
            f"idle, discord: {told.after:.1f} MiB in {options.guilds} guilds of {CHANNELS_AT_FIRST} channels; {load()}",
            flush=True,
        )
    for mode in options.modes:
        many = await measure_idle(options.accounts, mode, directory / mode, options)
        print(
            f"idle, {options.accounts} accounts, {mode}: {many.rss:.1f} MiB, {verdict(many.rss, at_most=150)}; "
            f"{many.percent:.2f} % CPU; {load()}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=7, help="how often it is started, with one account")
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--modes", nargs="+", choices=get_args(Mode), default=get_args(Mode), help="of the many accounts")
    parser.add_argument("--channels", type=int, default=1000, help="of Slack and Discord, in which it is mentioned once; 0: none")
    parser.add_argument("--guilds", type=int, default=200, help=f"of Discord, with {CHANNELS_AT_FIRST} channels each; 0: none")
    parser.add_argument("--settle", type=float, default=5.0, help="seconds to wait before that")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long CPU is counted")
    parser.add_argument("--directory", type=Path, default=None, help="where the state is written")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        print(describe_machine(directory), flush=True)
        program = directory / "baseline.py"
        program.write_text(baseline_program(imported_modules(directory, options.settle)))
        trio.run(measure_all, program, directory, options)


if __name__ == "__main__":
    allow_many_files()
    main()
