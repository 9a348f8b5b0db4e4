"""Restarts by every way there is, while messages come all the time: nothing lost, no process left, the same port each time."""

import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
import trio

from gatewayd.daemon import EXIT_OK
from tests.fakes.acp_agent import command
from tests.whole.force.force import KILLED, Bench
from tests.whole.force.points import START, STOP
from tests.whole.process import Daemon
from tests.whole.walks import WALKS, WalkName, until, walk_by

CHATS = (2001, 2002, 2003)
AT_A_TIME = 4
AT_ONCE_SECONDS = 10.0


def processes_of(state_dir: Path) -> list[int]:
    """What runs that some daemon of this state has started."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if bytes(state_dir / "agents") in environment.read_bytes():
                found.append(int(environment.parent.name))
    return found


async def ask(gateway: Daemon, number: signal.Signals) -> None:
    gateway.process.send_signal(number)
    assert await gateway.wait() == EXIT_OK
    assert processes_of(gateway.state_dir) == []


async def terminate(bench: Bench, rng: Random) -> None:
    async with bench.start() as gateway:
        await trio.sleep(rng.uniform(0.0, 0.3))
        await ask(gateway, signal.SIGTERM)


async def interrupt(bench: Bench, rng: Random) -> None:
    async with bench.start() as gateway:
        await trio.sleep(rng.uniform(0.0, 0.3))
        await ask(gateway, signal.SIGINT)


async def kill(bench: Bench, rng: Random) -> None:
    async with bench.start() as gateway:
        await trio.sleep(rng.uniform(0.0, 0.3))
        gateway.kill()
        assert await gateway.wait() == KILLED


async def signal_twice(bench: Bench, rng: Random) -> None:
    async with bench.start() as gateway:
        await trio.sleep(rng.uniform(0.0, 0.3))
        gateway.process.send_signal(signal.SIGTERM)
        await trio.sleep(rng.uniform(0.0, 0.05))
        gateway.process.send_signal(signal.SIGINT)
        with trio.fail_after(AT_ONCE_SECONDS):
            await gateway.wait()
        assert processes_of(bench.state_dir) == []


async def kill_while_it_starts(bench: Bench, rng: Random) -> None:
    assert await bench.die(rng.choice(START).name, 1) == "there"


async def kill_while_it_stops(bench: Bench, rng: Random) -> None:
    async with bench.start(at=rng.choice(STOP).name) as gateway:
        await trio.sleep(rng.uniform(0.0, 0.3))
        gateway.process.send_signal(signal.SIGTERM)
        assert await gateway.wait() == KILLED


async def terminate_while_it_starts(bench: Bench, rng: Random) -> None:
    """SIGTERM, also before it listens to signals."""
    with trio.move_on_after(rng.uniform(0.05, 1.0)):
        await bench.refused()
    assert processes_of(bench.state_dir) == []


WAYS: tuple[Callable[[Bench, Random], Awaitable[None]], ...] = (
    terminate,
    kill,
    signal_twice,
    kill_while_it_starts,
    kill_while_it_stops,
    interrupt,
    terminate_while_it_starts,
)


async def restart_again_and_again(tmp_path: Path, way: WalkName, count: int) -> None:
    rng = Random(count)
    said: dict[int, list[str]] = {chat: [] for chat in CHATS}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ", ".join(f'"{word}"' for word in command())
    work = tmp_path / "work"
    work.mkdir()
    async with walk_by(way, tmp_path) as walk:
        bench = Bench(walk, tmp_path, agent="seconds = 0.02", bind=f"127.0.0.1:{port}")
        # A turn that is cut again and again is spaced, and its chat goes on talking: that limit is not what is looked at here.
        bench.config += "\n[limits]\nsender_backlog = 100_000\n"
        bench.config += f'\n[agents.helper]\ncore = "acp"\ncommand = [{words}]\ndirectory = "{work}"\n'

        async def talk() -> None:
            while True:
                for _ in range(AT_A_TIME):
                    for chat in CHATS:
                        said[chat].append(f"{chat} {len(said[chat])}")
                        walk.say(chat, said[chat][-1])
                await trio.sleep(0.1)
                await until(walk.all_acknowledged)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            for number in range(count):
                await WAYS[number % len(WAYS)](bench, rng)
            nursery.cancel_scope.cancel()
        async with bench.start() as gateway:
            assert gateway.url.endswith(f":{port}")
            snapshot = await bench.wait_quiet(gateway)
            assert snapshot.ready
            unknown = await bench.check(gateway, said)
            assert len(unknown) <= count * len(CHATS)
            helper = next(agent for agent in snapshot.agents if agent.agent == "helper")
            assert processes_of(bench.state_dir) == [helper.pid]
            await ask(gateway, signal.SIGTERM)


@pytest.mark.force
async def test_six_restarts(tmp_path: Path) -> None:
    with trio.fail_after(120):
        await restart_again_and_again(tmp_path, "telegram poll", 6)


@pytest.mark.force
@pytest.mark.parametrize("way", WALKS)
async def test_twenty_five_restarts(tmp_path: Path, way: WalkName) -> None:
    """By each way."""
    with trio.fail_after(400):
        await restart_again_and_again(tmp_path, way, 25)
