"""Calls into agent cores. A core that ignores its cancellation is abandoned after some seconds: its lane goes on without it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import structlog
import trio
from anyio.abc import TaskGroup

from gatewayd.actor.call import Call
from gatewayd.model.status import AbandonedTask

_CLOSE_SECONDS = 5.0
_POSITIONS_MAX = 3
"""How many positions in the code are shown for one agent."""

T = TypeVar("T")


class _CoreCall(Call[T]):
    """``since`` is when it was abandoned, in Unix seconds."""

    def __init__(self, agent_id: str, work: Callable[[], Awaitable[T]]) -> None:
        super().__init__(work)
        self.agent_id = agent_id
        self.since = 0.0


class CoreCalls:
    """Runs each call in a task of its own. A call that ignores its cancellation is abandoned: only the end of the process can end
    it. ``now`` gives Unix seconds."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._parent: TaskGroup | None = None
        self._now = now
        self._abandoned: list[_CoreCall[Any]] = []
        self._log = structlog.get_logger("gatewayd.turns")

    @asynccontextmanager
    async def open(self, *, parent: TaskGroup | None = None) -> AsyncIterator[None]:
        """Calls can be made inside. An abandoned call stays in ``parent``, see ``Supervisor.run``."""
        async with anyio.create_task_group() as own:
            self._parent = parent or own
            yield

    def abandoned_tasks(self) -> tuple[AbandonedTask, ...]:
        """The abandoned calls by agent, with their positions in the code."""
        agents = dict.fromkeys(call.agent_id for call in self._abandoned)
        return tuple(_summary(agent_id, [call for call in self._abandoned if call.agent_id == agent_id]) for agent_id in agents)

    async def call(self, agent_id: str, work: Callable[[], Awaitable[T]]) -> T:
        """Return what ``work`` of this agent returns. On cancellation, wait a few seconds for its end, then return without it.

        :raises Exception: what ``work`` raised, as it arrives from the border.
        """
        assert self._parent is not None, "calls are made inside open()"
        call = _CoreCall(agent_id, work)
        self._parent.start_soon(call.run, name="call of an agent core")
        try:
            await call.done.wait()
        finally:
            if not call.done.is_set():
                call.cancel()
                await self._wait_gone(call)
        if call.was_cut:
            # The parent is being cancelled, and this task with it.
            await trio.sleep_forever()
        return call.result()

    async def _wait_gone(self, call: _CoreCall[Any]) -> None:
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            await call.done.wait()
        if not call.done.is_set():
            assert self._parent is not None
            call.since = self._now()
            self._abandoned.append(call)
            self._log.error("agent_task_abandoned", agent=call.agent_id, where=call.where)
            self._parent.start_soon(self._note_gone, call)

    async def _note_gone(self, call: _CoreCall[Any]) -> None:
        await call.done.wait()
        self._abandoned.remove(call)
        self._log.info("abandoned_task_ended", agent=call.agent_id, seconds=round(self._now() - call.since, 3))


def _summary(agent_id: str, calls: list[_CoreCall[Any]]) -> AbandonedTask:
    """``calls`` are in order, the oldest first."""
    positions = tuple(dict.fromkeys(where for call in calls[:_POSITIONS_MAX] if (where := call.where)))
    return AbandonedTask(agent_id, len(calls), calls[0].since, positions)
