"""kill -9 in the middle of everything: what was acknowledged is there, and the file is whole."""

import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

import pytest

from gatewayd.model.errors import StoreRefused
from gatewayd.stores.sqlite.engine.files import open_files

KILLS_AFTER_LINES = (1, 50, 333, 1000, 2000)
QUERIES = {
    "in": "SELECT id FROM inbound",
    "out": "SELECT id FROM outbound",
    "event": "SELECT seq FROM event",
}


@contextmanager
def hammer(state_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.stores.sqlite.engine.hammer", str(state_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_after(lines: int, state_dir: Path) -> list[tuple[str, int]]:
    with hammer(state_dir) as process:
        assert process.stdout is not None
        seen = list(islice(process.stdout, lines))
        process.kill()
        seen += process.stdout.readlines()
    said = [line.split() for line in seen]
    return [(kind.decode(), int(number)) for kind, number in said]


@pytest.mark.slow
def test_what_was_acknowledged_survives_every_kill(tmp_path: Path) -> None:
    acknowledged: defaultdict[str, set[int]] = defaultdict(set)
    for lines in KILLS_AFTER_LINES:
        for kind, number in kill_after(lines, tmp_path):
            assert number not in acknowledged[kind], "a number was used twice"
            acknowledged[kind].add(number)
        open_files(tmp_path).close()  # starts unattended, check included
        with closing(sqlite3.connect(tmp_path / "gatewayd.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            for kind, query in QUERIES.items():
                stored = {number for (number,) in connection.execute(query)}
                assert acknowledged[kind] <= stored, f"{kind}: acknowledged, but lost"
            done = connection.execute("SELECT count(*) FROM inbound WHERE state = 'done'").fetchone()
            replies = connection.execute("SELECT count(*) FROM outbound").fetchone()
            assert done == replies, "a message ended without its reply"
            [events] = connection.execute("SELECT count(*) = ifnull(max(seq), 0) FROM event").fetchone()
            assert events == 1, "the event numbers have a gap"
    assert sum(map(len, acknowledged.values())) >= sum(KILLS_AFTER_LINES)


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    with hammer(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        with pytest.raises(StoreRefused, match=f"in use by process {process.pid}"):
            open_files(tmp_path)
        assert process.poll() is None
    open_files(tmp_path).close()
