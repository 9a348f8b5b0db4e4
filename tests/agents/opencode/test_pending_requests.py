"""Requests on their way to people, and answers on their way back."""

import pytest
import trio
from msgspec import Struct
from trio.testing import MockClock

from gatewayd.model.records.approval import Decision
from gatewayd.ports.agent import Final
from tests.agents.opencode.going import Going, go
from tests.agents.opencode.house import ALLOWED, Fake, FakeTurn, open_core
from tests.fakes.opencode_server import FakeOpenAgentic, FakeOpenCode, Fault, ModelRun

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


@pytest.mark.slow
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


async def test_a_request_that_openagentic_gives_up_is_withdrawn(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    server = FakeOpenAgentic(shell)
    async with server.serve(), open_core(server, poll_seconds=20) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        [request] = await going.turn.wait_requests()
        assert await going.wait() == Final("done: tool use not approved")
        assert going.turn.withdrawn == [request.ref]
        assert server.ran == []


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


@pytest.mark.parametrize(
    ("times", "shown"), [(1, ('{"command":"do go"}', True)), (2, ('{"command":"do go","patterns":["do go"]}', False))]
)
async def test_a_request_whose_call_cannot_be_found_shows_what_it_says_itself(
    autojump_clock: MockClock, nursery: trio.Nursery, times: int, shown: tuple[str, bool]
) -> None:
    """It is looked for twice: it may be stored a moment later."""
    server = FakeOpenCode(shell)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        server.http.faults = [Fault("GET", f"/message/msg_{number:012x}Ab", 404) for number in range(100) for _ in range(times)]
        [request] = await going.turn.wait_requests()
        assert (request.input, request.whole) == shown
        going.turn.decide(0, ALLOWED)
        assert await going.wait() == Final("done: ran")


@BOTH
async def test_requests_that_make_no_sense_are_left_alone(
    autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]
) -> None:
    server = kind(shell)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests()
        server.list_nonsense()
        await trio.sleep(20)
        going.turn.decide(0, ALLOWED)
        assert await going.wait() == Final("done: ran")
        assert len(going.turn.requests) == 1


@pytest.mark.parametrize("what", ["patterns", "metadata", "input", "gone"])
async def test_a_yes_is_not_for_what_changed_after_it_was_shown(
    autojump_clock: MockClock, nursery: trio.Nursery, what: str
) -> None:
    server = FakeOpenCode(shell)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests()
        [asked] = server.permissions.values()
        if what == "gone":
            server.http.rewrite = lambda body: b"[]" if body.startswith(b'[{"id":"per_') else body
        elif what == "input":
            [part] = [part for part in server.messages[going.turn.request.session_id][-1]["parts"] if part["type"] == "tool"]
            part["state"]["input"] = {"command": "do go", "workdir": "/"}
        else:
            asked.entry[what] = {"patterns": ["rm *"], "metadata": {"command": "rm"}}[what]
        going.turn.decide(0, ALLOWED)
        if what == "gone":
            await trio.sleep(30)
            assert server.replies == []
            going.stop()
            await going.done.wait()
            return
        assert "changed after it was shown" in (await going.wait()).text
        assert [reply["reply"] for reply in server.replies] == ["reject"]
        assert server.ran == []


async def test_two_calls_of_which_only_the_patterns_are_known_are_two(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def script(run: ModelRun) -> None:
        await run.tools(("mcp_mail", {"to": "a"}), ("mcp_mail", {"to": "b"}))
        await run.say("done")

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        server.http.faults = [Fault("GET", f"/message/msg_{number:012x}Ab", 404, times=1000) for number in range(100)]
        first, second = await going.turn.wait_requests(2)
        assert first.input != second.input
        for request in (first, second):
            assert '"known":"only the patterns","patterns":["*"]' in request.input
        for number in range(2):
            going.turn.decide(number, ALLOWED)
        await going.wait()
        assert server.ran == ["mcp_mail", "mcp_mail"]


@pytest.mark.slow
@BOTH
async def test_a_server_that_dies_while_a_request_waits_is_told_within_seconds_and_the_request_is_kept_for_a_while(
    autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]
) -> None:
    server = kind(shell)
    async with server.serve(), open_core(server, unreachable_seconds=60.0) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests()
        assert core.facts().away_since is None
        await server.http.stop()
        await trio.sleep(10)
        facts = core.facts()
        assert facts.away_since is not None
        assert facts.away_reason
        await trio.sleep(40)
        assert going.turn.withdrawn == []
        await trio.sleep(40)
        assert len(going.turn.withdrawn) == 1
        assert not going.done.is_set()
        await server.http.start()
        await trio.sleep(30)
        assert core.facts().away_since is None
        assert server.ran == [], "nobody sees the request any more, so its answer is a no"
        assert len(going.turn.requests) == 1


@BOTH
async def test_a_server_that_is_back_in_time_hears_the_answer(
    autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]
) -> None:
    server = kind(shell)
    async with server.serve(), open_core(server, unreachable_seconds=60.0) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests()
        await server.http.stop()
        await trio.sleep(40)
        await server.http.start()
        await trio.sleep(30)
        going.turn.decide(0, ALLOWED)
        assert await going.wait() == Final("done: ran")
        assert going.turn.withdrawn == []
