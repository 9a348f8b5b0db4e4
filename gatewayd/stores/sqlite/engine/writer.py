"""The writer with group commit: one task runs all waiting writes in one transaction, with one thread hop and one fsync."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from time import perf_counter
from typing import Any, Generic, TypeVar

import anyio
from msgspec import Struct

from gatewayd.model.errors import StoreRefused
from gatewayd.model.histogram import Stopwatch
from gatewayd.ports.store import StoreStatistics
from gatewayd.stores.sqlite.engine.blocking import RunBlocking
from gatewayd.stores.sqlite.engine.errors import is_about_the_file, is_damage, refusal
from gatewayd.stores.sqlite.engine.file_identity import FileIdentity

T = TypeVar("T")

QUEUE_LENGTH = 1024
"""The number of writes in the queue. Further callers wait until there is space."""
BATCH_LENGTH = 512
"""The most writes in one transaction. It limits how long the first one waits for the last."""


class _Job(Generic[T]):
    """One write: its operation and its result. ``abandoned``: its caller was cancelled."""

    __slots__ = ("abandoned", "done", "error", "operation", "value")
    value: T

    def __init__(self, operation: Callable[[sqlite3.Connection], T]) -> None:
        self.operation = operation
        self.done = anyio.Event()
        self.error: Exception | None = StoreRefused("the store's writer has ended; nothing was stored")
        self.abandoned = False

    def run(self, connection: sqlite3.Connection) -> None:
        """Run within the transaction of the batch. An error of the operation itself undoes this write only.

        :raises sqlite3.Error: the file has failed, and with it the whole batch.
        """
        connection.execute("SAVEPOINT job")
        try:
            self.value = self.operation(connection)
            self.error = None
        except Exception as error:
            if is_about_the_file(error):
                raise
            connection.execute("ROLLBACK TO job")
            self.error = error
        connection.execute("RELEASE job")

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return self.value


class _Commit(Struct, frozen=True):
    """The result of one transaction. ``error`` in words: nothing was stored."""

    seconds: float
    rows: int
    error: str | None = None


class Writer:
    """Owns the writing connection. ``run`` must be running while ``submit`` is called.

    The threads of ``run_blocking`` use the connection one after the other, as sqlite3 requires it without ``check_same_thread``.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, run_blocking: RunBlocking, now: Callable[[], float]) -> None:
        self._connection = connection
        self._path = path
        self._identity = FileIdentity(path)
        self._run_blocking = run_blocking
        self._now = now
        self._send, self._receive = anyio.create_memory_object_stream[_Job[Any]](QUEUE_LENGTH)
        self._in_transaction = 0
        self._committing_since: float | None = None
        self._commits = 0
        self._operations = 0
        self._rows = 0
        self._last_commit_seconds = 0.0
        self._damage: str | None = None
        self._healthy = True
        self._last_error: str | None = None
        self._last_error_at: float | None = None
        self._failing_since: float | None = None
        self._watchers: list[Callable[[str | None], None]] = []
        self._stopwatch = Stopwatch()

    def watch(self, call: Callable[[str | None], None]) -> None:
        """As ``gatewayd.ports.store.Store.watch``."""
        self._watchers.append(call)

    async def submit(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``operation`` in a transaction; returns its result after the commit, or raises what it raised.

        Waits while the queue is full. A caller that is cancelled does not learn whether its operation was run; it was run
        completely or not at all. ``operation`` runs in a worker thread: it uses the connection only, and neither begins nor
        ends a transaction.

        :raises StoreRefused: the commit failed, or the store is closed. Nothing was stored.
        """
        job = _Job(operation)
        try:
            await self._enqueue(job)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise StoreRefused(f"{self._path}: the store is closed") from None
        try:
            await job.done.wait()
        finally:
            job.abandoned = not job.done.is_set()
        return job.result()

    async def _enqueue(self, job: _Job[Any]) -> None:
        try:
            self._send.send_nowait(job)  # without a checkpoint: the caller waits for the commit anyway
        except anyio.WouldBlock:
            await self._send.send(job)

    async def run(self) -> None:
        """Run writes until ``close``, and those that were submitted before it.

        Cancellation does not end it: other tasks store their last rows while the daemon is cancelled.
        """
        batch: list[_Job[Any]] = []
        with anyio.CancelScope(shield=True):
            try:
                async for first in self._receive:
                    batch = [first, *islice(self._waiting(), BATCH_LENGTH - 1)]
                    await self._commit([job for job in batch if not job.abandoned])
            finally:
                # Jobs are left only after a bug, or when no thread can be started. Their callers must not wait for ever.
                for job in chain(batch, self._waiting()):
                    job.done.set()
                self._receive.close()

    def note_damage(self, damage: StoreRefused) -> None:
        """The reader has found the file damaged."""
        self._damage = self._damage or damage.reason
        self._note_error(damage.reason)
        self._note_health()

    def close(self) -> None:
        """Accept no more writes; ``run`` ends after those in the queue."""
        self._send.close()

    def statistics(self, *, checked_whole: bool) -> StoreStatistics:
        waiting = self._receive.statistics()
        return StoreStatistics(
            queue_depth=waiting.current_buffer_used + waiting.tasks_waiting_send + self._in_transaction,
            commits=self._commits,
            operations=self._operations,
            rows=self._rows,
            last_commit_seconds=self._last_commit_seconds,
            healthy=self._healthy,
            last_error=self._last_error,
            last_error_at=self._last_error_at,
            checked_whole=checked_whole,
            failing_since=self._failing_since,
            committing_since=self._committing_since,
            commit_seconds=self._stopwatch.histogram,
        )

    def _waiting(self) -> Iterator[_Job[Any]]:
        while True:
            try:
                yield self._receive.receive_nowait()
            except (anyio.WouldBlock, anyio.EndOfStream):
                return

    async def _commit(self, batch: Sequence[_Job[Any]]) -> None:
        if not batch:
            return
        self._in_transaction, self._committing_since = len(batch), self._now()
        commit = await self._run_blocking(partial(self._transact, batch))
        self._in_transaction, self._committing_since = 0, None
        self._note(commit, len(batch))
        for job in batch:
            job.done.set()

    def _transact(self, batch: Sequence[_Job[Any]]) -> _Commit:
        """Runs in the worker thread."""
        started = perf_counter()
        rows_before = self._connection.total_changes
        if (lost := self._identity.find_lost()) is not None:
            return _refuse(batch, StoreRefused(lost), started)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                job.run(self._connection)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            return self._roll_back(batch, error, started)
        return _Commit(perf_counter() - started, self._connection.total_changes - rows_before)

    def _roll_back(self, batch: Sequence[_Job[Any]], error: sqlite3.Error, started: float) -> _Commit:
        # On most of these errors SQLite has rolled back by itself already (sqlite.org/lang_transaction.html, section 3).
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        refused = refusal(error, self._path)
        if is_damage(error):
            self._damage = self._damage or refused.reason
        return _refuse(batch, refused, started)

    def _note(self, commit: _Commit, operations: int) -> None:
        self._last_commit_seconds = commit.seconds
        self._stopwatch.observe(commit.seconds)
        if commit.error is not None:
            self._note_error(commit.error)
        else:
            self._commits += 1
            self._operations += operations
            self._rows += commit.rows
            # The undamaged part is still used, but that does not prove that the file is whole. And a commit that changed no row
            # has written nothing: on a full disk it succeeds.
            if commit.rows and self._damage is None:
                self._failing_since = None
        self._note_health()

    def _note_error(self, error: str) -> None:
        self._last_error, self._last_error_at = error, self._now()
        if self._failing_since is None:
            self._failing_since = self._last_error_at

    def _note_health(self) -> None:
        was_healthy, self._healthy = self._healthy, self._failing_since is None
        if self._healthy != was_healthy:
            for call in self._watchers:
                call(None if self._healthy else self._last_error)


def _refuse(batch: Sequence[_Job[Any]], refused: StoreRefused, started: float) -> _Commit:
    for job in batch:
        job.error = StoreRefused(f"{refused.reason}; nothing was stored", may_pass=refused.may_pass)
    return _Commit(perf_counter() - started, 0, refused.reason)
