"""The agent cores, each open under supervision: an outage of one is waited out, a wrong key parks it, the others go on."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import anyio
import structlog
import trio

from gatewayd.actor.backoff import Backoff
from gatewayd.actor.child import ChildSpec, ChildStatus
from gatewayd.actor.life import Life
from gatewayd.actor.supervisor import Supervisor
from gatewayd.hub.events import EventLog
from gatewayd.hub.memos import OF_AGENTS, OwnMemos
from gatewayd.model.config import AgentSettings
from gatewayd.model.errors import NeedsOperator, NotFound, TryAgain
from gatewayd.model.histogram import LONG, Histogram, Stopwatch
from gatewayd.model.status import AgentState, AgentStatus
from gatewayd.ports.agent import AgentConfig, AgentCore, AgentOpener, CoreFacts, DescribesItself
from gatewayd.ports.memos import Memos
from gatewayd.ports.store import MemoRows

if TYPE_CHECKING:
    import httpx2
    from structlog.typing import FilteringBoundLogger

# How long a turn waits for a core that is opening, before it counts as an attempt.
_OPENING_SECONDS = 10.0


class _Kit:
    """What a core gets from us (ports/agent.py AgentKit)."""

    def __init__(
        self,
        http: "httpx2.AsyncClient",
        memos: Memos,
        directory: Path,
        log: "FilteringBoundLogger",
        now: Callable[[], float],
    ) -> None:
        self.http = http
        self.memos = memos
        self.directory = directory
        self.log = log
        self._now = now

    def now(self) -> float:
        return self._now()


class _Agent:
    """One agent: its open core, if it is open, and what its turns came to."""

    def __init__(self, settings: AgentSettings) -> None:
        self.settings = settings
        self.core: AgentCore | None = None
        self.changed = anyio.Event()
        self.running = 0
        self.turns = 0
        self.failures = 0
        self.last_error: str | None = None
        self.last_error_at: float | None = None
        self.failed_in_a_row = 0
        self.failing_since: float | None = None
        self.duration = Stopwatch(LONG)
        self.last_output: tuple[str, ...] = ()

    def forgive(self) -> None:
        """A turn ended well, or a person has had the core opened anew: what failed before is the past."""
        self.failed_in_a_row = 0
        self.failing_since = None

    def tell_change(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


_STATES: dict[str, AgentState] = {
    "starting": "opening",
    "running": "open",
    "waiting": "waiting",
    "parked": "parked",
    "stopped": "parked",
}


class AgentPool:
    """Opens every configured agent in ``run`` and hands its core to turns. ``opener`` finds the opener of a kind of core."""

    def __init__(
        self,
        agents: Sequence[AgentSettings],
        opener: Callable[[str], AgentOpener],
        events: EventLog,
        *,
        http: "httpx2.AsyncClient",
        memos: MemoRows,
        state_dir: Path,
        rng: Random,
        now: Callable[[], float],
        redact: Callable[[str], str] = str,
    ) -> None:
        self._agents = {settings.agent_id: _Agent(settings) for settings in agents}
        self._opener = opener
        self._events = events
        self._http = http
        self._memos = memos
        self._state_dir = state_dir
        self._now = now
        self._log = structlog.get_logger("gatewayd.agents")
        self._supervisor = Supervisor(Backoff(rng), now=now, on_change=self._on_change)
        for agent_id in self._agents:
            self._supervisor.add(ChildSpec(name=agent_id, run=self._opener_of(agent_id), redact=redact))

    @asynccontextmanager
    async def run(self, *, host: trio.Nursery | None = None) -> AsyncIterator[None]:
        """Cores are open inside; a core that cannot be opened does not hold up the others. ``host``: see Supervisor.run."""
        async with self._supervisor.run(host=host):
            for agent_id in self._agents:
                await self._supervisor.start(agent_id)  # returns when the opening has begun
            yield

    async def core(self, agent_id: str) -> AgentCore:
        """The open core of an agent.

        :raises TryAgain: it is not open now. :raises NeedsOperator: it is parked, or there is no such agent.
        """
        agent = self._agents.get(agent_id)
        if agent is None:
            raise NeedsOperator(f"there is no agent {agent_id!r}")
        with anyio.move_on_after(_OPENING_SECONDS):
            while agent.core is None and self._supervisor.status(agent_id).state == "starting":
                await agent.changed.wait()
        if agent.core is not None:
            return agent.core
        status = self._supervisor.status(agent_id)
        if status.state == "parked":
            raise NeedsOperator(f"agent {agent_id} is parked: {status.reason}")
        raise TryAgain(f"agent {agent_id} is {status.state}: {status.reason or 'it is being opened'}")

    async def wait_changed(self, agent_id: str) -> None:
        """Returns at the next change of the agent's state; for ever waits who asks for an agent that is not there."""
        agent = self._agents.get(agent_id)
        await (anyio.sleep_forever() if agent is None else agent.changed.wait())

    def note_turn(self, agent_id: str, delta: int) -> None:
        """Count a turn that begins (+1) or ends (-1)."""
        agent = self._agents[agent_id]
        agent.running += delta
        agent.turns += delta > 0

    def note_end(self, agent_id: str, seconds: float, *, error: str | None) -> None:
        """Count how an attempt of a turn ended: after how long, and why it failed, if it did."""
        agent = self._agents[agent_id]
        agent.duration.observe(seconds)
        if error is None:
            agent.forgive()
            return
        agent.failures += 1
        agent.failed_in_a_row += 1
        agent.last_error = error
        agent.last_error_at = self._now()
        if agent.failing_since is None:
            agent.failing_since = agent.last_error_at

    def durations(self) -> dict[str, Histogram]:
        """How long attempts of turns took, by agent."""
        return {agent_id: agent.duration.histogram for agent_id, agent in self._agents.items()}

    @property
    def left_behind(self) -> int:
        """Cores that ignored their cancellation: only the end of the process can end them."""
        return self._supervisor.statistics().left_behind

    def snapshot(self) -> tuple[AgentStatus, ...]:
        return tuple(self._status(agent_id, agent) for agent_id, agent in self._agents.items())

    def facts(self, agent_id: str) -> CoreFacts:
        """What the open core says of itself. :raises KeyError: there is no such agent."""
        core = self._agents[agent_id].core
        try:
            return core.facts() if isinstance(core, DescribesItself) else CoreFacts()
        except Exception:  # third-party code, and the snapshot is of everybody
            return CoreFacts()

    def status(self, agent_id: str) -> AgentStatus:
        """:raises NotFound: there is no such agent."""
        return self._status(agent_id, self._known(agent_id))

    def output(self, agent_id: str) -> tuple[str, ...]:
        """The end of what the core's process has written, one line each; of a core that is not open, of its last one.

        :raises NotFound: there is no such agent.
        """
        agent = self._known(agent_id)
        return agent.last_output if agent.core is None else self.facts(agent_id).output

    def open_core(self, agent_id: str) -> AgentCore | None:
        """The core if it is open now. :raises NotFound: there is no such agent."""
        return self._known(agent_id).core

    @property
    def http(self) -> "httpx2.AsyncClient":
        """The client with which cores call out."""
        return self._http

    async def restart(self, agent_id: str) -> AgentStatus:
        """Close the core and open it anew, also one that is parked. Returns when the opening has begun.

        Turns that run on it meet an outage, and are taken up again when it is open.

        :raises NotFound: there is no such agent.
        """
        agent = self._known(agent_id)
        agent.forgive()
        await self._supervisor.restart(agent_id)
        return self._status(agent_id, agent)

    def _known(self, agent_id: str) -> _Agent:
        agent = self._agents.get(agent_id)
        if agent is None:
            raise NotFound(f"there is no agent {agent_id!r}")
        return agent

    def _status(self, agent_id: str, agent: _Agent) -> AgentStatus:
        child = self._supervisor.status(agent_id)
        facts = self.facts(agent_id)
        return AgentStatus(
            agent=agent_id,
            core=agent.settings.frame.core,
            state=_STATES[child.state],
            since=child.since,
            reason=child.reason,
            running=agent.running,
            turns=agent.turns,
            failures=agent.failures,
            last_error=agent.last_error,
            last_error_at=agent.last_error_at,
            version=facts.version,
            pid=facts.pid,
            sessions=facts.sessions,
            url=facts.url,
            down_since=child.down_since,
            failed_in_a_row=agent.failed_in_a_row,
            failing_since=agent.failing_since,
        )

    def _opener_of(self, agent_id: str) -> Callable[[Life], Awaitable[None]]:
        agent = self._agents[agent_id]

        async def open_core(life: Life) -> None:
            life.started()
            opener = self._opener(agent.settings.frame.core)
            config = AgentConfig(agent_id, agent.settings.settings)
            memos = OwnMemos(self._memos, OF_AGENTS, agent_id)
            directory = self._state_dir / "agents" / agent_id
            kit = _Kit(self._http, memos, directory, self._log.bind(agent=agent_id), self._now)
            async with opener(config, kit) as core:
                with life.closes_after():
                    agent.core = core
                    life.connected()
                    agent.tell_change()
                    try:
                        await anyio.sleep_forever()
                    finally:
                        agent.last_output = self.facts(agent_id).output
                        agent.core = None

        return open_core

    def _on_change(self, status: ChildStatus) -> None:
        self._agents[status.name].tell_change()
        state = _STATES[status.state]
        tell = self._log.warning if state in ("waiting", "parked") else self._log.info
        tell("agent_state", agent=status.name, state=state, reason=status.reason)
        self._events.emit("agent.state", agent=status.name, state=state, reason=status.reason)
