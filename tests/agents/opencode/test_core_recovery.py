"""A gatewayd that is killed at any point of a turn, and asks after its restart what has become of it."""

import pytest
import trio
from trio.testing import MockClock

from gatewayd.model.errors import AgentFailed
from gatewayd.model.records.approval import Decision
from gatewayd.ports.agent import Final
from tests.agents.opencode.going import go
from tests.agents.opencode.house import ALLOWED, DictState, Fake, FakeTurn, open_core
from tests.fakes.opencode_server import Asking, FakeOpenAgentic, FakeOpenCode, Fault, ModelRun

BOTH = pytest.mark.parametrize("kind", [FakeOpenCode, FakeOpenAgentic])


async def shell(run: ModelRun) -> None:
    result = await run.tool("bash", {"command": f"do {run.text}"})
    await run.say(f"done: {result}")


def prompts(server: Fake) -> int:
    return sum(seen.endswith("/prompt_async") for seen in server.http.seen)


@BOTH
async def test_killed_before_the_prompt(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    server, kept = kind(), DictState()

    async def stop(key: str) -> None:
        if key.startswith("turn:"):
            await trio.sleep_forever()

    async with server.serve():
        async with open_core(server, kept) as core:
            session = await core.new_session("k")
            kept.saved = stop
            going = go(nursery, core, FakeTurn(session, "hi"))
            await trio.sleep(1)
            assert kept.values[f"turn:{session}"]
            going.kill()
        kept.saved = None
        async with open_core(server, kept) as core:
            assert await core.turn_state(session, "turn-1") == "new"
            assert await core.run(FakeTurn(session, "hi")) == Final("echo: hi")
        assert prompts(server) == 1


@BOTH
async def test_killed_before_the_answer(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    gate = trio.Event()

    async def script(run: ModelRun) -> None:
        await run.say("well, ")
        await gate.wait()
        await run.say("done")

    server, kept = kind(script), DictState()
    async with server.serve():
        async with open_core(server, kept) as core:
            session = await core.new_session("k")
            going = go(nursery, core, FakeTurn(session, "hi"))
            await going.turn.wait_event(lambda turn: turn.text == "well, ")
            going.kill()
        async with open_core(server, kept) as core:
            assert await core.turn_state(session, "turn-1") == "running"
            going = go(nursery, core, FakeTurn(session, "hi"), resume=True)
            await trio.sleep(10)
            gate.set()
            assert await going.wait() == Final("well, done")
            assert await core.turn_state(session, "turn-1") == "ended"
            assert await core.turn_state(session, "turn-0") == "new"
        assert prompts(server) == 1


@BOTH
async def test_killed_and_not_wanted_any_more(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    async def script(run: ModelRun) -> None:
        await run.say("well, ")
        await run.tool("bash", {"command": "rm x"})

    server, kept = kind(script), DictState()
    async with server.serve():
        async with open_core(server, kept) as core:
            session = await core.new_session("k")
            going = go(nursery, core, FakeTurn(session, "hi"))
            await going.turn.wait_requests()
            going.kill()
        async with open_core(server, kept) as core:
            await core.stop_turn(session, "turn-0")
            assert await core.turn_state(session, "turn-1") == "running"
            await core.stop_turn(session, "turn-1")
            assert await core.turn_state(session, "turn-1") != "running"
            await core.stop_turn(session, "turn-1")
            await core.stop_turn("ses_of_nobody", "turn-1")
        assert server.ran == []


@BOTH
async def test_killed_after_the_end(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    gate = trio.Event()

    async def script(run: ModelRun) -> None:
        await gate.wait()
        await run.tool("bash", {"command": "x"}, ask=False)
        await run.say("done")

    server, kept = kind(script), DictState()
    async with server.serve():
        async with open_core(server, kept) as core:
            session = await core.new_session("k")
            going = go(nursery, core, FakeTurn(session, "hi"))
            await trio.sleep(5)
            going.kill()
        gate.set()
        await trio.sleep(10)
        async with open_core(server, kept) as core:
            assert await core.turn_state(session, "turn-1") == "ended"
            for _ in range(2):
                turn = FakeTurn(session, "hi")
                assert await core.resume(turn) == Final("done")
                assert len(turn.steps) == 2
            # Also a hub that does not ask gets the answer, and no second run.
            assert await core.run(FakeTurn(session, "hi")) == Final("done")
        assert prompts(server) == 1


@BOTH
@pytest.mark.parametrize("handed_over", [True, False])
async def test_killed_with_a_permission_pending(
    autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake], handed_over: bool
) -> None:
    server, kept, decided = kind(shell), DictState(), dict[str, Decision]()
    async with server.serve():
        async with open_core(server, kept) as core:
            session = await core.new_session("k")
            going = go(nursery, core, FakeTurn(session, "hi", decided=decided))
            [request] = await going.turn.wait_requests()
            if not handed_over:
                server.http.faults.append(Fault("POST", "/reply", "lost", times=1000))
                going.turn.decide(0, ALLOWED)
                await trio.sleep(5)
            going.kill()
        server.http.faults.clear()
        async with open_core(server, kept) as core:
            assert await core.turn_state(session, "turn-1") == "running"
            going = go(nursery, core, FakeTurn(session, "hi", decided=decided), resume=True)
            if handed_over:
                assert [again.ref for again in await going.turn.wait_requests()] == [request.ref]
                going.turn.decide(0, ALLOWED)
            assert await going.wait() == Final("done: ran")
            assert len(going.turn.requests) == handed_over
        assert server.ran == ["do hi"]


@BOTH
async def test_killed_with_a_question_pending(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    async def script(run: ModelRun) -> None:
        await run.say(f"got {await run.question(Asking('Which?', ('A', 'B')))}")

    server, kept = kind(script), DictState()
    async with server.serve():
        async with open_core(server, kept) as core:
            session = await core.new_session("k")
            going = go(nursery, core, FakeTurn(session, "hi"))
            [question] = await going.turn.wait_questions()
            going.kill()
        async with open_core(server, kept) as core:
            assert await core.turn_state(session, "turn-1") == "running"
            going = go(nursery, core, FakeTurn(session, "hi"), resume=True)
            assert await going.turn.wait_questions() == [question]
            going.turn.reply(0, ("B",))
            assert await going.wait() == Final("got [['B']]")


@BOTH
async def test_the_server_lost_it_meanwhile(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    server, kept = kind(shell), DictState()
    async with server.serve():
        async with open_core(server, kept) as core:
            session = await core.new_session("k")
            going = go(nursery, core, FakeTurn(session, "hi"))
            await going.turn.wait_requests()
            going.kill()
        await server.restart()
        async with open_core(server, kept) as core:
            assert await core.turn_state(session, "turn-1") == "lost"
            with pytest.raises(AgentFailed, match="without a result"):
                await core.resume(FakeTurn(session, "hi"))
            # The policy of the agent is to run it again.
            going = go(nursery, core, FakeTurn(session, "hi"))
            await going.turn.wait_requests()
            going.turn.decide(0, ALLOWED)
            assert await going.wait() == Final("done: ran")
        assert prompts(server) == 2
        assert server.ran == ["do hi"]


async def test_a_failure_is_found_again(autojump_clock: MockClock) -> None:
    async def script(run: ModelRun) -> None:
        await run.fail("no credit")

    server, kept = FakeOpenCode(script), DictState()
    async with server.serve(), open_core(server, kept) as core:
        session = await core.new_session("k")
        with pytest.raises(AgentFailed, match="no credit"):
            await core.run(FakeTurn(session, "hi"))
        assert await core.turn_state(session, "turn-1") == "ended"
        with pytest.raises(AgentFailed, match="no credit"):
            await core.resume(FakeTurn(session, "hi"))
        # An operator who wants it run again gets a run, not the old failure.
        server.script = FakeOpenCode().script
        assert await core.run(FakeTurn(session, "hi")) == Final("echo: hi")


@BOTH
async def test_the_session_is_gone_meanwhile(autojump_clock: MockClock, kind: type[Fake]) -> None:
    server, kept = kind(), DictState()
    async with server.serve(), open_core(server, kept) as core:
        session = await core.new_session("k")
        await core.run(FakeTurn(session, "hi"))
        if isinstance(server, FakeOpenCode):
            del server.sessions[session]
        else:
            del server.logs[session]
        assert await core.turn_state(session, "turn-1") == "lost"


@BOTH
async def test_state_is_bounded_by_the_conversations(autojump_clock: MockClock, kind: type[Fake]) -> None:
    server, kept = kind(), DictState()
    async with server.serve(), open_core(server, kept) as core:
        for key in ("k1", "k2"):
            for number in range(5):
                session = await core.new_session(key)
                for turn in range(3):
                    await core.run(FakeTurn(session, "hi", turn_id=f"{key}-{number}-{turn}"))
        assert len(kept.values) == 4


@BOTH
async def test_a_session_that_is_busy_with_something_else_is_waited_for(
    autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]
) -> None:
    gate = trio.Event()

    async def script(run: ModelRun) -> None:
        if run.text == "theirs":
            await gate.wait()
        await run.say(f"re: {run.text}")

    server = kind(script)
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        body = {"text": "theirs", "parts": [{"type": "text", "text": "theirs"}]}
        await core._client.http.post(f"{server.url}/session/{session}/prompt_async", json=body)
        going = go(nursery, core, FakeTurn(session, "ours"))
        await trio.sleep(20)
        assert prompts(server) == 1
        gate.set()
        assert await going.wait() == Final("re: ours")


@pytest.mark.parametrize(("busy_after", "state"), [(20.0, "ended"), (1e6, "lost")])
async def test_killed_before_the_server_began(
    autojump_clock: MockClock, nursery: trio.Nursery, busy_after: float, state: str
) -> None:
    """It has stored the prompt, and would begin while we run the turn again."""
    server, kept = FakeOpenCode(), DictState()
    server.busy_after = busy_after
    async with server.serve():
        async with open_core(server, kept) as core:
            session = await core.new_session("k")
            going = go(nursery, core, FakeTurn(session, "hi"))
            await trio.sleep(3)
            going.kill()
        async with open_core(server, kept) as core:
            assert await core.turn_state(session, "turn-1") == state
            if state == "ended":
                assert await core.resume(FakeTurn(session, "hi")) == Final("echo: hi")
        assert prompts(server) == 1
