"""How a run begins, and every way in which it ends."""

import pytest
import trio
from trio.testing import MockClock

from gatewayd.model.errors import AgentFailed, GatewayError, NeedsOperator, TryAgain
from gatewayd.ports.agent import Final
from tests.agents.opencode.going import go
from tests.agents.opencode.house import ALLOWED, Fake, FakeTurn, open_core
from tests.fakes.opencode_server import Asking, FakeOpenAgentic, FakeOpenCode, Fault, ModelRun

BOTH = pytest.mark.parametrize("kind", [FakeOpenCode, FakeOpenAgentic])


async def shell(run: ModelRun) -> None:
    result = await run.tool("bash", {"command": f"do {run.text}"})
    await run.say(f"done: {result}")


def prompts(server: Fake) -> int:
    return sum(seen.endswith("/prompt_async") for seen in server.http.seen)


@pytest.mark.slow
@BOTH
async def test_a_prompt_that_did_not_arrive_was_not_run(autojump_clock: MockClock, kind: type[Fake]) -> None:
    server = kind()
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        server.http.faults.append(Fault("POST", "/prompt_async", "lost"))
        turn = FakeTurn(session, "hi")
        with pytest.raises(TryAgain, match="did not reach"):
            await core.run(turn)
        assert await core.turn_state(session, "turn-1") == "new"
        assert await core.run(FakeTurn(session, "hi")) == Final("echo: hi")


@BOTH
async def test_a_prompt_whose_answer_got_lost_is_not_sent_again(autojump_clock: MockClock, kind: type[Fake]) -> None:
    server = kind()
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        server.http.faults.append(Fault("POST", "/prompt_async", "unanswered"))
        assert await core.run(FakeTurn(session, "hi")) == Final("echo: hi")
        assert prompts(server) == 1


@BOTH
async def test_a_cancelled_turn_is_aborted(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    server = kind(shell)
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        going = go(nursery, core, FakeTurn(session, "go"))
        await going.turn.wait_requests()
        began = trio.current_time()
        going.stop()
        await going.done.wait()
        assert trio.current_time() - began < 5
        assert await core.turn_state(session, "turn-1") == "lost"
        assert server.permissions == {}
        assert server.ran == []
        # The next turn does not see what the aborted one left behind.
        following = go(nursery, core, FakeTurn(session, "next", turn_id="t2"))
        await following.turn.wait_requests()
        following.turn.decide(0, ALLOWED)
        assert await following.wait() == Final("done: ran")
        assert server.ran == ["do next"]
        assert len(following.turn.requests) == 1


@BOTH
async def test_a_daemon_that_leaves_aborts_nothing(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    server = kind(shell)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests()
        going.kill()
        await going.done.wait()
        assert not any(seen.endswith("/abort") for seen in server.http.seen)
        assert len(server.permissions) == 1


@BOTH
async def test_a_server_that_restarts_in_mid_turn_fails_it(
    autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]
) -> None:
    server = kind(shell)
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        going = go(nursery, core, FakeTurn(session, "go"))
        await going.turn.wait_requests()
        await server.restart()
        with pytest.raises(AgentFailed, match="server was restarted in the middle of the turn"):
            await going.wait()
        assert len(going.turn.withdrawn) == 1
        assert await core.turn_state(session, "turn-1") == "lost"
        assert prompts(server) == 1


async def test_a_model_that_is_cut_off_for_ever_is_stopped(autojump_clock: MockClock) -> None:
    async def script(run: ModelRun) -> None:
        await run.cut("and so ")

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server) as core:
        final = await core.run(FakeTurn(await core.new_session("k"), "go"))
        assert (final.text, "cut off" in (final.cut or "")) == ("and so", True)
        assert server.status == {}


async def test_a_model_that_never_stops_is_stopped(autojump_clock: MockClock) -> None:
    async def script(run: ModelRun) -> None:
        while True:
            await run.tool("read", {"path": "x"}, ask=False)
            await trio.sleep(0.1)

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server, max_messages=20) as core:
        with pytest.raises(AgentFailed, match="more than 20 messages"):
            await core.run(FakeTurn(await core.new_session("k"), "go"))
        assert server.status == {}


@BOTH
async def test_a_turn_that_fails_stops_its_run(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    """The server refuses us in the middle: nobody would hear of the run any more."""
    server = kind(shell)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests()
        server.http.faults.append(Fault("POST", "/reply", 400))
        going.turn.decide(0, ALLOWED)
        with pytest.raises(AgentFailed, match="answers 400"):
            await going.wait()
        assert any(seen.endswith("/abort") for seen in server.http.seen)
        assert server.permissions == {}
        assert server.ran == []


async def test_trouble_of_the_provider_is_told_once(autojump_clock: MockClock) -> None:
    async def script(run: ModelRun) -> None:
        for number in range(5):
            await run.retry(f"overloaded {number}: key=canary")
            await trio.sleep(10)
        await run.say("at last")

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server) as core:
        turn = FakeTurn(await core.new_session("k"), "go")
        assert await core.run(turn) == Final("at last")
        assert set(turn.notices) == {"The model's provider has a problem at the moment, and is tried again."}


