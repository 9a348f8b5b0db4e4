"""The store in one SQLite file: ``open_store`` and the object it gives."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio

from gatewayd.ports.store import StoreStatistics
from gatewayd.stores.sqlite.engine.blocking import RunBlocking, threads
from gatewayd.stores.sqlite.engine.files import open_files
from gatewayd.stores.sqlite.engine.reader import Reader
from gatewayd.stores.sqlite.engine.writer import Writer
from gatewayd.stores.sqlite.tables.approvals import ApprovalTable
from gatewayd.stores.sqlite.tables.audit import AuditTable
from gatewayd.stores.sqlite.tables.dead_letters import DeadLetterTable
from gatewayd.stores.sqlite.tables.events import EventTable
from gatewayd.stores.sqlite.tables.inbox import InboxTable
from gatewayd.stores.sqlite.tables.outbox import OutboxTable
from gatewayd.stores.sqlite.tables.pairings import PairingTable
from gatewayd.stores.sqlite.tables.questions import QuestionTable
from gatewayd.stores.sqlite.tables.repair import RepairTable
from gatewayd.stores.sqlite.tables.retention import RetentionTable
from gatewayd.stores.sqlite.tables.sessions import SessionTable
from gatewayd.stores.sqlite.tables.state import StateTable
from gatewayd.stores.sqlite.tables.tokens import TokenTable
from gatewayd.stores.sqlite.tables.transcript import TranscriptTable


class SqliteStore(
    InboxTable,
    OutboxTable,
    TranscriptTable,
    DeadLetterTable,
    RepairTable,
    RetentionTable,
    SessionTable,
    ApprovalTable,
    QuestionTable,
    AuditTable,
    EventTable,
    StateTable,
    PairingTable,
    TokenTable,
):
    """``gatewayd.ports.store.Store`` on SQLite. Made by ``open_store``; any number of tasks may use it at once."""

    def __init__(self, writer: Writer, reader: Reader, now: Callable[[], float], *, checked_whole: bool) -> None:
        super().__init__(writer, reader, now)
        self._checked_whole = checked_whole

    def watch(self, call: Callable[[str | None], None]) -> None:
        self._writer.watch(call)

    def statistics(self) -> StoreStatistics:
        return self._writer.statistics(checked_whole=self._checked_whole)


@asynccontextmanager
async def open_store(
    state_dir: Path, *, now: Callable[[], float], run_blocking: RunBlocking | None = None
) -> AsyncIterator[SqliteStore]:
    """Open ``gatewayd.db`` in ``state_dir``; make both if they are missing. The directory is locked until the end.

    ``now`` gives Unix seconds. ``run_blocking`` None takes worker threads; tests with a fake clock give ``run_inline``. At the
    end the submitted writes are committed and the file is closed, also when the body is cancelled. As with any task group, an
    error of the body arrives in an ExceptionGroup.

    :raises StoreRefused: another process uses the directory, or the file is damaged, of a newer release, or not writable. It is
        raised without a group.
    """
    run = run_blocking or threads()
    with anyio.CancelScope(shield=True):  # a cancellation must not lose the open files
        files = await run(partial(open_files, state_dir))
    try:
        writer = Writer(files.writer, files.path, run, now)
        reader = Reader(files.reader, files.path, run, writer.note_damage)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run, name="store writer")
            try:
                yield SqliteStore(writer, reader, now, checked_whole=files.checked_whole)
            finally:
                writer.close()
                with anyio.CancelScope(shield=True):
                    await reader.close()
    finally:
        with anyio.CancelScope(shield=True):
            await run(files.close)
