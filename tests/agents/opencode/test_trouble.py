"""What goes wrong: connections, answers that get lost, the servers' own bugs."""

from random import Random
from typing import Any

import pytest
import structlog
import trio
from msgspec import Struct
from trio.testing import MockClock

from gatewayd.agents.opencode.client import Client
from gatewayd.agents.opencode.openagentic import OpenAgentic
from gatewayd.agents.opencode.opencode import OpenCode
from gatewayd.agents.opencode.watch import Watch
from gatewayd.kit.http import create_client
from gatewayd.model.approval import Decision
from gatewayd.model.errors import AgentFailed, NeedsOperator, TryAgain
from gatewayd.model.secret import Secret
from gatewayd.ports.agent import Final, ToolResult
from tests.agents.opencode.going import Going, go
from tests.agents.opencode.house import ALLOWED, Fake, FakeTurn, open_core
from tests.fakes.opencode_server import Asking, FakeOpenAgentic, FakeOpenCode, Fault, ModelRun

BOTH = pytest.mark.parametrize("kind", [FakeOpenCode, FakeOpenAgentic])


class Word(Struct):
    """The body of an answer to a request, as another client sends it."""

    reply: str


async def shell(run: ModelRun) -> None:
    result = await run.tool("bash", {"command": f"do {run.text}"})
    await run.say(f"done: {result}")


async def one_id(run: ModelRun) -> None:
    """As model servers do that number their calls anew in each answer."""
    first = await run.tool("bash", {"command": f"first {run.text}"}, call_id="call_0")
    second = await run.tool("bash", {"command": f"second {run.text}"}, call_id="call_0")
    await run.say(f"{first}, {second}")


def prompts(server: Fake) -> int:
    return sum(seen.endswith("/prompt_async") for seen in server.http.seen)


@BOTH
async def test_a_broken_stream_is_begun_anew(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    gate = trio.Event()

    async def script(run: ModelRun) -> None:
        await run.say("one ")
        await gate.wait()
        await run.tool("bash", {"command": "ls"})
        await run.say("two")

    server = kind(script)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_event(lambda turn: turn.text == "one ")
        server.break_streams()
        gate.set()  # what happens now is in no stream
        await going.turn.wait_requests()
        server.break_streams()
        going.turn.decide(0, ALLOWED)
        assert (await going.wait()).text.endswith("two")
        assert [type(step).__name__ for step in going.turn.steps] == ["ToolCall", "ToolResult"]


@BOTH
async def test_an_outage_in_the_middle_is_waited_out(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    server = kind(shell)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests()
        await server.http.stop()
        going.turn.decide(0, ALLOWED)
        await trio.sleep(100)
        assert not going.done.is_set()
        await server.http.start()
        assert await going.wait() == Final("done: ran")
        assert server.ran == ["do go"]


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
@pytest.mark.parametrize("fault", ["lost", "unanswered", 503])
async def test_an_answer_is_handed_over_until_it_is_heard(
    autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake], fault: str | int
) -> None:
    server = kind(shell)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests()
        server.http.faults.append(Fault("POST", "/reply", fault, times=3))  # type: ignore[arg-type]
        going.turn.decide(0, ALLOWED)
        assert await going.wait() == Final("done: ran")
        assert server.ran == ["do go"]
        assert len(going.turn.requests) == 1


@BOTH
@pytest.mark.parametrize("fault", ["lost", "unanswered", None])
async def test_one_yes_is_for_one_call_even_if_the_next_has_its_id(
    autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake], fault: str | None
) -> None:
    server = kind(one_id)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests()
        if fault is not None:
            server.http.faults.append(Fault("POST", "/reply", fault, times=2))  # type: ignore[arg-type]
        going.turn.decide(0, ALLOWED)
        await going.turn.wait_requests(2)
        await trio.sleep(60)
        assert server.ran == ["first go"]
        going.turn.decide(1, Decision("denied"))
        await going.wait()
        assert server.ran == ["first go"]
        refs = [request.ref for request in going.turn.requests]
        assert len(set(refs)) == 2
        assert None not in refs


