"""Durable inserts per second: the store's group commit against one commit per insert on plain sqlite3, in one run.

    python contrib/bench/store.py [--seconds 3] [--directory PATH]

Both journal the same envelope with WAL and synchronous=FULL in the same directory, which must be on the disk that is to be
measured (not on a tmpfs). Of the figures compare the ratios: they carry over to other machines, the rates do not.
"""

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import trio

from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.stores.sqlite import SqliteStore, open_store

PRODUCERS = (1, 16, 256)
TEXT = "The quick brown fox jumps over the lazy dog. " * 8


def envelope(number: int) -> InboundEnvelope:
    return InboundEnvelope(
        channel="telegram",
        account="main",
        event_key=str(number),
        kind="message",
        peer=Peer(kind="dm", id=str(number % 100)),
        sender=Sender(id=str(number % 100), name="Alice"),
        text=TEXT,
        received_at=1_700_000_000.0 + number,
    )


def measure_plain(directory: Path, seconds: float) -> float:
    """The baseline: an insert, a commit, the next insert; no threads, no event loop."""
    connection = sqlite3.connect(directory / "plain.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE inbound (id INTEGER PRIMARY KEY, event_key TEXT UNIQUE, envelope BLOB)")
    inserted = 0
    started = time.perf_counter()
    while time.perf_counter() < started + seconds:
        row = envelope(inserted)
        connection.execute("INSERT INTO inbound (event_key, envelope) VALUES (?, ?)", (row.event_key, msgspec.json.encode(row)))
        inserted += 1
    elapsed = time.perf_counter() - started
    connection.close()
    return inserted / elapsed


async def produce(store: SqliteStore, next_number: Callable[[], int], until: float) -> None:
    while time.perf_counter() < until:
        await store.add_inbound([envelope(next_number())])


async def measure_store(directory: Path, producers: int, seconds: float) -> tuple[float, float]:
    """Inserts per second, and how many there were in one commit."""
    numbers = iter(range(2**62))
    async with open_store(directory / f"store-{producers}", now=time.time) as store:
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(producers):
                nursery.start_soon(produce, store, numbers.__next__, started + seconds)
        elapsed = time.perf_counter() - started
        statistics = store.statistics()
    return statistics.operations / elapsed, statistics.operations / statistics.commits


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement")
    parser.add_argument("--directory", type=Path, default=None, help="where to write (default: the temporary directory)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        plain = measure_plain(directory, options.seconds)
        print(f"plain sqlite3, one commit per insert {plain:>10,.0f} inserts/s")
        for producers in PRODUCERS:
            rate, per_commit = trio.run(measure_store, directory, producers, options.seconds)
            print(
                f"store, {producers:>3} producers                 {rate:>10,.0f} inserts/s"
                f"   ratio {rate / plain:5.2f}   {per_commit:6.1f} inserts per commit"
            )


if __name__ == "__main__":
    main()
