"""The disk: SQLite's calls run inline, slowly at times, fail for a while, and stop when the life that makes them is over.

What fails is the real SQLite: a full disk is its own page limit, an I/O error is a statement that its authorizer denies, so
that the real roll back runs.
"""

import sqlite3
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Literal, TypeVar

import trio

from gatewayd.model.errors import StoreRefused
from gatewayd.stores.sqlite.engine.files import OpenFiles

if TYPE_CHECKING:
    from tests.simulation.life import Life

T = TypeVar("T")

Illness = Literal["none", "full", "io"]
_NO_LIMIT = 1_000_000_000
_WRITES = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)


class Dead(StoreRefused):
    """The process that asks is no more."""


class Disk:
    """What all lives share: how slow it is, and what ails it now. ``commits`` counts those of the whole run."""

    def __init__(self, rng: Random, *, slow: float) -> None:
        """``slow``: the part of the commits that take their time."""
        self.rng = rng
        self.illness: Illness = "none"
        self.commits = 0
        self.refused = 0
        self._slow = slow

    def delay(self) -> float:
        if self.rng.random() >= self._slow:
            return self.rng.choice((0.0, 0.0, 0.0005, 0.002))
        return self.rng.choice((0.01, 0.05, 0.3, 1.0, 3.0, 12.0))


class LifeDisk:
    """The disk as one life has it: ``run_blocking`` of its store."""

    def __init__(self, disk: Disk, life: "Life") -> None:
        self._disk = disk
        self._life = life
        self._files: OpenFiles | None = None
        self._applied: Illness = "none"

    async def __call__(self, work: Callable[[], T], /) -> T:
        name = str(getattr(getattr(work, "func", work), "__name__", ""))
        if name == "_transact":
            return await self._commit(work)
        await trio.lowlevel.checkpoint()
        if self._life.dead and name != "close":
            raise Dead("the process is gone")
        self._apply_illness(reading=True)
        try:
            result = work()
        except StoreRefused:
            self._disk.refused += 1
            raise
        if isinstance(result, OpenFiles):
            self._files = result
        return result

    def cut_off(self) -> None:
        """The process is gone: what it had open is closed by the kernel, and what was not committed never was."""
        if self._files is not None:
            self._files.close()

    async def _commit(self, work: Callable[[], T]) -> T:
        await trio.sleep(self._disk.delay())
        self._look_alive()
        self._life.pass_point("before_commit")
        self._look_alive()
        self._apply_illness(reading=False)
        result = work()
        failed = getattr(result, "error", None)
        self._disk.commits += failed is None
        self._disk.refused += failed is not None
        self._life.pass_point("after_commit")
        self._look_alive()
        await trio.sleep(self._disk.delay() / 4)
        self._look_alive()
        return result

    def _look_alive(self) -> None:
        if self._life.dead:
            raise Dead("the process is gone")

    def _apply_illness(self, *, reading: bool) -> None:
        illness = self._disk.illness
        if self._files is None or illness == self._applied == "none":
            return
        self._applied = illness
        writer, reader = self._files.writer, self._files.reader
        [pages] = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages if illness == 'full' else _NO_LIMIT}")
        # Typed as if there had to be one; None takes it away (Python's sqlite3, set_authorizer, since 3.11).
        writer.set_authorizer(self._denies_writing() if illness == "io" else None)
        denies = illness == "io" and reading and self._disk.rng.random() < 0.3
        reader.set_authorizer(_denies_reading if denies else None)

    def _denies_writing(self) -> Callable[..., int]:
        """Fails at the beginning, at the n-th write of the batch, or at its commit."""
        rng = self._disk.rng
        word = rng.choice(("BEGIN", "COMMIT", ""))
        left = rng.randrange(4)

        def authorise(action: int, first: str | None, *_: object) -> int:
            nonlocal left
            if word:
                denied = action == sqlite3.SQLITE_TRANSACTION and first == word
            else:
                # json_each says its columns, in words only, when it is used for the first time.
                writes = action in _WRITES and first != "sqlite_master"
                left -= writes
                denied = left < 0 and writes
            return sqlite3.SQLITE_DENY if denied else sqlite3.SQLITE_OK

        return authorise


def _denies_reading(action: int, *_: object) -> int:
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_SELECT else sqlite3.SQLITE_OK
