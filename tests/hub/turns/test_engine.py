"""One turn against cores that misbehave: every row ends with a reason, the lane goes on, and the daemon lives."""

from pathlib import Path

import anyio
import msgspec
import pytest
import trio
from trio.testing import MockClock

from gatewayd.hub.turns.outcome import MAY_BE_CUT, SORRY_EMPTY, SORRY_FAILED, SORRY_SLOW, SORRY_TOO_LONG
from gatewayd.model.config import LimitsSection, SessionsSection
from gatewayd.model.errors import AgentFailed, FailureKind, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Draft
from gatewayd.ports.agent import Final, TextDelta, ToolCall, ToolResult, Turn
from gatewayd.testing.store_contract.rows import ready
from tests.hub.house import CANARY, Gate, House, Script, ScriptedAgents, configuration, echo, open_house

SHORT = configuration(sessions=SessionsSection(turn_timeout_seconds=30))


async def sleepless(turn: Turn) -> str:
    """Swallows its cancellation, until the test lets it go."""
    with anyio.CancelScope(shield=True):
        await LET_GO.wait()
    return "too late"


LET_GO = anyio.Event()


@pytest.fixture(autouse=True)
def _let_go_anew() -> None:
    global LET_GO
    LET_GO = anyio.Event()


class Cuts(ScriptedAgents):
    async def run(self, turn: Turn) -> Final:
        return Final(f"re: {turn.request.text}", cut=f"no end came {CANARY}")


async def test_a_cut_answer_is_sent_and_stored_and_counted_as_cut(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, agents=Cuts(echo)) as house:
        row = await house.ended(await house.say("go"))
        assert (row.state, row.reason, row.detail) == ("done", "answered_cut", "no end came ***")
        assert house.texts == [f"re: go\n\n{MAY_BE_CUT}"]
        assert house.agents.errors == ["no end came ***"]


async def works(turn: Turn) -> str:
    for number in range(150):
        await turn.emit(ToolCall(f"c{number}", "shell", '{"secret": 1}'))
        await turn.emit(ToolResult(f"c{number}", "secret", is_error=number == 1))
    return "done"


async def test_a_turn_and_its_tools_are_told_as_events_without_what_is_in_them(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, works) as house:
        await house.ended(await house.say("go"))
        await house.events.wait_flushed()
        told = [(each.kind, msgspec.json.decode(each.data)) for each in await house.events.after(0, limit=1000)]
    [turn] = [data for kind, data in told if kind == "agent.turn"]
    about = {"agent": "assistant", "turn_id": "turn-1"}
    assert turn == {**about, "session_key": "assistant:chat:main:dm:7", "session_id": "session-1", "attempt": 1}
    tools = [data for kind, data in told if kind == "agent.tool"]
    assert tools[:4] == [
        {**about, "call_id": "c0", "state": "begun", "tool": "shell"},
        {**about, "call_id": "c0", "state": "done"},
        {**about, "call_id": "c1", "state": "begun", "tool": "shell"},
        {**about, "call_id": "c1", "state": "failed"},
    ]
    assert len(tools) == 200
    assert "secret" not in str(told)


async def _next_is_answered(house: House, peer: Peer | None = None) -> None:
    house.agents.script = echo
    with anyio.fail_after(60):
        assert (await house.ended(await house.say("next", peer=peer))).reason == "answered"


@pytest.mark.parametrize(
    ("kind", "text"), [("failed", SORRY_FAILED), ("empty", SORRY_EMPTY), ("too_long", SORRY_TOO_LONG), ("odd", SORRY_FAILED)]
)
async def test_a_failure_says_which_sentence_its_user_gets(
    tmp_path: Path, autojump_clock: MockClock, kind: FailureKind, text: str
) -> None:
    async def fails(turn: Turn) -> str:
        raise AgentFailed("the reason", kind=kind)

    async with open_house(tmp_path, fails) as house:
        row = await house.ended(await house.say("hello"))
        assert (row.state, row.reason, row.detail) == ("dead", "agent_failed", "the reason")
        assert house.texts == [text]


class Returns(ScriptedAgents):
    """A core of somebody who has not read the contract."""

    def __init__(self, value: object) -> None:
        super().__init__(echo)
        self.value = value

    async def run(self, turn: Turn) -> Final:
        if turn.request.text == "next":
            return await super().run(turn)
        return self.value  # type: ignore[return-value]


