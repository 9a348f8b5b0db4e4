"""A process that writes until it is killed: ``python -m tests.stores.sqlite.engine.hammer STATE_DIR``.

After each awaited commit it prints what it now relies on, one line each: ``in ID`` a journaled message, ``out ID`` a reply
whose message has ended, ``event SEQ``.
"""

import os
import sys
import time
from itertools import count
from pathlib import Path

import trio

from gatewayd.ports.store import EventDraft
from gatewayd.stores.sqlite import SqliteStore, open_store
from gatewayd.testing.store_contract.rows import draft, envelope

TASKS = 8


def say(line: str) -> None:
    os.write(sys.stdout.fileno(), f"{line}\n".encode())  # one write: a kill cuts between lines


async def work(store: SqliteStore, name: str) -> None:
    for number in count():
        [row] = (await store.add_inbound([envelope(f"{name}-{number}", text="x" * (number % 3000))])).rows
        say(f"in {row.id}")
        [reply] = await store.end_inbound(
            [row.id], state="done", reason="answered", now=1.0, replies=[draft("y" * (number % 500))]
        )
        say(f"out {reply.id}")
        [event] = await store.add_events([EventDraft(at=1.0, kind="inbound.done", data=b"{}")])
        say(f"event {event.seq}")


async def main(state_dir: Path) -> None:
    async with open_store(state_dir, now=time.time) as store, trio.open_nursery() as nursery:
        for number in range(TASKS):
            nursery.start_soon(work, store, f"{os.getpid()}-{number}")


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
