"""One agent: its core, while that is open, and the counts of its turns."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import msgspec

from gatewayd.actor.border import describe, third_party
from gatewayd.actor.child import ChildStatus
from gatewayd.actor.life import Life
from gatewayd.actor.wakeup import Wakeup
from gatewayd.hub.config_diff import reopens
from gatewayd.hub.state import OF_AGENTS, OwnState
from gatewayd.model.config import AgentSettings, BrokenPlugin
from gatewayd.model.errors import NeedsOperator
from gatewayd.model.histogram import LONG, Stopwatch
from gatewayd.model.status import AgentState, AgentStatus
from gatewayd.ports.agent import AgentConfig, AgentCore, AgentOpener, CoreFacts, DescribesItself
from gatewayd.ports.store import State, StateRows

if TYPE_CHECKING:
    import httpx2
    from structlog.typing import FilteringBoundLogger

STATES: dict[str, AgentState] = {
    "starting": "opening",
    "running": "open",
    "waiting": "waiting",
    "parked": "parked",
    "stopped": "parked",
}
"""The supervisor's state of the child, as the state of an agent."""


SayLater = Callable[[str, str, str], Awaitable[None]]
"""Takes the agent, its session, and a text that the agent says there without a turn."""


@dataclass(frozen=True)
class AgentContext:
    """What all agents share. ``opener`` finds the opener of a kind of core."""

    opener: Callable[[str], AgentOpener]
    http: "httpx2.AsyncClient"
    state: StateRows
    state_dir: Path
    log: "FilteringBoundLogger"
    now: Callable[[], float]


class Agent:
    """The agent, as the rest of the hub sees it. ``run`` is one life of its core, called by the supervisor.

    ``settings`` are for the next life; the newest life was opened with ``opened``. ``changed`` notifies of a new state, of the
    end of the last turn, and of other settings.
    """

    def __init__(self, settings: AgentSettings, context: AgentContext) -> None:
        self.settings = settings
        self.opened: AgentSettings | None = None
        self.core: AgentCore | None = None
        self.changed = Wakeup()
        self.running = 0
        self.ordered_restarts = 0
        self.duration = Stopwatch(LONG)
        self._context = context
        self._turns = 0
        self._failures = 0
        self._last_error: str | None = None
        self._last_error_at: float | None = None
        self._failed_in_a_row = 0
        self._failing_since: float | None = None
        self._last_output: tuple[str, ...] = ()

    @property
    def is_outdated(self) -> bool:
        """Whether the newest core was opened with other settings than now."""
        return self.opened is not None and reopens(self.opened, self.settings)

    def reconfigure(self, settings: AgentSettings) -> None:
        """Use these settings for the next life."""
        self.settings = settings

    def note_ordered_restart(self) -> None:
        """Count that its core is reopened on purpose."""
        self.ordered_restarts += 1

    def notify_change(self) -> None:
        self.changed.notify()

    def note_turn(self, delta: int) -> None:
        """Count a turn that begins (+1) or ends (-1)."""
        self.running += delta
        self._turns += delta > 0
        if not self.running:
            self.notify_change()

    def note_end(self, seconds: float, *, error: str | None) -> None:
        """Count the end of an attempt of a turn: its duration, and its error, if it failed."""
        self.duration.observe(seconds)
        if error is None:
            self.reset_failures()
            return
        self._failures += 1
        self._failed_in_a_row += 1
        self._last_error = error
        self._last_error_at = self._context.now()
        if self._failing_since is None:
            self._failing_since = self._last_error_at

    def reset_failures(self) -> None:
        """Forget earlier failures: a turn has ended well, or a person has reopened the core."""
        self._failed_in_a_row = 0
        self._failing_since = None

    def facts(self) -> CoreFacts:
        """The facts that the open core reports about itself."""
        core: object = self.core
        try:
            with third_party():
                if isinstance(core, DescribesItself):
                    return msgspec.convert(msgspec.to_builtins(core.facts()), CoreFacts)
        except Exception as error:  # the snapshot is of everybody
            self._context.log.debug("agent_facts_failed", agent=self.settings.agent_id, reason=describe(error))
        return CoreFacts()

    @property
    def output(self) -> tuple[str, ...]:
        """The last output of the core's process; if it is not open, of the last one."""
        return self._last_output if self.core is None else self.facts().output

    def status(self, child: ChildStatus) -> AgentStatus:
        facts = self.facts()
        return AgentStatus(
            agent=self.settings.agent_id,
            core=self.settings.frame.core,
            state=STATES[child.state],
            since=child.since,
            reason=child.reason,
            running=self.running,
            turns=self._turns,
            failures=self._failures,
            last_error=self._last_error,
            last_error_at=self._last_error_at,
            version=facts.version,
            pid=facts.pid,
            sessions=facts.sessions,
            url=facts.url,
            next_attempt_at=child.next_attempt_at,
            away_since=facts.away_since,
            away_reason=facts.away_reason,
            down_since=child.down_since,
            failed_in_a_row=self._failed_in_a_row,
            failing_since=self._failing_since,
        )

    async def run(self, life: Life, say_later: SayLater) -> None:
        """Open the core and keep it open, until it fails or is cancelled."""
        life.started()
        own = self.opened = self.settings
        if isinstance(own.settings, BrokenPlugin):
            raise NeedsOperator(own.settings.reason)
        context = self._context
        state = OwnState(context.state, OF_AGENTS, own.agent_id)
        directory = context.state_dir / "agents" / own.agent_id
        services = _Services(own.agent_id, context, state, directory, say_later)
        async with context.opener(own.frame.core)(AgentConfig(own.agent_id, own.settings), services) as core:
            with life.closes_after():
                self.core = core
                life.connected()
                self.notify_change()
                try:
                    await anyio.sleep_forever()
                finally:
                    self._last_output = self.facts().output
                    self.core = None


class _Services:
    """The ``AgentServices`` of ports/agent.py."""

    def __init__(self, agent_id: str, context: AgentContext, state: State, directory: Path, say_later: SayLater) -> None:
        self.http = context.http
        self.state = state
        self.directory = directory
        self.log = context.log.bind(agent=agent_id)
        self._agent_id = agent_id
        self._context = context
        self._say_later = say_later

    def now(self) -> float:
        return self._context.now()

    async def say_later(self, session_id: str, text: str) -> None:
        await self._say_later(self._agent_id, session_id, text)