@pytest.mark.parametrize("value", [None, "text", Final(None), Final(b"x"), Final("x" * 1_000_001)])  # type: ignore[arg-type]
async def test_what_is_no_reply_of_a_bounded_length_is_a_failed_turn(
    tmp_path: Path, autojump_clock: MockClock, value: object
) -> None:
    async with open_house(tmp_path, agents=Returns(value)) as house:
        row = await house.ended(await house.say("hello"))
        assert (row.state, row.reason) == ("dead", "agent_failed")
        assert house.texts == [SORRY_FAILED]
        await _next_is_answered(house)


async def test_half_a_character_and_nul_are_sent_as_something_that_can_be_sent(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def odd(turn: Turn) -> str:
        await turn.emit(TextDelta("a\ud83d\x00b"))
        await anyio.sleep(1)
        return "a\ud83d\x00b"

    async with open_house(tmp_path, odd) as house:
        await house.ended(await house.say("hello"))
        assert house.texts == ["a\ufffd b"]
        assert [signal.text for signal in house.signals if isinstance(signal, Draft)] == ["a\ufffd b"]


async def _exits(turn: Turn) -> str:
    raise SystemExit(3)


async def _group(turn: Turn) -> str:
    raise BaseExceptionGroup("several", [ExceptionGroup("inner", [ValueError(CANARY)]), SystemExit(3)])


async def _emits_nonsense(turn: Turn) -> str:
    await turn.emit(TextDelta(42))  # type: ignore[arg-type]
    return "never"


async def _asks_nonsense(turn: Turn) -> str:
    await turn.permission("rm -rf /")  # type: ignore[arg-type]
    return "never"


@pytest.mark.parametrize("script", [_exits, _group, _emits_nonsense, _asks_nonsense])
async def test_whatever_a_core_raises_ends_its_turn_only(tmp_path: Path, autojump_clock: MockClock, script: Script) -> None:
    async with open_house(tmp_path, script) as house:
        assert (await house.ended(await house.say("hello"))).reason == "agent_failed"
        assert house.agents.errors[0].startswith("bug in the agent core: ")
        assert CANARY not in house.agents.errors[0]
        await _next_is_answered(house)


async def _fails_when_cancelled(turn: Turn) -> str:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep_forever)
        await _plainly_fails_when_cancelled(turn)
    return "never"


async def _plainly_fails_when_cancelled(turn: Turn) -> str:
    try:
        await anyio.sleep_forever()
    finally:
        raise ValueError("in the clean-up")


@pytest.mark.parametrize("script", [_fails_when_cancelled, _plainly_fails_when_cancelled])
async def test_a_core_that_fails_while_it_is_cancelled_was_stopped_all_the_same(
    tmp_path: Path, autojump_clock: MockClock, script: Script
) -> None:
    async with open_house(tmp_path, script, config=SHORT) as house:
        assert (await house.ended(await house.say("slow"))).reason == "turn_timed_out"
        row = await house.say("stopped")
        await trio.testing.wait_all_tasks_blocked()
        await house.ended(await house.say("/stop"))
        assert (await house.ended(row)).reason == "stopped"
        assert house.texts == [SORRY_SLOW, "Stopped."]
        await _next_is_answered(house)


async def test_a_core_that_ignores_its_cancellation_is_abandoned_and_its_lane_goes_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path, sleepless, config=SHORT) as house:
        row = await house.say("hello")
        with anyio.fail_after(60):
            assert (await house.ended(row)).reason == "turn_timed_out"
        assert [each.count for each in house.turns.abandoned_tasks()] == [1]
        await _next_is_answered(house)
        assert house.texts == [SORRY_SLOW, "re: next"]
        LET_GO.set()
        await trio.testing.wait_all_tasks_blocked()
        assert house.turns.abandoned_tasks() == ()


class Stuck(ScriptedAgents):
    """A core that never opens a session."""

    stuck = True

    async def new_session(self, session_key: str) -> str:
        if self.stuck:
            await anyio.sleep_forever()
        return await super().new_session(session_key)


