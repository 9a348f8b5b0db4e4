"""A store that is damaged, cut, gone or held by another: refused in a sentence that says what to do, and left as it was found."""

import hashlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trio

from gatewayd.daemon import EXIT_REFUSED
from gatewayd.model.status import Snapshot
from tests.whole.force.force import Bench
from tests.whole.walks import until, walk_by

ALICE = 1001
PAGE = 4096
LOG_HEADER, FRAME = 32, 24 + PAGE


def flip(file: Path, offset: int, count: int = 16) -> None:
    """Turn bytes over, as a disk does that loses its mind."""
    with file.open("r+b") as opened:
        opened.seek(offset)
        found = opened.read(count)
        opened.seek(offset)
        opened.write(bytes(byte ^ 0xFF for byte in found))


def pages_of(database: Path) -> int:
    return database.stat().st_size // PAGE


def root_of(database: Path, table: str) -> int:
    """Where a table begins in the file."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)) as connection:
        [page] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    return (int(page) - 1) * PAGE


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


async def fill(bench: Bench, *, kill: bool) -> None:
    """Some messages and their replies; a killed daemon leaves its log beside the database."""
    async with bench.start() as gateway:
        for number in range(5):
            bench.walk.say(ALICE, f"message {number}")
        await bench.wait_quiet(gateway)
        if kill:
            gateway.kill()
        else:
            await gateway.stop()
        await gateway.wait()


DAMAGE: dict[str, tuple[bool, Callable[[Path, Path], None]]] = {
    "the head": (False, lambda database, log: flip(database, 0)),
    "the head's numbers": (False, lambda database, log: flip(database, 16)),
    "the schema": (False, lambda database, log: flip(database, 100, 200)),
    "a table's first page": (False, lambda database, log: flip(database, root_of(database, "inbound"), 200)),
    "the last page": (False, lambda database, log: flip(database, (pages_of(database) - 1) * PAGE, PAGE)),
    "everything behind the head": (False, lambda database, log: flip(database, 100, database.stat().st_size)),
    "cut in the middle": (False, lambda database, log: _cut(database, database.stat().st_size // 2)),
    "cut in a page": (False, lambda database, log: _cut(database, database.stat().st_size - 100)),
    "nothing left": (False, lambda database, log: _cut(database, 0)),
    "gone": (False, lambda database, log: database.unlink()),
    "gone, and its log is there": (True, lambda database, log: database.unlink()),
    "cut, and its log is there": (True, lambda database, log: _cut(database, 0)),
    "the log's head": (True, lambda database, log: flip(log, 0)),
    "the log's salt": (True, lambda database, log: flip(log, 16)),
    "the log's middle": (True, lambda database, log: flip(log, _middle_of(log))),
    "another program's": (False, lambda database, log: _replace(database)),
}


def _cut(file: Path, size: int) -> None:
    with file.open("r+b") as opened:
        opened.truncate(size)


def _middle_of(log: Path) -> int:
    frames = (log.stat().st_size - LOG_HEADER) // FRAME
    return LOG_HEADER + frames // 2 * FRAME + 24 + 500


def _replace(database: Path) -> None:
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE song (name TEXT)")


@pytest.mark.force
@pytest.mark.parametrize("what", DAMAGE)
async def test_damage_is_found_at_the_start(tmp_path: Path, what: str) -> None:
    has_log, damage = DAMAGE[what]
    with trio.fail_after(60):
        async with walk_by("telegram poll", tmp_path) as walk:
            bench = Bench(walk, tmp_path)
            await fill(bench, kill=has_log)
            walk.say(ALICE, "not to be acknowledged")
            damage(bench.state_dir / "gatewayd.db", bench.state_dir / "gatewayd.db-wal")
            before = contents(bench.state_dir)
            code, said = await bench.refused()
            assert code == EXIT_REFUSED, said
            assert "gatewayd.db" in said
            assert "Traceback" not in said
            after = contents(bench.state_dir)
            assert {name: after.get(name) for name in before if name != "gatewayd.lock"} == {
                name: digest for name, digest in before.items() if name != "gatewayd.lock"
            }
            assert walk.api.pending_update_count == 1


def refuses(snapshot: Snapshot) -> bool:
    return any(problem.code == "store_unwritable" for problem in snapshot.problems)


@pytest.mark.force
@pytest.mark.parametrize("how", ["removed", "replaced", "its log removed"])
async def test_a_store_that_is_taken_away_while_it_runs(tmp_path: Path, how: str) -> None:
    """What is written to a file without a name is lost at the next start: nothing more is acknowledged until it is back."""
    with trio.fail_after(60):
        async with walk_by("telegram poll", tmp_path) as walk:
            bench = Bench(walk, tmp_path)
            async with bench.start() as gateway:
                walk.say(ALICE, "first")
                await bench.wait_quiet(gateway)
                taken = "gatewayd.db-wal" if how == "its log removed" else "gatewayd.db"
                (bench.state_dir / taken).rename(tmp_path / taken)
                if how == "replaced":
                    (bench.state_dir / taken).touch()
                walk.say(ALICE, "second")
                snapshot = await gateway.wait_status(refuses)
                assert taken in str([problem.text for problem in snapshot.problems])
                assert walk.api.pending_update_count == 1
                (tmp_path / taken).rename(bench.state_dir / taken)
                await bench.wait_quiet(gateway)
                gateway.kill()
                await gateway.wait()
            async with bench.start() as gateway:
                assert await bench.check(gateway, {ALICE: ["first", "second"]}) == []


@pytest.mark.force
async def test_damage_under_a_daemon_that_runs(tmp_path: Path) -> None:
    """Whoever meets it is refused: a message is answered or not acknowledged, the daemon lives, and the next start says why."""
    with trio.fail_after(60):
        async with walk_by("telegram poll", tmp_path) as walk:
            bench = Bench(walk, tmp_path)
            await fill(bench, kill=False)
            async with bench.start() as gateway:
                await bench.wait_quiet(gateway)
                flip(bench.state_dir / "gatewayd.db", PAGE, (bench.state_dir / "gatewayd.db").stat().st_size)
                walk.say(ALICE, "later")
                await gateway.wait_status(refuses)
                assert walk.api.pending_update_count == 1
                assert gateway.process.poll() is None
                gateway.kill()
                await gateway.wait()
            code, said = await bench.refused()
            assert (code, "is damaged" in said) == (EXIT_REFUSED, True)


@pytest.mark.force
async def test_a_second_daemon_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with walk_by("chat/inbound", tmp_path) as walk:
            bench = Bench(walk, tmp_path)
            async with bench.start() as gateway:
                walk.say(ALICE, "first")
                await bench.wait_quiet(gateway)
                before = contents(bench.state_dir)
                code, said = await bench.refused()
                assert (code, str(gateway.process.pid) in said) == (EXIT_REFUSED, True)
                assert contents(bench.state_dir) == before
                walk.say(ALICE, "second")
                await bench.wait_quiet(gateway)
                assert await bench.check(gateway, {ALICE: ["first", "second"]}) == []


@pytest.mark.force
async def test_of_many_that_start_at_once_one_runs(tmp_path: Path) -> None:
    refused: list[tuple[int, str]] = []
    with trio.fail_after(120):
        async with walk_by("telegram poll", tmp_path) as walk, trio.open_nursery() as nursery:
            bench = Bench(walk, tmp_path)

            async def start() -> None:
                refused.append(await bench.refused())

            for _ in range(5):
                nursery.start_soon(start)
            walk.say(ALICE, "to the one")
            assert await walk.api.wait_texts(ALICE, 1) == ["re: to the one"]
            await until(lambda: len(refused) == 4)
            running = json.loads((bench.state_dir / "endpoint.json").read_text())["pid"]
            # Who comes before the first has written its number knows no better than "another process".
            assert all(str(running) in said or "another process" in said for _, said in refused)
            assert {code for code, _ in refused} == {EXIT_REFUSED}
            nursery.cancel_scope.cancel()
