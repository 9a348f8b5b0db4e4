"""The callable core: the user's async generator, its mistakes, and its door to approvals."""

from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
import trio
from trio.testing import MockClock

from gatewayd.agents.callable import CallableCore, CallableSettings, CallableTurn, open_callable
from gatewayd.hub.turns.outcome import SORRY_FAILED
from gatewayd.model.config import GatewaySection
from gatewayd.model.errors import NeedsOperator
from gatewayd.model.message.envelope import Attachment
from gatewayd.model.records.question import Option
from gatewayd.ports.agent import AgentConfig, Turn
from tests.hub.house import House, open_house

closed: list[str] = []


async def asking(turn: CallableTurn) -> AsyncGenerator[str, None]:
    try:
        yield f"Hello {turn.sender.id}. "
        decision = await turn.ask("shell", {"command": "ls", "args": ["-l"]})
        yield "Did it." if decision.allowed else f"Not done: {decision.outcome}."
    finally:
        closed.append(turn.turn_id)


async def yields_numbers(turn: CallableTurn) -> AsyncGenerator[str, None]:
    yield 42  # type: ignore[misc]


async def too_long(turn: CallableTurn) -> AsyncGenerator[str, None]:
    while True:
        yield "x" * 100_000


async def broken(turn: CallableTurn) -> AsyncGenerator[str, None]:
    yield "so far "
    raise KeyError("token=secret")


async def not_a_generator(turn: CallableTurn) -> str:
    return "hello"


not_callable = 42


def script(core: CallableCore):  # type: ignore[no-untyped-def]
    async def run(turn: Turn) -> str:
        return (await core.run(turn)).text

    return run


async def _open(name: str) -> CallableCore:
    agent = AgentConfig("mine", CallableSettings(object=f"tests.agents.test_callable:{name}"))
    async with open_callable(agent, None) as core:  # type: ignore[arg-type]
        assert isinstance(core, CallableCore)
        return core


async def _ask(house: House) -> None:
    await house.say("hi")
    await trio.testing.wait_all_tasks_blocked()


async def test_it_replies_and_asks(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, script(await _open("asking"))) as house:
        await _ask(house)
        [approval] = await house.desk.list()
        assert (approval.tool, approval.input) == ("shell", '{"args":["-l"],"command":"ls"}')
        await house.desk.decide(approval.id, allow=True, by="operator:me")
        await trio.testing.wait_all_tasks_blocked()
        assert house.texts[-1] == "Hello 7. Did it."


async def reading(turn: CallableTurn) -> AsyncGenerator[str, None]:
    for attachment in turn.attachments:
        yield (await turn.fetch(attachment, at_most_bytes=4)).decode()


async def test_it_fetches_the_attachments_of_its_turn(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, script(await _open("reading"))) as house:
        house.files["here"] = b"text of the file"
        await house.ended(await house.say("", attachments=(Attachment("document", "here"),)))
        assert house.texts == ["text"]
        await house.ended(await house.say("", attachments=(Attachment("document", "gone"),)))
        assert house.texts[-1] == SORRY_FAILED
        assert "cannot be fetched: gone" in house.agents.errors[0]


async def chatty(turn: CallableTurn) -> AsyncGenerator[str, None]:
    await turn.notice("This takes a while.")
    answers = await turn.question("Which colour?", ["Red", Option("Blue", "like the sky")], multiple=True)
    yield f"{answers}"


async def test_it_asks_the_user_and_tells_them_something(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, script(await _open("chatty"))) as house:
        await _ask(house)
        told, asked = house.texts
        assert told == "This takes a while."
        assert "Which colour?" in asked
        assert "like the sky" in asked
        await house.say("Blue")
        await trio.testing.wait_all_tasks_blocked()
        assert house.texts[-1] == "('Blue',)"


async def test_a_question_that_nobody_answers_is_none(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, script(await _open("chatty"))) as house:
        await house.ended(await house.say("hi"))
        assert trio.current_time() > 3000
        assert house.texts[-1] == "None"


spinning: list[str] = []


async def spins(turn: CallableTurn) -> AsyncGenerator[str, None]:
    """Takes its cancellation for an error like any other, and all the processor's time."""
    if turn.text != "spin":
        yield "quick"
        return
    spinning.append(turn.turn_id)
    while spinning:
        with suppress(trio.Cancelled):
            await trio.lowlevel.checkpoint()


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        await trio.lowlevel.checkpoint()


def test_one_that_will_not_be_cancelled_is_named_with_its_line_once_and_others_are_answered(tmp_path: Path) -> None:
    clock = MockClock()

    async def main() -> None:
        async with open_house(tmp_path, script(await _open("spins"))) as house:
            await house.say("spin")
            await _until(lambda: bool(spinning))
            await house.say("/stop")
            while not house.turns.abandoned_tasks():
                await trio.lowlevel.checkpoint()
                clock.jump(0.01)
            [left] = house.turns.abandoned_tasks()
            assert (left.count, left.since > 0) == (1, True)
            [where] = left.where
            assert __file__ in where
            assert where.endswith(" in spins")
            await house.backlog.wait_ended((await house.say("next")).id)
            assert house.texts[-1] == "quick"
            assert [one["event"] for one in logged if "agent" in one and "abandoned" in one["event"]] == ["agent_task_abandoned"]
            spinning.clear()
            await _until(lambda: not house.turns.abandoned_tasks())
            assert house.turns.abandoned_tasks() == ()

    with structlog.testing.capture_logs() as logged:
        trio.run(main, clock=clock)


async def test_a_stopped_turn_closes_the_generator(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, script(await _open("asking"))) as house:
        await _ask(house)
        closed.clear()
        await house.ended(await house.say("/stop"))
        await trio.testing.wait_all_tasks_blocked()
        assert closed == [house.agents.turns[0].request.turn_id]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("yields_numbers", "yielded a int"),
        ("too_long", "longer than"),
        ("broken", "bug in the agent core: KeyError"),
        ("not_a_generator", "not an async generator"),
    ],
)
async def test_mistakes_are_one_sentence_and_a_reason(tmp_path: Path, autojump_clock: MockClock, name: str, reason: str) -> None:
    async with open_house(tmp_path, script(await _open(name))) as house:
        await house.ended(await house.say("hi"))
        assert house.texts == [SORRY_FAILED]
        assert reason in house.agents.errors[0]


@pytest.mark.parametrize("name", ["nothing", "not_callable"])
async def test_what_cannot_be_loaded_needs_the_operator(name: str) -> None:
    with pytest.raises(NeedsOperator, match=name):
        await _open(name)


async def test_a_module_that_is_not_there_needs_the_operator() -> None:
    with pytest.raises(NeedsOperator, match="there is no module no, neither in"):
        async with open_callable(AgentConfig("mine", CallableSettings(object="no.such:thing")), None):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize(
    "name", ["my_agent", "my_agent:", ":agent", "my_agent.agent", "my agent:agent", "my_agent:agent()", "a/b:c", ""]
)
def test_what_names_no_object_is_an_error_with_its_cure(name: str) -> None:
    [problem] = CallableSettings(object=name).problems(GatewaySection())
    assert problem.startswith(f"object = {name!r} is not MODULE:ATTRIBUTE, e.g. '")
    assert problem.endswith(":agent'")


@pytest.mark.parametrize("name", ["my_agent:agent", "a.b.c:d.e"])
def test_what_names_an_object_is_none(name: str) -> None:
    assert list(CallableSettings(object=name).problems(GatewaySection())) == []
