"""SIGSTOP: a process that stood still (a laptop's lid, a snapshot of a virtual machine) goes on as if nothing had been."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from gatewayd.model.status import Snapshot
from tests.whole.force.force import Bench
from tests.whole.process import Daemon
from tests.whole.walks import WALKS, Walk, WalkName, walk_by

ALICE = 1001
QUIET_TOKEN = "999:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@asynccontextmanager
async def stopped(gateway: Daemon, seconds: float) -> AsyncIterator[None]:
    """It stands still inside, for that long at least."""
    gateway.process.send_signal(signal.SIGSTOP)
    try:
        with trio.CancelScope(shield=True):
            over = trio.current_time() + seconds
            yield
            await trio.sleep_until(over)
    finally:
        gateway.process.send_signal(signal.SIGCONT)


def quiet_account(walk: Walk, folder: Path) -> str:
    """An account to which nobody writes."""
    walk.api.add_bot(QUIET_TOKEN, "quiet_bot")
    token = folder / "quiet.token"
    token.touch(mode=0o600)
    token.write_text(QUIET_TOKEN)
    return (
        f'\n[channels.telegram.accounts.quiet]\ntoken = {{ file = "{token}" }}\napi_base = "{walk.api.url}"\n'
        f"poll_timeout_seconds = {walk.poll_seconds}\n"
    )


def restarts(snapshot: Snapshot) -> dict[str, int]:
    return {account.account: account.restarts for account in snapshot.accounts}


async def stand_still(tmp_path: Path, way: WalkName, *, seconds: float, poll_seconds: int) -> None:
    """Messages come before, during and after; one of them while a reply is on its way."""
    async with walk_by(way, tmp_path) as walk:
        walk.poll_seconds = poll_seconds
        bench = Bench(walk, tmp_path)
        bench.config += quiet_account(walk, tmp_path)
        async with bench.start() as gateway:
            walk.say(ALICE, "first")
            await bench.wait_quiet(gateway)
            async with stopped(gateway, seconds):
                walk.say(ALICE, "second")
            walk.say(ALICE, "third")
            snapshot = await bench.wait_quiet(gateway)
            assert await bench.check(gateway, {ALICE: ["first", "second", "third"]}) == []
            assert set(restarts(snapshot).values()) == {0}
            assert snapshot.ready
            assert "account_failed" not in bench.log.read_text()
            assert await gateway.stop() == 0


@pytest.mark.force
async def test_a_moment(tmp_path: Path) -> None:
    """Longer than a quiet account may be silent."""
    with trio.fail_after(60):
        await stand_still(tmp_path, "telegram poll", seconds=4.0, poll_seconds=1)


@pytest.mark.force
async def test_a_minute(tmp_path: Path) -> None:
    """Longer than every request may take, and with short polls longer than every silence; by all ways at the same time."""
    with trio.fail_after(200):
        async with trio.open_nursery() as nursery:
            for way in WALKS:
                folder = tmp_path / way.replace("/", " ")
                nursery.start_soon(partial(stand_still, folder, way, seconds=65.0, poll_seconds=5))


@pytest.mark.force
async def test_a_reply_on_its_way(tmp_path: Path) -> None:
    """Its call takes longer than it may, though the platform has answered it: the row says so, or it is sent; never twice."""
    with trio.fail_after(120):
        async with walk_by("telegram poll", tmp_path) as walk:
            bench = Bench(walk, tmp_path, gateway="[outbox]\nsend_timeout_seconds = 2")
            async with bench.start() as gateway:
                walk.api.delay_next("sendMessage", 0.5)
                walk.say(ALICE, "first")
                await gateway.wait_status(lambda snapshot: snapshot.outbox.sending == 1)
                async with stopped(gateway, 4.0):
                    pass
                walk.say(ALICE, "second")
                await bench.wait_quiet(gateway)
                await bench.check(gateway, {ALICE: ["first", "second"]})
                assert await walk.texts(ALICE, gateway) == ["re: first", "re: second"]
