"""The position of a task that does not end: the line of the code that waits, not a line of Trio or AnyIO."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

import anyio
import pytest
import trio

from gatewayd.actor.position import position_of


async def _sleeps() -> None:
    await trio.sleep_forever()  # here


async def _in_a_generator() -> None:
    async def pieces() -> AsyncGenerator[int, None]:
        yield 1
        await anyio.sleep_forever()  # here

    async with contextlib.aclosing(pieces()) as all_of_them:
        async for _ in all_of_them:
            pass


async def _in_a_task_of_its_own() -> None:
    async def inner() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_sleeps)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(inner)


async def _gives_way_for_ever() -> None:
    while True:
        await trio.lowlevel.checkpoint()  # here


async def _in_an_awaitable_of_its_own() -> None:
    class Own:
        def __await__(self):  # type: ignore[no-untyped-def]
            return _sleeps().__await__()

    await Own()


@pytest.mark.parametrize(
    ("work", "function"),
    [
        (_sleeps, "_sleeps"),
        (_in_a_generator, "_in_a_generator.<locals>.pieces"),
        (_in_a_task_of_its_own, "_sleeps"),
        (_gives_way_for_ever, "_gives_way_for_ever"),
        (_in_an_awaitable_of_its_own, "_in_an_awaitable_of_its_own.<locals>.Own.__await__"),
    ],
)
async def test_the_innermost_line_of_the_code_that_waits(work: Callable[[], Awaitable[None]], function: str) -> None:
    tasks: list[trio.lowlevel.Task] = []

    async def run() -> None:
        tasks.append(trio.lowlevel.current_task())
        await work()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        [task] = tasks
        place, _, found = position_of(task).rpartition(" in ")
        file, _, line = place.rpartition(":")
        nursery.cancel_scope.cancel()
    assert file == __file__
    with open(__file__) as text:  # noqa: ASYNC230
        assert "# here" in text.readlines()[int(line) - 1] or "Own" in function
    assert found == function or "Own" in function
    assert position_of(task) == ""