async def test_an_unknown_agent_fails_without_ever_being_busy(autojump_clock: MockClock) -> None:
    server = FakeOpenCode()
    server.unknown_agent = True
    async with server.serve(), open_core(server, agent="nobody", model="some/model") as core:
        with pytest.raises(AgentFailed, match='UnknownError: Agent not found: "nobody"'):
            await core.run(FakeTurn(await core.new_session("k"), "go"))
        [prompt] = [request for request in server.http.requests if request.path.endswith("prompt_async")]
        assert prompt.json()["agent"] == "nobody"
        assert prompt.json()["model"] == {"providerID": "some", "modelID": "model"}


@pytest.mark.slow
@pytest.mark.parametrize(("stored", "busy"), [(0.0, 0.0), (8.0, 0.0), (0.0, 60.0), (8.0, 8.0)])
async def test_a_run_may_begin_late(autojump_clock: MockClock, stored: float, busy: float) -> None:
    server = FakeOpenCode()
    server.begins_after, server.busy_after = stored, busy
    async with server.serve(), open_core(server) as core:
        assert await core.run(FakeTurn(await core.new_session("k"), "hi")) == Final("echo: hi")


@pytest.mark.slow
@pytest.mark.parametrize(("stored", "busy", "reason"), [(1e6, 0.0, "never began"), (0.0, 1e6, "ended without a result")])
async def test_a_run_that_never_begins_has_failed(autojump_clock: MockClock, stored: float, busy: float, reason: str) -> None:
    server = FakeOpenCode()
    server.begins_after, server.busy_after = stored, busy
    async with server.serve(), open_core(server) as core:
        with pytest.raises(AgentFailed, match=reason):
            await core.run(FakeTurn(await core.new_session("k"), "hi"))


async def test_a_question_that_would_kill_the_run_is_dismissed_before(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def script(run: ModelRun) -> None:
        await run.say(f"got {await run.question(Asking('Which?', ('A',)))}")

    server = FakeOpenAgentic(script)
    async with server.serve(), open_core(server, poll_seconds=20) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        assert await going.wait() == Final("got [['']]")
        assert len(going.turn.withdrawn) == 1


@BOTH
async def test_stopped_by_somebody_else(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    async def script(run: ModelRun) -> None:
        while True:
            await run.say("and ")
            await trio.sleep(1)

    server = kind(script)
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        going = go(nursery, core, FakeTurn(session, "go"))
        await trio.sleep(5)
        await core._client.call("POST", f"/session/{session}/abort", what="another client")
        final = await going.wait()
        assert final.text.startswith("and and")
        assert "stopped on the agent's server" in (final.cut or "")


@BOTH
async def test_a_cancelled_turn_leaves_no_question(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    async def script(run: ModelRun) -> None:
        await run.question(Asking("Which?", ("A",)))
        await run.say("so be it")

    server = kind(script)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_questions()
        going.stop()
        await going.done.wait()
        assert server.questions == {}


@BOTH
@pytest.mark.parametrize(("status", "error"), [(500, AgentFailed), (400, AgentFailed), (429, TryAgain), (401, NeedsOperator)])
async def test_a_prompt_that_is_refused_was_not_run(
    autojump_clock: MockClock, kind: type[Fake], status: int, error: type[GatewayError]
) -> None:
    server = kind()
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        server.http.faults = [Fault("POST", "/prompt_async", status)]
        with pytest.raises(error, match="credentials" if status == 401 else f"answers {status}: on purpose"):
            await core.run(FakeTurn(session, "hi"))
        assert not any(seen.endswith("/abort") for seen in server.http.seen)
        assert await core.run(FakeTurn(session, "hi")) == Final("echo: hi")


async def test_a_long_run_is_found_whole(autojump_clock: MockClock) -> None:
    async def script(run: ModelRun) -> None:
        for _ in range(70):
            await run.tool("read", {"path": "x"}, ask=False)
        await run.say("done")

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        for turn_id in ("t1", "t2"):
            turn = FakeTurn(session, "go", turn_id=turn_id)
            assert await core.run(turn) == Final("done")
            assert len(turn.steps) == 140
            again = FakeTurn(session, "go", turn_id=turn_id)
            assert await core.resume(again) == Final("done")
            assert len(again.steps) == 140