async def test_a_session_that_never_opens_frees_its_lane(tmp_path: Path, autojump_clock: MockClock) -> None:
    agents = Stuck(echo)
    async with open_house(tmp_path, config=SHORT, agents=agents) as house:
        with anyio.fail_after(200):
            assert (await house.ended(await house.say("hello"))).reason == "turn_timed_out"
            assert (await house.ended(await house.say("/new"))).reason == "agent_failed"
            row = await house.say("hello")
            await trio.testing.wait_all_tasks_blocked()
            await house.ended(await house.say("/stop"))
            assert (await house.ended(row)).reason == "stopped"
        agents.stuck = False
        await _next_is_answered(house)


@pytest.mark.parametrize("error", [TryAgain("down"), ValueError("bug"), ExceptionGroup("many", [KeyError("bug")]), SystemExit(1)])
async def test_new_when_the_core_cannot(tmp_path: Path, autojump_clock: MockClock, error: BaseException) -> None:
    class Broken(ScriptedAgents):
        async def new_session(self, session_key: str) -> str:
            raise error

    async with open_house(tmp_path, agents=Broken(echo)) as house:
        row = await house.ended(await house.say("/new"))
        assert (row.state, row.reason) == ("dead", "agent_failed")
        assert house.texts == ["Sorry, the agent could not open a new session."]


async def test_an_agent_that_is_down_does_not_take_the_slots_of_the_others(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def one_is_down(turn: Turn) -> str:
        if turn.request.peer.id == "down":
            raise TryAgain("down", after_seconds=3600)
        return "fine"

    async with open_house(tmp_path, one_is_down, config=configuration(limits=LimitsSection(turns=1))) as house:
        waits = await house.say("hello", peer=Peer("dm", "down"))
        await trio.testing.wait_all_tasks_blocked()
        with anyio.fail_after(60):
            assert (await house.ended(await house.say("hello"))).reason == "answered"
            await house.ended(await house.say("/stop", peer=Peer("dm", "down")))
            assert (await house.ended(waits)).reason == "stopped"
        await _next_is_answered(house)


async def test_no_secret_and_no_flood_in_what_the_operator_is_told(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def tell(turn: Turn) -> str:
        raise AgentFailed(f"the key {CANARY} is wrong\n" + "x" * 100_000)

    async with open_house(tmp_path, tell) as house:
        await house.ended(await house.say("hello"))
        await house.events.wait_flushed()
        told = b"".join(bytes(event.data) for event in await house.events.after(0, limit=100))
        assert CANARY.encode() not in told
        assert b"the key ***" in told
        assert len(told) < 2000
        assert [CANARY in error for error in house.agents.errors] == [False]


async def test_a_core_that_streams_for_ever_is_stopped_and_its_draft_is_bounded(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def flood(turn: Turn) -> str:
        while True:
            await turn.emit(TextDelta("x" * 60_000))
            await anyio.sleep(0.01)

    async with open_house(tmp_path, flood, config=SHORT) as house:
        assert (await house.ended(await house.say("hello"))).reason == "turn_timed_out"
        assert max(len(signal.text) for signal in house.signals if isinstance(signal, Draft)) <= 200_000


async def test_a_message_without_a_usable_time_is_answered(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        assert (await house.ended(await house.say("hello", sent_at=1e30))).reason == "answered"


async def test_a_stop_is_said_when_the_turn_has_stopped(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Gate()) as house:
        row = await house.say("hello")
        await trio.testing.wait_all_tasks_blocked()
        house.flaky.refuses.add("end_inbound")
        stop = await house.say("/stop")
        await trio.testing.wait_all_tasks_blocked()
        house.flaky.refuses.clear()
        await house.ended(stop)
        assert await house.reason_of(row) == ("done", "stopped")


async def test_a_reply_is_stored_by_the_commit_that_ends_its_message(tmp_path: Path, autojump_clock: MockClock) -> None:
    """A crash right behind that commit loses no reply."""
    async with open_house(tmp_path) as house:
        heard = house.flaky.holds["end_inbound"] = anyio.Event()
        row = await house.say("hello")
        await trio.testing.wait_all_tasks_blocked()
        assert await house.reason_of(row) == ("done", "answered")
        replies = await ready(house.store, "chat")
        heard.set()
        assert [reply.payload.body.text for reply in replies] == ["re: hello"]
