"""Real turns, driven at random: the hub makes no move that is not in the table, all of those that are, and each turn ends."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock, wait_all_tasks_blocked

from gatewayd.hub.turns.turn import LiveTurn
from gatewayd.model.config import (
    AgentFrame,
    AgentSettings,
    ApprovalsSection,
    BindingConfig,
    GatewayConfig,
    LimitsSection,
    MatchConfig,
    SessionsSection,
)
from gatewayd.model.errors import AgentFailed, Conflict, TryAgain
from gatewayd.model.lifecycle import INBOUND_DEAD_LETTERS, INBOUND_OVER
from gatewayd.model.message.envelope import Peer
from gatewayd.model.records.question import Question
from gatewayd.model.status import LaneStatus
from gatewayd.model.turn import TURN, TurnState
from gatewayd.ports.agent import Turn
from gatewayd.ports.store import InboundRow
from tests.hub.approvals.test_desk import LS, RM
from tests.hub.house import House, ScriptedAgents, configuration, open_house

pytestmark = pytest.mark.slow

Moves = Counter[tuple[TurnState, TurnState]]
PEOPLE_SECONDS: Final = 60.0
WORDS: Final = ("quick", "slow", "again", "fails", "asks", "asks two", "question", "stubborn", "leaves")


@contextmanager
def watched() -> Iterator[Moves]:
    """The moves of all turns inside."""
    made: Moves = Counter()
    move: Callable[[LiveTurn, TurnState], None] = LiveTurn.move

    def noting(turn: LiveTurn, to: TurnState) -> None:
        source = turn.state
        move(turn, to)
        made[source, to] += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveTurn, "move", noting)
        yield made


class Core:
    """An agent that does what the first message says. ``own`` is where it has tasks that outlive a call."""

    def __init__(self, own: trio.Nursery) -> None:
        self._own = own

    async def __call__(self, turn: Turn) -> str:
        word = next(word for word in reversed(WORDS) if turn.request.text.startswith(word))
        match word:
            case "slow":
                await anyio.sleep(7)
            case "again" if turn.request.attempt < 3:
                raise TryAgain("not yet", after_seconds=5)
            case "fails":
                raise AgentFailed("for good")
            case "asks":
                await turn.permission(RM)
            case "asks two":
                async with anyio.create_task_group() as both:
                    both.start_soon(turn.permission, RM)
                    await anyio.sleep(3)
                    both.start_soon(turn.permission, LS)
            case "question":
                await turn.question(Question("Why?"))
            case "stubborn":
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(8)
                    await turn.permission(RM)
            case "leaves" if turn.request.attempt < 3:
                self._own.start_soon(turn.permission, RM)
                await anyio.sleep(2)
                raise TryAgain("gone, and still asking")
        return word


class Walk:
    """The house, and what may be done to it: one method for each kind of step."""

    def __init__(self, house: House, agents: ScriptedAgents, rows: list[InboundRow], own: trio.Nursery) -> None:
        self._own = own
        self._house = house
        self._agents = agents
        self._rows = rows

    async def say(self, text: str, chat: str) -> None:
        if ("chat", "main") in self._house.configured.accounts:
            self._rows.append(await self._house.say(text, peer=Peer("dm", chat)))

    async def wait(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def settle(self) -> None:
        await wait_all_tasks_blocked()

    async def agent(self, is_away: bool) -> None:
        self._agents.away = TryAgain("away") if is_away else None
        changed, self._agents.changed = self._agents.changed, anyio.Event()
        changed.set()

    async def reload(self, config: GatewayConfig) -> None:
        self._house.configured.replace(config)

    async def give_up(self) -> None:
        """As the pool does with an agent that is configured no more."""
        for name in {"old", "new"} - {*self._house.configured.agents}:
            self._house.turns.hand_over_turns(name)

    async def decide(self, allow: bool) -> None:
        for approval in await self._house.desk.list():
            with suppress(Conflict):  # it was withdrawn meanwhile
                await self._house.desk.decide(approval.id, allow=allow, by="operator:me")

    async def hold(self, operation: str) -> None:
        """The news of such commits is late."""
        held = self._house.flaky.holds.setdefault(operation, anyio.Event())
        self._own.start_soon(self._release, operation, held)

    async def _release(self, operation: str, held: anyio.Event) -> None:
        await anyio.sleep(2)
        self._house.flaky.holds.pop(operation, None)
        held.set()

    async def end(self) -> None:
        """Nobody does anything any more."""
        await self.reload(CONFIGS[0])
        await self.agent(False)
        with anyio.fail_after(20_000):
            for row in self._rows:
                ended = await self._house.backlog.wait_ended(row.id)
                assert ended.state in (*INBOUND_OVER, *INBOUND_DEAD_LETTERS)
        # An abandoned core asks no more, and keeps nothing.
        await anyio.sleep(PEOPLE_SECONDS)
        await wait_all_tasks_blocked()
        assert self._house.turns.status() == LaneStatus(0, 0, 0)
        assert (self._house.turns.slot_statistics().used, self._house.backlog.waiting) == (0, 0)


def _configs() -> Iterator[GatewayConfig]:
    people = ApprovalsSection(timeout_seconds=PEOPLE_SECONDS, question_timeout_seconds=PEOPLE_SECONDS)
    both, gone = ("old", "new"), ("new",)
    to_new = (BindingConfig(MatchConfig(channel="chat"), "new"),)
    sessions = SessionsSection(turn_timeout_seconds=30, max_turn_attempts=4)
    for names, bindings, turns, mode in (
        (both, (), 2, "queue"),
        (both, to_new, 2, "collect"),
        (gone, (), 1, "interrupt"),
        (both, (), 1, "interrupt"),
    ):
        base = configuration(approvals=people, limits=LimitsSection(turns=turns), sessions=replace(sessions, queue_mode=mode))
        agents = tuple(AgentSettings(name, AgentFrame(), AgentFrame()) for name in names)
        yield replace(base, agents=agents, bindings=bindings)
    # Without the account of the chats.
    yield replace(base, accounts=base.accounts[1:])


CONFIGS: Final = list(_configs())
GONE, ONE_SLOT = CONFIGS[2], CONFIGS[3]
CUT: Final = (("wait", 0.5), ("reload", GONE), ("give_up",), ("wait", 0.5))
SLOTLESS: Final = (("reload", ONE_SLOT), ("say", "again", "1"), ("wait", 3.0), ("say", "slow", "2"), ("wait", 3.0))
QUIET: Final = [("settle",)]
RARE: Final = (
    [[("say", "slow", "1"), *CUT]],
    [[("say", "asks", "1"), *CUT]],
    [[("say", "slow", "1"), ("hold", "questions_of"), *CUT, ("say", "/stop", "1")]],
    [[("hold", "start_turn"), ("say", "slow", "1"), *CUT]],
    [[*SLOTLESS, ("say", "/stop", "1")]],
    [[*SLOTLESS, ("reload", GONE)]],
    [[*SLOTLESS], QUIET],
    [[("hold", "start_turn"), ("say", "slow", "1"), ("wait", 0.5)], QUIET],
    [[("say", "slow", "1"), ("wait", 0.5)], QUIET],
    [[("say", "leaves", "1"), ("wait", 0.5)], QUIET],
    [[("agent", True), ("say", "slow", "1"), ("wait", 0.5)], QUIET],
    [[("agent", True), ("say", "slow", "1"), ("wait", 0.5), ("reload", GONE)]],
    [[("agent", True), ("say", "slow", "1"), ("wait", 0.5), ("say", "/stop", "1")]],
    [[("say", "slow", "1"), ("wait", 0.5), ("say", "/stop", "1")]],
    [[("say", "asks", "1"), ("wait", 0.5), ("say", "/stop", "1")]],
    [[("say", "leaves", "1"), ("say", "again", "2")]],
)
"""Lives whose moves chance does not always find. Together they make every one."""
CHATS = st.sampled_from(("1", "2"))
SAY = st.tuples(st.just("say"), st.sampled_from(WORDS), CHATS)
STEPS = st.one_of(
    SAY,
    SAY,
    st.tuples(st.just("say"), st.sampled_from(("/stop", "/new", "/new slow", "/status")), CHATS),
    st.tuples(st.just("say"), st.just("/stop"), CHATS),
    st.tuples(st.just("wait"), st.sampled_from((0.5, 3.0, 20.0))),
    st.just(("settle",)),
    st.tuples(st.just("agent"), st.booleans()),
    st.tuples(st.just("reload"), st.sampled_from(CONFIGS)),
    st.just(("give_up",)),
    st.tuples(st.just("decide"), st.booleans()),
    st.tuples(st.just("hold"), st.sampled_from(("start_turn", "questions_of", "put_session", "end_inbound"))),
)
LIFE = st.lists(STEPS, min_size=5, max_size=30)


async def play(folder: Path, lives: list[list[tuple[Any, ...]]]) -> None:
    """Lives of the process, one after the other. All but the last end by a crash."""
    rows: list[InboundRow] = []
    async with trio.open_nursery() as own:
        agents = ScriptedAgents(Core(own))
        for number, steps in enumerate(lives, 1):
            async with open_house(folder, config=CONFIGS[0], agents=agents) as house:
                walk = Walk(house, agents, rows, own)
                for name, *how in steps:
                    await getattr(walk, name)(*how)
                if number == len(lives):
                    await walk.end()
        own.cancel_scope.cancel()


def test_each_turn_goes_by_the_table_and_ends() -> None:
    seen: Moves = Counter()

    @given(st.lists(LIFE, min_size=1, max_size=3))
    @settings(max_examples=100)
    def walk(lives: list[list[tuple[Any, ...]]]) -> None:
        with tempfile.TemporaryDirectory() as folder, watched() as made:
            trio.run(play, Path(folder), lives, clock=MockClock(autojump_threshold=0))
        seen.update(made)

    for lives in RARE:
        walk = example(lives)(walk)
    walk()
    assert [(source, target) for source in TURN for target in TURN[source].becomes if not seen[source, target]] == []
