"""The simulated agent core: what its agents have done is recorded outside of the daemon, by turn.

There are three kinds. One has a server of its own, where a turn goes on when the daemon dies and what it asks keeps its id.
One dies with the daemon, and knows afterwards which turns it had begun and the answers of those that had ended. One forgets
those, too.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import inf
from random import Random
from typing import TYPE_CHECKING, Literal

import trio
from msgspec import Struct, field

from gatewayd.model.errors import AgentFailed, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.records.approval import ToolRequest
from gatewayd.model.records.question import Option, Question
from gatewayd.ports.agent import (
    AgentConfig,
    AgentPlugin,
    AgentServices,
    CoreTurnState,
    Final,
    Notice,
    TextDelta,
    Turn,
    TurnRequest,
)
from tests.simulation.outside.platforms import WRECKS, place_of
from tests.simulation.trace import Trace, Violation
from tests.third_party.kinds import any_bug

if TYPE_CHECKING:
    from tests.simulation.life import Life

CORE = AgentPlugin(
    id="simulated",
    label="Simulated",
    settings="tests.simulation.outside.cores:CoreWire",
    open="tests.simulation.outside.cores:open_core",
)
Memory = Literal["server", "journal", "none"]


class Ran(Struct):
    """One turn, as the core knows it. ``lost`` counts how often the daemon was told that it is lost. ``missed``: the core
    could not be reached while it ran, perhaps to stop it; ``excused``: by a daemon that is gone, which alone knew of that."""

    turn_id: str
    session_id: str
    place: str
    state: Literal["running", "ended", "cut"] = "running"
    begun: int = 0
    effects: int = 0
    lost: int = 0
    missed: bool = False
    excused: bool = False
    answers: list[str] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)

    def runs_beside(self, request: TurnRequest) -> bool:
        same = self.turn_id == request.turn_id or self.session_id != request.session_id
        return not same and self.state == "running" and not self.excused


class Action(Struct, frozen=True):
    """A gated action that was carried out, for a decision that allowed it."""

    turn_id: str
    session_id: str
    tool: str
    input: str
    ref: str | None
    at: float


UNFINISHED = ", and this is not the end of it"
"""It ends what is streamed of an answer, and no answer has it."""


class Core:
    """One agent's core, on the world's side."""

    def __init__(self, name: str, memory: Memory, rng: Random, trace: Trace, now: Callable[[], float]) -> None:
        self.name = name
        self.memory = memory
        self.rng = rng
        self.sessions: dict[str, str] = {}
        self.used: dict[str, list[str]] = {}
        self.spoken_with: dict[str, set[tuple[str, str, Peer]]] = {}
        self.turns: dict[str, Ran] = {}
        self.started: dict[str, list[str]] = {}
        self.actions: list[Action] = []
        self.down = False
        self.chance = 0.0
        self.fail: Callable[[Violation], None] = lambda violation: None
        self.count: Callable[[str], None] = lambda what: None
        self.on_action: Callable[[], None] = lambda: None
        self._trace = trace
        self._now = now
        self._sessions = 0

    def __str__(self) -> str:
        return self.name

    def tell(self, what: str) -> None:
        self._trace.tell(self.name, what)

    def clear(self) -> None:
        self.down, self.chance = False, 0.0

    def lose_daemon(self) -> None:
        """The daemon is gone. What ran inside of it ran no further."""
        for ran in self.turns.values():
            ran.excused = ran.excused or ran.missed
        if self.memory != "server":
            for ran in self.turns.values():
                if ran.state == "running":
                    ran.state = "cut"

    def miss(self) -> None:
        """The daemon could not reach the core."""
        for ran in self.turns.values():
            ran.missed = ran.missed or ran.state == "running"

    def open_session(self, session_key: str) -> str:
        self._sessions += 1
        session_id = f"{self.name}-s{self._sessions}"
        self.sessions[session_id] = session_key
        return session_id

    def begin(self, turn: Turn) -> Ran:
        """A run begins. What may not be is a violation at once."""
        request = turn.request
        place = place_of(request.channel, request.account, request.peer)
        owner = self.sessions.get(request.session_id)
        if owner != request.session_key:
            self._violated("no cross-talk", f"{request.turn_id} of {request.session_key} runs in the session of {owner}")
        self.spoken_with.setdefault(request.session_key, set()).add((request.channel, request.account, request.peer))
        wrong = [word for word in marks(request.text) if word != place]
        if wrong:
            self._violated("no cross-talk", f"{request.turn_id} at {place} was told what was said at {wrong[0]}")
        for other in self.turns.values():
            if other.runs_beside(request):
                self._violated("one turn at a time", f"{request.turn_id} began while {other.turn_id} ran in the same session")
        ran = self.turns.setdefault(request.turn_id, Ran(request.turn_id, request.session_id, place))
        if ran.begun > ran.lost:
            self._violated("an effect once", f"{request.turn_id} was run again, and its core had not lost it")
        ran.begun += 1
        ran.session_id, ran.state = request.session_id, "running"
        sessions = self.used.setdefault(request.session_key, [])
        if not sessions or sessions[-1] != request.session_id:
            sessions.append(request.session_id)
        self.started.setdefault(request.session_key, []).append(request.turn_id)
        self.tell(f"begins {request.turn_id} (run {ran.begun}, attempt {request.attempt}) in {request.session_id}")
        return ran

    def have_effect(self, ran: Ran) -> None:
        ran.effects += 1
        self.tell(f"{ran.turn_id} has its effect")

    def act(self, ran: Ran, request: ToolRequest) -> None:
        """Carry out what was allowed."""
        self.actions.append(Action(ran.turn_id, ran.session_id, request.tool, request.input, request.ref, self._now()))
        self.tell(f"{ran.turn_id} uses {request.tool} {request.input}")
        self.on_action()

    def end(self, ran: Ran, text: str) -> str:
        ran.state = "ended"
        ran.answers.append(text)
        self.tell(f"{ran.turn_id} has ended: {text[:60]!r}")
        return text

    def _violated(self, invariant: str, what: str) -> None:
        violation = Violation(invariant, what)
        self.fail(violation)
        raise violation


class CoreWire(Struct, frozen=True):
    """The settings of an agent: the core, and the life of the daemon that talks to it."""

    core: Core
    life: "Life"


class OpenCore:
    """``AgentCore`` for one life of the daemon."""

    def __init__(self, wire: CoreWire) -> None:
        self._core = wire.core
        self._life = wire.life

    async def new_session(self, session_key: str) -> str:
        await self._reach()
        return self._core.open_session(session_key)

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        await self._reach()
        core, ran = self._core, self._core.turns.get(turn_id)
        if ran is None:
            return "new"
        if ran.state == "running" or (ran.state == "ended" and core.memory != "none"):
            return ran.state
        ran.lost += 1
        core.tell(f"says that {turn_id} is lost")
        return "lost"

    async def resume(self, turn: Turn) -> Final:
        await self._reach()
        ran = self._core.turns[turn.request.turn_id]
        if ran.state == "ended":
            return Final(ran.answers[-1])
        self._core.tell(f"{ran.turn_id} is taken up again")
        ran.missed = ran.excused = False
        return await self._play(turn, ran)

    async def run(self, turn: Turn) -> Final:
        await self._reach()
        words = turn.request.text.split()
        if words[-1:] == ["again"] and turn.request.attempt < 3:
            raise TryAgain("the model is overloaded")
        return await self._play(turn, self._core.begin(turn))

    async def stop_turn(self, session_id: str, turn_id: str) -> None:
        """See ``ports.agent.StopsTurns``."""
        await self._reach()
        ran = self._core.turns.get(turn_id)
        if ran is not None and ran.state == "running":
            self._core.tell(f"stops {turn_id}, which nobody has taken up")
            ran.state = "cut"

    async def _reach(self) -> None:
        """The way there. :raises TryAgain: the core is away, and has done nothing."""
        await trio.sleep(self._core.rng.choice((0.0, 0.001, 0.01)))
        self._life.check_alive()
        if self._core.down or self._core.rng.random() < self._core.chance:
            self._core.miss()
            raise TryAgain("the core cannot be reached")

    async def _play(self, turn: Turn, ran: Ran) -> Final:
        try:
            text = await Play(self._core, self._life, turn, ran).play()
            self._life.check_alive()
        except BaseException:
            # A server goes on with what the daemon has not ended, and is told of what it has.
            # By the scopes and not by the error, which may be anything.
            cancelled = self._life.dead or trio.current_effective_deadline() == -inf
            self._cut(ran, goes_on=cancelled and self._core.memory == "server" and turn.goes_on)
            raise
        return Final(self._core.end(ran, text)) if isinstance(text, str) else self._garbage(ran, text)

    def _cut(self, ran: Ran, *, goes_on: bool) -> None:
        # What the end of the daemon's process does to a turn is for the core to say: see lose_daemon.
        if not goes_on and not self._life.dead:
            ran.state = "cut"

    def _garbage(self, ran: Ran, result: Final) -> Final:
        ran.state = "cut"
        return result


class Play:
    """One run of one turn: what the last word of its text says."""

    def __init__(self, core: Core, life: "Life", turn: Turn, ran: Ran) -> None:
        self._core = core
        self._life = life
        self._turn = turn
        self._ran = ran
        self._rng = Random(f"{ran.turn_id} {ran.begun}")
        self._said = f"re {ran.turn_id}.{ran.begun} at {ran.place}"

    async def play(self) -> str | Final:
        await self._work()
        await self._turn.emit(TextDelta(self._said + UNFINISHED))
        word = (self._turn.request.text.split() or [""])[-1]
        if self._ran.effects < self._ran.begun:
            self._core.have_effect(self._ran)
        await self._work()
        await self._turn.emit(TextDelta(", nor this"))
        script = _SCRIPTS.get(word)
        return await script(self) if script is not None else self._said

    async def long(self) -> str:
        return self._said + "\n\n" + "\n\n".join(f"paragraph {number} " + "of words " * 40 for number in range(4))

    async def nothing(self) -> str:
        return ""

    async def slow(self) -> str:
        for _ in range(4):
            await self._sleep(self._rng.uniform(1, 30))
            await self._turn.emit(TextDelta(" and more"))
        return self._said

    async def notice(self) -> str:
        await self._turn.emit(Notice(f"{self._ran.turn_id} takes a while"))
        return self._said

    async def fail(self) -> str:
        raise AgentFailed("the model refused")

    async def bug(self) -> str:
        raise any_bug(self._rng)

    async def wreck(self) -> str:
        self._core.count("agents: raised what is no Exception")
        raise self._rng.choice(WRECKS)("out of the core")

    async def garbage(self) -> Final:
        return None  # type: ignore[return-value]

    async def hang(self) -> str:
        await self._sleep(1e9)
        return "never"

    async def tool(self) -> str:
        return f"{self._said}: {await self._gated('rm', 0)}"

    async def tools(self) -> str:
        said: dict[int, str] = {}

        async def ask(number: int) -> None:
            said[number] = await self._gated("dd" if number else "rm", number)

        async with trio.open_nursery() as nursery:
            for number in range(2):
                nursery.start_soon(ask, number)
        return f"{self._said}: {said[0]}, {said[1]}"

    async def ask(self) -> str:
        ref = f"q-{self._ran.turn_id}" if self._core.memory == "server" else None
        question = Question(f"{self._ran.turn_id} at {self._ran.place} asks which", (Option("this"), Option("that")), ref=ref)
        answers = await self._turn.question(question)
        self._life.check_alive()
        await self._turn.emit(TextDelta(", as you say"))
        await self._work()
        return f"{self._said}: {answers}"

    async def _gated(self, tool: str, number: int) -> str:
        ref = f"per-{self._ran.turn_id}.{self._ran.begun}-{number}" if self._core.memory == "server" else None
        # The same in each run of a turn: what an earlier run was allowed must not count again.
        request = ToolRequest(tool, f'{{"path":"{Random(self._ran.turn_id).randrange(2)}"}}', ref)
        known = self._ran.asked.get(ref or "")
        if known is not None:
            return known
        decision = await self._turn.permission(request)
        self._life.check_alive()
        await self._turn.emit(TextDelta(", as was decided"))
        if ref is not None and ref in self._ran.asked:
            return self._ran.asked[ref]  # answered already: the server takes no second answer
        if ref is not None:
            self._ran.asked[ref] = decision.outcome
        if decision.allowed:
            self._core.act(self._ran, request)
            # What is cut now has acted already.
            await self._sleep(self._rng.choice((0.0, 2.0, 15.0)))
        return decision.outcome

    async def _work(self) -> None:
        await self._sleep(self._rng.choice((0.0, 0.0, 0.001, 0.05, 0.4, 2.0)))

    async def _sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._life.check_alive()


_SCRIPTS: dict[str, Callable[[Play], Awaitable[str | Final]]] = {
    "long": Play.long,
    "nothing": Play.nothing,
    "slow": Play.slow,
    "notice": Play.notice,
    "fail": Play.fail,
    "bug": Play.bug,
    "garbage": Play.garbage,
    "wreck": Play.wreck,
    "hang": Play.hang,
    "tool": Play.tool,
    "tools": Play.tools,
    "ask": Play.ask,
}


def marks(text: str) -> list[str]:
    """The places at which the messages of a text were written: every message of a person begins with its own."""
    return [word[1:-1] for word in text.split() if word.startswith("<") and word.endswith(">")]


@asynccontextmanager
async def open_core(agent: AgentConfig, services: AgentServices) -> AsyncIterator[OpenCore]:
    wire = agent.settings
    assert isinstance(wire, CoreWire)
    await trio.lowlevel.checkpoint()
    wire.life.check_alive()
    if wire.core.down:
        wire.core.miss()
        raise TryAgain("the core does not start")
    yield OpenCore(wire)
