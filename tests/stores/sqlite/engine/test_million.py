"""A store of an older version with a million rows: it is upgraded in the time and the memory that a start has, also after
kill -9 in the middle of the copy and of the migration."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gatewayd.process.systemd import START_SECONDS
from gatewayd.stores.sqlite.engine.upgrade import copy_of
from gatewayd.stores.sqlite.migrations import migrate, newest_version, schema_version, scripts

pytestmark = pytest.mark.slow

BEFORE = 4
"""The version before the one that writes every row anew."""
ROWS = 1_000_000
MEMORY_MIB = 256
OPENER = [sys.executable, "-m", "tests.stores.sqlite.engine.opener"]
INBOUND = """
    INSERT INTO inbound (channel, account, event_key, peer, state, attempts, received_at, ended_at, reason, turn_id, session_key,
        envelope, message_id, started_at)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    SELECT 'telegram', 'account-' || (i % 100), i, 'dm:' || (i % 5000), 'done', 1, i, i + 1.0, 'answered', 'turn-' || i,
        'key-' || (i % 5000), CAST(printf('{"channel":"telegram","account":"account-%d","event_key":"%d","kind":"message",'
        || '"peer":{"kind":"dm","id":"%d"},"sender":{"id":"%d","name":"Alice"},"text":"a message of some length",'
        || '"message_id":"%d","addressed":true,"received_at":10.0}', i % 100, i, i % 5000, i % 5000, i) AS BLOB), i, i + 0.5
    FROM n
"""
OUTBOUND = """
    INSERT INTO outbound (channel, account, conversation, peer, state, attempts, created_at, queued_at, settled_at, turn_id,
        payload, receipt, message_id)
    SELECT channel, account, 'telegram:' || account || ':' || peer, peer, 'sent', 1, received_at, received_at, ended_at, turn_id,
        CAST('{"type":"send_text","peer":{"kind":"dm","id":"42"},"body":{"text":"an answer of some length"}}' AS BLOB),
        CAST(printf('{"message_id":"%d"}', id) AS BLOB), id
    FROM inbound
"""


def make_million(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -200000")
        migrate(connection, scripts()[:BEFORE])
        connection.execute("BEGIN")
        connection.execute(INBOUND, (ROWS // 2,))
        connection.execute(OUTBOUND)
        connection.execute("COMMIT")


def kill_when(path: Path, is_time: Callable[[], bool]) -> None:
    with subprocess.Popen([*OPENER, str(path.parent)]) as process:
        while not is_time():
            assert process.poll() is None, "it has ended before"
            time.sleep(0.005)
        process.kill()
    with closing(sqlite3.connect(path)) as connection:
        assert schema_version(connection) == BEFORE


def bytes_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_a_million_rows_are_upgraded_also_after_kills(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir(mode=0o700)
    path = state_dir / "gatewayd.db"
    make_million(path)
    copy = copy_of(path, BEFORE)
    kill_when(path, lambda: bytes_of(copy.with_name(copy.name + ".new")) > 0)
    assert not copy.exists()
    kill_when(path, lambda: bytes_of(path.with_name(path.name + "-wal")) > 100 * 2**20)
    assert copy.exists()
    began = time.monotonic()
    done = subprocess.run([*OPENER, str(state_dir)], capture_output=True, check=True)
    assert time.monotonic() - began < START_SECONDS
    assert int(done.stdout) < MEMORY_MIB
    for file, version in ((path, newest_version()), (copy, BEFORE)):
        with closing(sqlite3.connect(file)) as connection:
            assert schema_version(connection) == version
            assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
            for table in ("inbound", "outbound"):
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (ROWS // 2,)  # noqa: S608