@BOTH
async def test_two_sessions_with_one_call_id_run_their_own(
    autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]
) -> None:
    server = kind(one_id)
    async with server.serve(), open_core(server) as core:
        goings = [go(nursery, core, FakeTurn(await core.new_session(f"k{n}"), f"n{n}", turn_id=f"t{n}")) for n in range(2)]

        async def decide(going: Going, decisions: tuple[Decision, Decision]) -> None:
            for number, decision in enumerate(decisions):
                await going.turn.wait_requests(number + 1)
                await trio.sleep(5)
                going.turn.decide(number, decision)

        nursery.start_soon(decide, goings[0], (ALLOWED, Decision("denied")))
        nursery.start_soon(decide, goings[1], (Decision("denied"), ALLOWED))
        for going in goings:
            await going.wait()
        assert sorted(server.ran) == ["first n0", "second n1"]
        if isinstance(server, FakeOpenAgentic):
            assert server.most_at_once == 1
            assert any("another conversation" in notice for going in goings for notice in going.turn.notices)


@BOTH
async def test_answered_elsewhere_is_withdrawn_here(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    server = kind(shell)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        [request] = await going.turn.wait_requests()
        [request_id] = server.permissions
        word = "once" if kind is FakeOpenCode else "allow"
        await core._client.call("POST", f"/permission/{request_id}/reply", what="another client", body=Word(word))
        assert await going.wait() == Final("done: ran")
        assert going.turn.withdrawn == [request.ref]
        assert server.ran == ["do go"]


@BOTH
async def test_a_cancelled_turn_is_aborted(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    server = kind(shell)
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        going = go(nursery, core, FakeTurn(session, "go"))
        await going.turn.wait_requests()
        began = trio.current_time()
        going.scope.cancel()
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
        going.turn.goes_on = True
        await going.turn.wait_requests()
        going.scope.cancel()
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


async def test_a_denial_waits_for_the_answers_to_parallel_requests(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def script(run: ModelRun) -> None:
        results = await run.tools(("bash", {"command": "a"}), ("bash", {"command": "b"}), ("bash", {"command": "c"}))
        await run.say(" | ".join(results))

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        requests = await going.turn.wait_requests(3)
        number = {request.input: at for at, request in enumerate(requests)}
        going.turn.decide(number['{"command":"a"}'], Decision("denied", note="not a"))
        await trio.sleep(30)
        going.turn.decide(number['{"command":"b"}'], ALLOWED)
        await trio.sleep(30)
        assert server.ran == ["b"]
        going.turn.decide(number['{"command":"c"}'], ALLOWED)
        final = await going.wait()
        assert "not a" in final.text
        assert sorted(server.ran) == ["b", "c"]


async def test_two_denials_end_the_run_of_opencode(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def script(run: ModelRun) -> None:
        await run.say("I try two things.")
        await run.tools(("bash", {"command": "a"}), ("bash", {"command": "b"}))

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests(2)
        going.turn.decide(0, Decision("denied"))
        going.turn.decide(1, Decision("denied"))
        assert await going.wait() == Final("I try two things.")
        assert server.ran == []


async def test_requests_of_sub_agents_are_asked_for(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def script(run: ModelRun) -> None:
        result = await run.sub_agent("bash", {"command": "deep"})  # type: ignore[attr-defined]
        await run.say(result)

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        [request] = await going.turn.wait_requests()
        assert request.input == '{"command":"deep"}'
        going.turn.decide(0, ALLOWED)
        assert await going.wait() == Final("ran")


async def test_each_directory_has_its_own_requests(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    server = FakeOpenCode(shell)
    async with server.serve(), open_core(server, directory="/srv/a b") as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests()
        assert server.sessions[going.turn.request.session_id]["directory"] == "/srv/a b"
        going.turn.decide(0, ALLOWED)
        await going.wait()
    # The setting has changed since: the session stays where it is.
    async with server.serve(), open_core(server, directory="/srv/c") as core:
        going = go(nursery, core, FakeTurn(going.turn.request.session_id, "go", turn_id="t2"))
        await going.turn.wait_requests()
        going.turn.decide(0, ALLOWED)
        assert await going.wait() == Final("done: ran")


async def test_a_model_that_is_cut_off_for_ever_is_stopped(autojump_clock: MockClock) -> None:
    async def script(run: ModelRun) -> None:
        await run.cut("and so ")

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server) as core:
        with pytest.raises(AgentFailed, match="cut off"):
            await core.run(FakeTurn(await core.new_session("k"), "go"))
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


@pytest.mark.parametrize(("stored", "busy"), [(0.0, 0.0), (8.0, 0.0), (0.0, 60.0), (8.0, 8.0)])
async def test_a_run_may_begin_late(autojump_clock: MockClock, stored: float, busy: float) -> None:
    server = FakeOpenCode()
    server.begins_after, server.busy_after = stored, busy
    async with server.serve(), open_core(server) as core:
        assert await core.run(FakeTurn(await core.new_session("k"), "hi")) == Final("echo: hi")


@pytest.mark.parametrize(("stored", "busy", "reason"), [(1e6, 0.0, "never began"), (0.0, 1e6, "ended without a result")])
async def test_a_run_that_never_begins_has_failed(autojump_clock: MockClock, stored: float, busy: float, reason: str) -> None:
    server = FakeOpenCode()
    server.begins_after, server.busy_after = stored, busy
    async with server.serve(), open_core(server) as core:
        with pytest.raises(AgentFailed, match=reason):
            await core.run(FakeTurn(await core.new_session("k"), "hi"))


async def test_a_request_that_openagentic_gives_up_is_withdrawn(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    server = FakeOpenAgentic(shell)
    async with server.serve(), open_core(server, poll_seconds=20) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        [request] = await going.turn.wait_requests()
        assert await going.wait() == Final("done: tool use not approved")
        assert going.turn.withdrawn == [request.ref]
        assert server.ran == []


async def test_a_question_that_would_kill_the_run_is_dismissed_before(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def script(run: ModelRun) -> None:
        await run.say(f"got {await run.question(Asking('Which?', ('A',)))}")

    server = FakeOpenAgentic(script)
    async with server.serve(), open_core(server, poll_seconds=20) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        assert await going.wait() == Final("got [['']]")
        assert len(going.turn.withdrawn) == 1


async def test_a_log_is_read_again_when_it_was_just_being_written(autojump_clock: MockClock) -> None:
    server = FakeOpenAgentic()
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        server.torn = 4
        assert await core.run(FakeTurn(session, "hi")) == Final("echo: hi")
        server.torn = 1_000_000
        with pytest.raises(AgentFailed, match=r"damaged\. Write /new"):
            await core.run(FakeTurn(session, "hi", turn_id="t2"))


async def test_without_deltas_whole_messages_are_shown(autojump_clock: MockClock) -> None:
    async def script(run: ModelRun) -> None:
        await run.say("first ")
        await run.say("step")
        await run.tool("Read", {"path": "x"}, ask=False)
        await run.say("second step")

    server = FakeOpenAgentic(script, deltas=False)
    async with server.serve(), open_core(server) as core:
        turn = FakeTurn(await core.new_session("k"), "go")
        assert await core.run(turn) == Final("second step")
        assert turn.text.strip() == "first step\n\nsecond step"
        assert isinstance(turn.steps[1], ToolResult)


async def test_junk_in_the_stream_is_ignored(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    gate = trio.Event()

    async def script(run: ModelRun) -> None:
        await gate.wait()
        await run.say("fine")

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        going = go(nursery, core, FakeTurn(session, "go"))
        await trio.sleep(1)
        for kind, properties in (
            ("message.part.delta", {"sessionID": session, "delta": 7}),
            ("message.updated", {"sessionID": session, "info": []}),
            ("plugin.added", {"id": "x"}),
            ("session.error", {"sessionID": 7}),
            ("message.part.updated", {"sessionID": session, "part": {"type": "tool", "state": {"status": 5}}}),
        ):
            server.publish(session, kind, properties)
        server._send({"payload": "nonsense"})
        for stream in server._streams:
            stream.send.send_nowait(b"data: {not json\n\ndata: " + b"[" * 10_000 + b"\n\n")
            stream.send.send_nowait(b"data: " + b"x" * (9 * 1024 * 1024) + b"\n\n")  # too long: the stream is begun anew
        await trio.sleep(30)
        gate.set()
        assert await going.wait() == Final("fine")


@pytest.mark.parametrize(
    ("settings", "error", "reason"),
    [
        ({}, NeedsOperator, "refuses the credentials"),
        ({"password": Secret("wrong password")}, NeedsOperator, "refuses the credentials"),
        ({"url": "http://127.0.0.1:1"}, TryAgain, "cannot connect"),
    ],
)
async def test_a_server_that_cannot_be_used(
    autojump_clock: MockClock, settings: dict[str, Any], error: type[Exception], reason: str
) -> None:
    server = FakeOpenCode(password="right password")
    async with server.serve():
        with pytest.raises(error, match=reason):
            async with open_core(server, **settings):
                pass
        async with open_core(server, password=Secret("right password")) as core:
            assert await core.run(FakeTurn(await core.new_session("k"), "hi")) == Final("echo: hi")
            assert core.surface().headers["authorization"].startswith("Basic ")
    token = FakeOpenAgentic(token="the token of it")
    async with token.serve():
        with pytest.raises(NeedsOperator, match="credentials"):
            async with open_core(token):
                pass
        async with open_core(token, token=Secret("the token of it")) as core:
            assert core.facts().version == "openagentic-sdk"


async def test_another_server_is_told_from_ours(autojump_clock: MockClock) -> None:
    server = FakeOpenCode()
    server.version = 7  # type: ignore[assignment]
    async with server.serve():
        with pytest.raises(NeedsOperator, match="neither OpenCode's nor OpenAgentic's"):
            async with open_core(server):
                pass


@BOTH
async def test_an_idle_core_tells_that_its_server_is_gone(autojump_clock: MockClock, kind: type[Fake]) -> None:
    server = kind()
    async with server.serve():
        with pytest.RaisesGroup(pytest.RaisesExc(TryAgain, match="has not answered for"), flatten_subgroups=True):
            async with open_core(server):
                await trio.sleep(500)
                await server.http.stop()
                await trio.sleep(500)


@BOTH
async def test_a_server_that_hangs_is_not_waited_for_for_ever(autojump_clock: MockClock, kind: type[Fake]) -> None:
    """One of our own, which is started anew then; a remote one is, as long as a turn runs."""
    server = kind()
    async with server.serve(), create_client() as http:
        client = Client(http, server.url, None)
        dialect = OpenCode(client) if isinstance(server, FakeOpenCode) else OpenAgentic(client)
        log, rng = structlog.get_logger(), Random(1)
        watch = Watch(client, dialect, poll_seconds=2, unreachable_seconds=60, patient=False, log=log, rng=rng)
        server.http.faults = [Fault("GET", ending, "hangs", times=10**9) for ending in ("/event", "/permission")]
        began = trio.current_time()
        with pytest.RaisesGroup(pytest.RaisesExc(TryAgain, match="has not answered for"), flatten_subgroups=True):
            await watch.run()
        assert 60 < trio.current_time() - began < 150


async def test_a_stream_that_does_not_open_delays_the_prompt(autojump_clock: MockClock) -> None:
    server = FakeOpenCode()
    server.http.faults = [Fault("GET", "/event", "hangs", times=2)]
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        with pytest.raises(TryAgain, match="does not send its events"):
            await core.run(FakeTurn(session, "hi"))
        assert prompts(server) == 0
        await trio.sleep(60)
        assert await core.run(FakeTurn(session, "hi")) == Final("echo: hi")


async def test_two_agents_do_not_share_an_openagentic_server(autojump_clock: MockClock) -> None:
    server = FakeOpenAgentic()
    async with server.serve():
        async with open_core(server):
            with pytest.raises(NeedsOperator, match="another agent uses"):
                async with open_core(server):
                    pass
        async with open_core(server) as core:
            assert core.facts().version == "openagentic-sdk"


@BOTH
async def test_a_request_that_vanishes_and_comes_back_is_refused(
    autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]
) -> None:
    """It was withdrawn in the chat: it neither hangs for ever, nor is it asked for twice."""
    server = kind(shell)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests()
        hidden = dict(server.permissions)
        server.permissions.clear()
        await going.turn.wait_event(lambda turn: len(turn.withdrawn) == 1)
        server.permissions.update(hidden)  # type: ignore[arg-type]
        await going.wait()
        assert server.ran == []
        assert len(going.turn.requests) == 1
