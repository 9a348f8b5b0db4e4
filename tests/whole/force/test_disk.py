"""A disk that is full: nothing more is acknowledged, that is said, and when there is room again it goes on by itself."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from gatewayd.daemon import EXIT_CRASHED
from gatewayd.model.status import Snapshot
from tests.whole.force.force import Bench
from tests.whole.force.small_disk import small_disk
from tests.whole.process import Daemon
from tests.whole.walks import WALKS, WalkName, until, walk_by

ALICE, BOB = 1001, 1002


def refuses(snapshot: Snapshot) -> bool:
    return any(problem.code == "store_unwritable" for problem in snapshot.problems)


async def readyz(gateway: Daemon) -> int:
    async with gateway.client() as client:
        return (await client.get("/readyz")).status_code


@contextmanager
def no_file_may_grow(gateway: Daemon, bytes_at_most: int) -> Iterator[None]:
    """Its writes beyond that fail with EFBIG, in every file it has: a disk that answers with errors."""
    before = resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (bytes_at_most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.force
@pytest.mark.parametrize("way", WALKS)
async def test_full_while_messages_come(tmp_path: Path, way: WalkName) -> None:
    said = ["first", "second", "third"]
    with trio.fail_after(120), small_disk(tmp_path / "disk") as disk:
        async with walk_by(way, tmp_path) as walk:
            bench = Bench(walk, tmp_path, state_dir=disk.path / "state")
            async with bench.start() as gateway:
                walk.say(ALICE, "first")
                await bench.wait_quiet(gateway)
                disk.fill()
                walk.say(ALICE, "second")
                snapshot = await gateway.wait_status(refuses)
                assert not snapshot.ready
                assert await readyz(gateway) == 503
                await until(walk.was_refused)
                walk.say(ALICE, "third")
                await trio.sleep(0.5)
                assert not walk.all_acknowledged()
                assert [effect.text for effect in bench.effects()] == ["first"]
                disk.make_room()
                snapshot = await bench.wait_quiet(gateway)
                assert (snapshot.ready, snapshot.problems) == (True, ())
                assert await readyz(gateway) == 200
                assert await bench.check(gateway, {ALICE: said}) == []
                assert await gateway.stop() == 0


@pytest.mark.force
async def test_a_disk_that_answers_with_errors(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with walk_by("telegram poll", tmp_path) as walk:
            bench = Bench(walk, tmp_path)
            async with bench.start() as gateway:
                walk.say(ALICE, "first")
                await bench.wait_quiet(gateway)
                with no_file_may_grow(gateway, 0):
                    walk.say(ALICE, "second")
                    await gateway.wait_status(refuses)
                    assert await readyz(gateway) == 503
                    assert not walk.all_acknowledged()
                snapshot = await bench.wait_quiet(gateway)
                assert (snapshot.ready, snapshot.problems) == (True, ())
                assert await bench.check(gateway, {ALICE: ["first", "second"]}) == []


@pytest.mark.force
@pytest.mark.parametrize("had_a_store", [False, True])
async def test_full_at_the_start(tmp_path: Path, had_a_store: bool) -> None:
    """It says so, leaves nothing half made, and starts when there is room."""
    with trio.fail_after(120), small_disk(tmp_path / "disk") as disk:
        async with walk_by("telegram poll", tmp_path) as walk:
            bench = Bench(walk, tmp_path, state_dir=disk.path / "state")
            said = ["second"]
            if had_a_store:
                said = ["first", "second"]
                async with bench.start() as gateway:
                    walk.say(ALICE, "first")
                    await bench.wait_quiet(gateway)
                    gateway.kill()
                    await gateway.wait()
            walk.say(ALICE, "second")
            disk.fill()
            code, words = await bench.refused()
            assert code == EXIT_CRASHED, "systemd tries again: there may be room then"
            assert "full" in words or "No space left" in words
            assert "Traceback" not in words
            disk.make_room()
            async with bench.start() as gateway:
                await bench.wait_quiet(gateway)
                assert await bench.check(gateway, {ALICE: said}) == []


@pytest.mark.force
@pytest.mark.parametrize("dies", [False, True])
async def test_full_when_the_outcome_of_a_send_is_to_be_recorded(tmp_path: Path, dies: bool) -> None:
    """The outcome is kept until it can be written; a process that dies with it leaves a row that says so."""
    with trio.fail_after(120), small_disk(tmp_path / "disk") as disk:
        async with walk_by("telegram poll", tmp_path) as walk:
            bench = Bench(walk, tmp_path, state_dir=disk.path / "state")
            async with bench.start() as gateway:
                release = walk.api.hold_next("sendMessage")
                walk.say(ALICE, "first")
                await gateway.wait_status(lambda snapshot: snapshot.outbox.sending == 1)
                disk.fill()
                release.set()
                assert await walk.api.wait_texts(ALICE, 1) == ["re: first"]
                await gateway.wait_status(refuses)
                assert await readyz(gateway) == 503
                if dies:
                    gateway.kill()
                    await gateway.wait()
                disk.make_room()
                if not dies:
                    await bench.wait_quiet(gateway)
                    assert await bench.check(gateway, {ALICE: ["first"]}) == []
            async with bench.start() as gateway:
                walk.say(ALICE, "second")
                await bench.wait_quiet(gateway)
                assert await bench.check(gateway, {ALICE: ["first", "second"]}) == (["re: first"] if dies else [])


@pytest.mark.force
async def test_full_while_the_agent_works(tmp_path: Path) -> None:
    """Its effect is had once and its answer waits for room; the log is on the same disk."""
    with trio.fail_after(120), small_disk(tmp_path / "disk") as disk:
        async with walk_by("telegram poll", tmp_path) as walk:
            gate = tmp_path / "gate"
            bench = Bench(walk, tmp_path, state_dir=disk.path / "state", agent=f'gate = "{gate}"')
            bench.log = disk.path / "log"
            async with bench.start() as gateway:
                for chat in (ALICE, BOB):
                    walk.say(chat, f"to {chat}")
                # The turns of a lane run before their agent has got them, and what is written for that would be refused, too.
                await gateway.wait_status(lambda snapshot: sum(agent.running for agent in snapshot.agents) == 2)
                disk.fill()
                gate.touch()
                await until(lambda: {effect.text for effect in bench.effects()} == {f"to {ALICE}", f"to {BOB}"})
                await gateway.wait_status(refuses)
                disk.make_room()
                await bench.wait_quiet(gateway)
                assert await bench.check(gateway, {chat: [f"to {chat}"] for chat in (ALICE, BOB)}) == []
                assert await gateway.stop() == 0
