"""The agent cores, each supervised: an outage is waited out, a wrong key parks one agent, and the others go on."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import structlog
from anyio.abc import TaskGroup
from msgspec import Struct

from gatewayd.actor.backoff import Backoff
from gatewayd.actor.child import ChildStatus
from gatewayd.actor.life import Life
from gatewayd.actor.pool import Pool
from gatewayd.actor.supervisor import Supervisor
from gatewayd.hub.agents.agent import STATES, Agent, AgentContext, SayLater
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.model.config import AgentSettings, GatewayConfig
from gatewayd.model.errors import NeedsOperator, NotFound, TryAgain
from gatewayd.model.histogram import Histogram
from gatewayd.model.status import AgentStatus
from gatewayd.ports.agent import AgentCore, AgentOpener

if TYPE_CHECKING:
    import httpx2

# How long a turn waits for a core that is being opened, before the wait counts as an attempt.
_OPENING_SECONDS = 10.0
# How long turns that were cut may take to end.
_CUT_SECONDS = 10.0


class AgentPool:
    """Opens every configured agent in ``run`` and gives its core to turns. ``opener`` finds the opener of a kind of core."""

    def __init__(
        self,
        context: Context,
        configured: Configured,
        opener: Callable[[str], AgentOpener],
        *,
        http: "httpx2.AsyncClient",
        state_dir: Path,
    ) -> None:
        self._events = context.events
        self._http = http
        self._redact = context.redact
        self._configured = configured
        self._log = structlog.get_logger("gatewayd.agents")
        self._agent_context = AgentContext(opener, http, context.store, state_dir, self._log, context.now)
        self._supervisor = Supervisor(Backoff(context.rng), now=context.now, on_change=self._on_change)
        self._pool = Pool(self._supervisor, live=self._live, reconcile=self._reconcile, redact=context.redact)
        self._callbacks: _Callbacks | None = None
        self._want(configured.config.agents)
        configured.follow(self.reconfigure)

    @asynccontextmanager
    async def run(self, *, cut: Callable[[str], None], say_later: SayLater, parent: TaskGroup | None) -> AsyncIterator[None]:
        """Cores are open inside; one that cannot be opened does not delay the others.

        ``cut`` ends the turns of an agent that is not configured any more, so that they go on at another agent. ``say_later``
        takes late texts. ``parent``: see ``Supervisor.run``.
        """
        self._callbacks = _Callbacks(cut, say_later)
        async with self._pool.run(parent=parent, starts=lambda agent: True):
            yield

    def reconfigure(self, config: GatewayConfig) -> None:
        """Have the agents of this configuration from now on. Never waits: new agents are opened in the background; see
        ``wait_reconciled``.

        A core with other settings is reopened, and a removed one is closed, when its turns have ended, or after
        ``gateway.drain_seconds``: then its turns meet an outage, or are cut. No turn begins on it meanwhile.
        """
        self._want(config.agents)

    async def wait_reconciled(self) -> None:
        """Returns when every agent is as the newest configuration says: being opened, or gone."""
        await self._pool.wait_reconciled()

    @property
    def pending(self) -> tuple[str, ...]:
        """The agents that are being reconciled with the newest configuration."""
        return self._pool.pending

    def kind_of(self, agent_id: str) -> str | None:
        """The kind of the core that is open, or was open last; None before the first."""
        agent = self._pool.all.get(agent_id)
        return None if agent is None or agent.opened is None else agent.opened.frame.core

    async def core(self, agent_id: str) -> AgentCore:
        """The open core of an agent.

        :raises TryAgain: it is not open now. :raises NeedsOperator: it is parked, or there is no such agent.
        """
        agent = self._pool.desired.get(agent_id)
        if agent is None:
            raise NeedsOperator(f"there is no agent {agent_id!r}")
        with anyio.move_on_after(_OPENING_SECONDS):
            while self._is_opening(agent_id):
                await agent.changed.wait()
        if agent_id not in self._pool.desired:
            raise NeedsOperator(f"there is no agent {agent_id!r} any more")
        if agent_id in self._pool.pending and agent.is_outdated:
            raise TryAgain(f"agent {agent_id} is reopened with other settings when its turns have ended")
        if agent.core is not None:
            return agent.core
        status = self._supervisor.status(agent_id)
        if status.state == "parked":
            raise NeedsOperator(f"agent {agent_id} is parked: {status.reason}")
        raise TryAgain(f"agent {agent_id} is {status.state}: {status.reason or 'it is being opened'}")

    async def wait_changed(self, agent_id: str) -> None:
        """Returns at the next change of the agent's state. For an agent that does not exist, it never returns."""
        agent = self._pool.desired.get(agent_id)
        await (anyio.sleep_forever() if agent is None else agent.changed.wait())

    def ordered_restarts(self, agent_id: str) -> int:
        """How often its core was reopened on purpose."""
        agent = self._pool.all.get(agent_id)
        return 0 if agent is None else agent.ordered_restarts

    def note_turn(self, agent_id: str, delta: int) -> None:
        """Count a turn that begins (+1) or ends (-1)."""
        if (agent := self._pool.all.get(agent_id)) is not None:
            agent.note_turn(delta)

    def note_end(self, agent_id: str, seconds: float, *, error: str | None) -> None:
        """Count the end of an attempt of a turn: its duration, and its error, if it failed."""
        if (agent := self._pool.all.get(agent_id)) is not None:
            agent.note_end(seconds, error=error)
        if error is not None:
            self._events.emit("agent.failed", agent=agent_id, reason=error)

    def durations(self) -> dict[str, Histogram]:
        """The durations of attempts, by agent."""
        return {agent_id: agent.duration.histogram for agent_id, agent in self._pool.desired.items()}

    @property
    def abandoned(self) -> int:
        """Lives of cores that ignored their cancellation: only the end of the process ends them."""
        return self._supervisor.statistics().abandoned

    def snapshot(self) -> tuple[AgentStatus, ...]:
        """Every agent, in the order of the configuration. No I/O."""
        return tuple(agent.status(self._supervisor.status(agent_id)) for agent_id, agent in self._pool.desired.items())

    def status(self, agent_id: str) -> AgentStatus:
        """:raises NotFound: there is no such agent."""
        return self._known(agent_id).status(self._supervisor.status(agent_id))

    def output(self, agent_id: str) -> tuple[str, ...]:
        """The last output of the core's process, one line each; if it is not open, of the last one.

        :raises NotFound: there is no such agent.
        """
        return tuple(map(self._redact, self._known(agent_id).output))

    def open_core(self, agent_id: str) -> AgentCore | None:
        """The core if it is open now. :raises NotFound: there is no such agent."""
        return self._known(agent_id).core

    @property
    def http(self) -> "httpx2.AsyncClient":
        """The client for requests of cores."""
        return self._http

    async def restart(self, agent_id: str) -> AgentStatus:
        """Close the core and open it again, also when it is parked. Returns when the opening has begun.

        Its turns meet an outage, and go on when it is open.

        :raises NotFound: there is no such agent.
        """
        agent = self._known(agent_id)
        agent.reset_failures()
        agent.note_ordered_restart()
        self._events.emit("agent.restarted", agent=agent_id)
        await self._supervisor.restart(agent_id)
        return self.status(agent_id)

    @property
    def _drain_seconds(self) -> float:
        """How long turns may run on before their core is reopened or closed."""
        return self._configured.config.gateway.drain_seconds

    def _known(self, agent_id: str) -> Agent:
        agent = self._pool.desired.get(agent_id)
        if agent is None:
            raise NotFound(f"there is no agent {agent_id!r}")
        return agent

    def _want(self, agents: Sequence[AgentSettings]) -> None:
        desired = {settings.agent_id: settings for settings in agents}
        self._pool.set_desired(desired, make=lambda settings: Agent(settings, self._agent_context), change=Agent.reconfigure)
        for agent_id, agent in self._pool.all.items():
            if self._is_gone(agent_id) or agent.is_outdated or self._supervisor.status(agent_id).state == "stopped":
                self._pool.schedule(agent_id)
            agent.notify_change()

    async def _live(self, agent: Agent, life: Life) -> None:
        await agent.run(life, self._serving.say_later)

    @property
    def _serving(self) -> "_Callbacks":
        assert self._callbacks is not None, "agents are opened, and closed, in run"
        return self._callbacks

    async def _reconcile(self, agent_id: str, agent: Agent) -> None:
        """What is desired may change at every await, so it is checked again after each."""
        if self._is_gone(agent_id):
            await self._close(agent_id, agent)
            if agent_id not in self._pool.all:
                return
        if agent.is_outdated:
            await self._wait_idle(agent, self._drain_seconds, lambda: agent.is_outdated and not self._is_gone(agent_id))
        if self._is_gone(agent_id):
            return
        if agent.is_outdated:
            agent.note_ordered_restart()
            await self._supervisor.restart(agent_id)
        elif self._supervisor.status(agent_id).state == "stopped":
            await self._supervisor.start(agent_id)

    async def _close(self, agent_id: str, agent: Agent) -> None:
        """Wait for its turns, cut those that do not end, close the core and forget the agent, unless it is desired again
        meanwhile."""
        await self._wait_idle(agent, self._drain_seconds, lambda: self._is_gone(agent_id))
        if agent.running and self._is_gone(agent_id):
            self._serving.cut(agent_id)
            await self._wait_idle(agent, _CUT_SECONDS, lambda: self._is_gone(agent_id))
        if self._is_gone(agent_id):
            await self._supervisor.stop(agent_id)
        if self._is_gone(agent_id):
            self._pool.forget(agent_id)

    async def _wait_idle(self, agent: Agent, seconds: float, worth_it: Callable[[], bool]) -> None:
        """Returns when no turn runs on the agent's core, after that time, or when ``worth_it`` is false."""
        with anyio.move_on_after(seconds):
            while agent.running and worth_it():
                await agent.changed.wait()

    def _is_gone(self, agent_id: str) -> bool:
        return self._pool.is_gone(agent_id)

    def _is_opening(self, agent_id: str) -> bool:
        """Whether the core is expected to be open soon."""
        agent = self._pool.desired.get(agent_id)
        if agent is None:
            return False
        if agent_id in self._pool.pending:
            return agent.core is None or agent.is_outdated
        return agent.core is None and self._supervisor.status(agent_id).state == "starting"

    def _on_change(self, status: ChildStatus) -> None:
        self._pool.all[status.name].notify_change()
        # A core that was closed (by a restart, a reload or the end) needs no operator, unlike a parked one.
        state = "closed" if status.state == "stopped" else STATES[status.state]
        tell = self._log.warning if state in ("waiting", "parked") else self._log.info
        tell("agent_state_changed", agent=status.name, state=state, reason=status.reason)
        self._events.emit("agent.state", agent=status.name, state=state, reason=status.reason)


class _Callbacks(Struct, frozen=True):
    """The callbacks of the parts that use the agents, while ``run`` is active."""

    cut: Callable[[str], None]
    say_later: SayLater
