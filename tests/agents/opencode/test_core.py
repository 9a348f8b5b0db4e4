"""Turns on both servers: text, tools, questions, failures."""

import pytest
import trio
from trio.testing import MockClock

from gatewayd.model.errors import AgentFailed
from gatewayd.model.records.approval import Decision
from gatewayd.model.records.question import Option, Question
from gatewayd.ports.agent import Final, ToolCall, ToolResult
from tests.agents.opencode.house import ALLOWED, Fake, FakeTurn, open_core
from tests.fakes.opencode_server import Asking, FakeOpenAgentic, FakeOpenCode, ModelRun

BOTH = pytest.mark.parametrize("kind", [FakeOpenCode, FakeOpenAgentic])


async def shell(run: ModelRun) -> None:
    await run.say("Let me look.")
    result = await run.tool("bash", {"command": "ls", "description": "look"})
    await run.say(f"done: {result}")


@BOTH
async def test_a_text_is_streamed_and_returned(autojump_clock: MockClock, kind: type[Fake]) -> None:
    async def script(run: ModelRun) -> None:
        await run.say("Hello ")
        await run.say(f"you said {run.text}")

    server = kind(script)
    async with server.serve(), open_core(server) as core:
        turn = FakeTurn(await core.new_session("k"), "hi")
        assert await core.run(turn) == Final("Hello you said hi")
        assert turn.text.strip() == "Hello you said hi"
        assert core.facts().sessions == 0


@BOTH
async def test_a_session_goes_on(autojump_clock: MockClock, kind: type[Fake]) -> None:
    server = kind()
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        for number in range(3):
            assert await core.run(FakeTurn(session, f"n{number}", turn_id=f"t{number}")) == Final(f"echo: n{number}")


@BOTH
async def test_a_tool_runs_when_it_is_allowed(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    server = kind(shell)
    async with server.serve(), open_core(server) as core:
        turn = FakeTurn(await core.new_session("k"), "go")
        finals: list[Final] = []

        async def run() -> None:
            finals.append(await core.run(turn))
            done.set()

        done = trio.Event()
        nursery.start_soon(run)
        [request] = await turn.wait_requests()
        assert (request.tool, request.input) == ("bash", '{"command":"ls","description":"look"}')
        assert core.turn_of(turn.request.session_id) == "turn-1"
        assert core.facts().sessions == 1
        await trio.sleep(30)
        assert server.ran == []
        turn.decide(0, ALLOWED)
        await done.wait()
        assert finals == [Final("done: ran")]
        assert server.ran == ["ls"]
        assert len(turn.requests) == 1
        call, result = turn.steps
        assert isinstance(call, ToolCall)
        assert isinstance(result, ToolResult)
        assert (call.tool, call.input, call.call_id) == ("bash", request.input, result.call_id)
        assert "ran" in result.output
        assert core.turn_of(turn.request.session_id) is None


@BOTH
@pytest.mark.parametrize("outcome", ["denied", "expired", "withdrawn", "undeliverable"])
async def test_a_tool_that_is_not_allowed_does_not_run(
    autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake], outcome: str
) -> None:
    server = kind(shell)
    async with server.serve(), open_core(server) as core:
        turn = FakeTurn(await core.new_session("k"), "go")

        async def decide() -> None:
            await turn.wait_requests()
            turn.decide(0, Decision(outcome, note="not today"))  # type: ignore[arg-type]

        nursery.start_soon(decide)
        final = await core.run(turn)
        assert server.ran == []
        assert final.text.startswith("done: ")
        if kind is FakeOpenCode:
            assert "not today" in final.text
            assert {"denied": "denied it", "expired": "in time", "withdrawn": "withdrawn", "undeliverable": "not be shown"}[
                outcome
            ] in final.text


@BOTH
async def test_questions_go_to_the_user(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    async def script(run: ModelRun) -> None:
        answers = await run.question(Asking("Which colour?", ("Red", "Blue")), Asking("Which size?"))
        await run.say(f"got {answers}")

    server = kind(script)
    async with server.serve(), open_core(server) as core:
        turn = FakeTurn(await core.new_session("k"), "go")

        async def answer() -> None:
            await turn.wait_questions(1)
            turn.reply(0, ("Red",))
            await turn.wait_questions(2)
            turn.reply(1, ("large",))

        nursery.start_soon(answer)
        assert await core.run(turn) == Final("got [['Red'], ['large']]")
        first = turn.questions[0]
        assert first.ref is not None
        assert first == Question("Which colour?", (Option("Red"), Option("Blue")), ref=first.ref)
        assert len({question.ref for question in turn.questions}) == 2


@BOTH
async def test_a_dismissed_question(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    async def script(run: ModelRun) -> None:
        answers = await run.question(Asking("Which colour?", ("Red", "Blue")))
        await run.say(f"got {answers}")

    server = kind(script)
    async with server.serve(), open_core(server) as core:
        turn = FakeTurn(await core.new_session("k"), "go")

        async def answer() -> None:
            await turn.wait_questions(1)
            turn.reply(0, None)

        nursery.start_soon(answer)
        final = await core.run(turn)
        # OpenCode's run ends there; OpenAgentic's model gets an empty answer.
        expected = "I stopped here, because what I asked for was refused." if kind is FakeOpenCode else "got [['']]"
        assert final == Final(expected)


@BOTH
async def test_what_a_failing_model_has_said_is_a_cut_answer(autojump_clock: MockClock, kind: type[Fake]) -> None:
    async def script(run: ModelRun) -> None:
        await run.say("well")
        await run.fail("no credit")

    server = kind(script)
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        # OpenAgentic is silent about it.
        reason = "APIError: no credit" if kind is FakeOpenCode else "ended without a result: the server does not say why"
        began = trio.current_time()
        final = await core.run(FakeTurn(session, "go"))
        assert (final.text, reason in (final.cut or "")) == ("well", True)
        assert trio.current_time() - began < 10
        server.script = FakeOpenCode().script
        assert await core.run(FakeTurn(session, "again", turn_id="t2")) == Final("echo: again")


@BOTH
async def test_a_session_that_is_gone_needs_new(autojump_clock: MockClock, kind: type[Fake]) -> None:
    server = kind()
    async with server.serve(), open_core(server) as core:
        for session in ("ses_gone", "0" * 32, "../etc"):
            turn = FakeTurn(session, "hi")
            with pytest.raises(AgentFailed, match="Write /new"):
                await core.run(turn)
            assert "/new" in turn.notices[0]
            assert await core.turn_state(session, "turn-1") == "new"
        assert not any("prompt" in seen for seen in server.http.seen)
