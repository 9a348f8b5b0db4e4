"""When a turn may be attempted: when its agent is open, and after a pause that grows with each attempt.

A message that breaks an agent, or this process, may do so each time. So the pauses count from the starts of the attempts, which
are in the store: a restart does not shorten a pause. Waiting for an agent that is not open spends no attempt, however long it
takes.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Protocol

import anyio
import structlog

from gatewayd.actor.backoff import Backoff
from gatewayd.hub.turns.turn import LiveTurn
from gatewayd.model.errors import NeedsOperator, TryAgain
from gatewayd.ports.agent import AgentCore

AWAY = "The agent cannot be reached at the moment. Your message is kept, and will be answered when it is back."
TRIED_AGAIN = "I cannot answer at the moment. Your message is kept, and is tried again."
_FIRST_SECONDS = 4.0
_LONGEST_SECONDS = 120.0
_LOOK_AGAIN_SECONDS = 10.0
"""How long an agent may be away before the user is told, and how often to check when no change is notified."""


Notify = Callable[[str], Awaitable[None]]


class Agents(Protocol):
    """The open agent cores: hub/agents/pool.py."""

    async def core(self, agent_id: str) -> AgentCore:
        """:raises TryAgain: it is not open (yet). :raises NeedsOperator: it cannot be opened."""

    async def wait_changed(self, agent_id: str) -> None:
        """Returns at the next change of the agent's state."""

    def ordered_restarts(self, agent_id: str) -> int:
        """How often its core was reopened by an operator or by other settings."""

    def note_turn(self, agent_id: str, delta: int) -> None: ...

    def note_end(self, agent_id: str, seconds: float, *, error: str | None) -> None: ...


class Retries:
    """The pauses of turns. A turn that waits here has released its slot."""

    def __init__(self, agents: Agents, *, now: Callable[[], float], rng: Random) -> None:
        self._agents = agents
        self._now = now
        self._backoff = Backoff(rng, first_seconds=_FIRST_SECONDS, longest_seconds=_LONGEST_SECONDS)
        self._log = structlog.get_logger("gatewayd.turns")

    async def wait_due(self, turn: LiveTurn) -> None:
        """Wait if the turn was cut twice or more, counted from its newest start. A turn that was cut once goes on at once."""
        attempts = max(row.attempts - row.stops for row in turn.rows)
        if attempts < 2:
            return
        # Without jitter: a process that ends every few seconds would draw again and again, and the shortest draw would count.
        pause = self._backoff.ceiling(attempts)
        started_at = max(row.started_at or 0.0 for row in turn.rows)
        # A wall clock that was set back must not block the lane for years.
        seconds = min(started_at + pause - self._now(), pause)
        if seconds > 0:
            self._log.warning("turn_paused", attempts=attempts, seconds=round(seconds, 1), reason="its earlier attempts were cut")
            await turn.pause(seconds)

    async def wait_after(self, turn: LiveTurn, *, at_least: float | None, since: float, notify: Notify) -> None:
        """Pause after an attempt that met an outage. ``notify`` shows the user a sentence when the turn began long ago
        (``since``)."""
        pause = self._backoff.delay(turn.attempt, at_least=at_least)
        unsaid = min(pause, max(0.0, since + _LOOK_AGAIN_SECONDS - anyio.current_time()))
        await turn.pause(unsaid)
        if unsaid < pause and not turn.is_over:
            await notify(TRIED_AGAIN)
            await turn.pause(pause - unsaid)

    async def wait_open(self, turn: LiveTurn, *, notify: Notify) -> None:
        """Returns when the agent is open, or cannot be opened (the attempt itself reports that), or the turn is over.

        ``notify`` shows the user a sentence, once, when it takes long.
        """
        agent_id, began_at, notified, logged = turn.route.agent_id, anyio.current_time(), False, False
        while not turn.is_over:
            try:
                await self._agents.core(agent_id)
            except NeedsOperator:
                return
            except TryAgain as error:
                if not logged:
                    self._log.warning("turn_waiting_for_agent", reason=error.reason)
                    logged = True
            else:
                return
            await turn.rest(partial(self._wait_changed, agent_id))
            if not notified and not turn.is_over and anyio.current_time() - began_at >= _LOOK_AGAIN_SECONDS:
                notified = True
                await notify(AWAY)

    async def _wait_changed(self, agent_id: str) -> None:
        with anyio.move_on_after(_LOOK_AGAIN_SECONDS):
            await self._agents.wait_changed(agent_id)
