"""Permissions over real pipes: what is asked, what is answered, and that nothing runs without a yes."""

import anyio
import msgspec
import pytest

from gatewayd.agents.acp.core import AcpCore
from gatewayd.model.errors import AgentFailed, StoreRefused, TryAgain
from gatewayd.model.lifecycle import Outcome
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.ports.agent import Final
from tests.agents.acp.rig import FAILS_AFTER, Answer, FakeTurn, Services, allow, deny, never, open_core, open_doomed, run_soon
from tests.fakes.acp_agent import ran, received


def answering(outcome: Outcome) -> Answer:
    async def answer(request: ToolRequest) -> Decision:
        return Decision(outcome, note="a note")

    return answer


def answers_of(services: Services) -> list[object]:
    """What the agent was answered, in order."""
    return [message["result"] for message in received(services.work) if "result" in message]


async def cancel_when_asked(core: AcpCore, turn: FakeTurn) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(core.run, turn)
        await turn.asked.wait()
        group.cancel_scope.cancel()


async def test_allowed(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            turn = FakeTurn(await core.new_session("key"), "tool rm -rf ./x", allow)
            assert await core.run(turn) == Final("allow_once: ran rm -rf ./x")
    (request,) = turn.requests
    assert (request.tool, msgspec.json.decode(request.input)) == ("execute", {"command": "rm -rf ./x", "title": "rm -rf ./x"})
    assert ran(services.work) == ["rm -rf ./x"]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("denied", "The operator said no, so it was not done. (a note)"),
        ("expired", "Nobody answered the request for permission in time, so it was not done. (a note)"),
        ("withdrawn", "The request for permission was withdrawn, so it was not done. (a note)"),
        ("undeliverable", "Nobody could be asked for permission, so it was not done. (a note)"),
    ],
)
async def test_each_refusal_is_its_own(services: Services, outcome: Outcome, words: str) -> None:
    """For the user, whose agent says nothing more, and for the agent."""
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            assert await core.run(FakeTurn(await core.new_session("key"), "tool ls", answering(outcome))) == Final(words)
    assert answers_of(services) == [
        {
            "outcome": {"outcome": "selected", "optionId": "reject_once-2"},
            "_meta": {"gatewayd": {"decision": outcome, "note": "a note"}},
        }
    ]
    assert ran(services.work) == []


async def test_an_agent_that_goes_on_after_a_no_has_its_own_words(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services, "--hermes") as core:
            turn = FakeTurn(await core.new_session("key"), "tool ls", deny)
            assert await core.run(turn) == Final("reject_once: did not run ls")


@pytest.mark.parametrize("kinds", ["allow_always,reject_once", "allow_always", ",", "_vendor,reject_always"])
async def test_an_agent_that_offers_no_single_yes_gets_none(services: Services, kinds: str) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            turn = FakeTurn(await core.new_session("key"), f"options {kinds} ls", allow)
            final = await core.run(turn)
    assert final.text.startswith("Nobody could be asked for permission, so it was not done.")
    assert turn.requests == []
    assert ran(services.work) == []
    assert "always" not in str(answers_of(services))


async def test_without_an_input_what_people_see_is_shown(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            turn = FakeTurn(await core.new_session("key"), "bare ls -l", allow)
            await core.run(turn)
    assert msgspec.json.decode(turn.requests[0].input) == {"title": "ls -l"}


async def test_half_a_surrogate_pair_loses_no_permission(services: Services) -> None:
    """An agent on Node or Python writes it as an escape, and msgspec refuses the whole line."""
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            turn = FakeTurn(await core.new_session("key"), "half echo cut here:", allow)
            assert await core.run(turn) == Final("allow_once: ran echo cut here: \ufffd")
    assert msgspec.json.decode(turn.requests[0].input)["command"] == "echo cut here: \ufffd"


async def test_two_permissions_at_once_are_answered_each_by_its_own(services: Services) -> None:
    """In the other order than they were asked in."""
    answers: dict[str, anyio.Event] = {"one": anyio.Event(), "two": anyio.Event()}

    async def answer(request: ToolRequest) -> Decision:
        command = msgspec.json.decode(request.input)["command"]
        if len(turn.requests) == 2:
            both.set()
        await answers[command].wait()
        return Decision("allowed" if command == "two" else "denied")

    both = anyio.Event()
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core, anyio.create_task_group() as group:
            turn = FakeTurn(await core.new_session("key"), "both one | two", answer)
            outcomes = run_soon(group, core, turn)
            await both.wait()
            answers["two"].set()
            with anyio.fail_after(10):
                while not ran(services.work):  # noqa: ASYNC110  another process writes it
                    await anyio.sleep(0.01)
            answers["one"].set()
    assert ran(services.work) == ["two"]
    assert outcomes == [Final("allow_once: ran two")]


async def test_two_sessions_whose_calls_share_an_id_run_each_its_own(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core, anyio.create_task_group() as group:
            alice = FakeTurn(await core.new_session("alice"), "call call_0 touch alice", never)
            bob = FakeTurn(await core.new_session("bob"), "call call_0 touch bob", allow)
            group.start_soon(core.run, alice)
            await alice.asked.wait()
            assert await core.run(bob) == Final("allow_once: ran touch bob")
            assert ran(services.work) == ["touch bob"]
            group.cancel_scope.cancel()
    assert ran(services.work) == ["touch bob"]
    assert [msgspec.json.decode(turn.requests[0].input)["command"] for turn in (alice, bob)] == ["touch alice", "touch bob"]


async def test_a_cancel_answers_what_is_open_first(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            session = await core.new_session("key")
            await cancel_when_asked(core, FakeTurn(session, "tool ls", never))
            assert await core.run(FakeTurn(session, "say hello", turn_id="turn-2")) == Final("hello")
    last = [message.get("method") or message["result"] for message in received(services.work)][-3:]
    assert last == [{"outcome": {"outcome": "cancelled"}}, "session/cancel", "session/prompt"]
    assert ran(services.work) == []


async def test_hermes_is_not_told_to_cancel_while_it_asks(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services, "--hermes") as core:
            session = await core.new_session("key")
            await cancel_when_asked(core, FakeTurn(session, "tool ls", never))
            assert await core.run(FakeTurn(session, "say hello", turn_id="turn-2")) == Final("hello")
    assert "session/cancel" not in [message.get("method") for message in received(services.work)]


@pytest.mark.slow
@pytest.mark.parametrize("twice", [False, True])
async def test_hermes_is_started_again_when_its_session_is_broken(services: Services, twice: bool) -> None:
    """However it came to that. The turn was not run, and runs in the next process."""
    with anyio.fail_after(FAILS_AFTER):
        async with open_doomed(services, "--hermes") as (core, ended):
            session = await core.new_session("key")
            await core.run(FakeTurn(session, "say one"))
            core._connection.notify("session/cancel", {"sessionId": session.rpartition("#")[0]})
            if twice:
                with pytest.raises(TryAgain, match="a known fault of Hermes"):
                    await core.run(FakeTurn(session, "say two", turn_id="turn-2"))
            with pytest.raises(TryAgain):
                await core.run(FakeTurn(session, "say three", turn_id="turn-3"))
            assert await core.turn_state(session, "turn-3") == "new"
        assert ended[0].action == "wait"
        async with open_core(services, "--hermes") as core:
            assert await core.run(FakeTurn(session, "history", turn_id="turn-3")) == Final("say one")


async def test_a_turn_of_hermes_that_broke_after_it_ran_something_is_not_run_again(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_doomed(services, "--hermes") as (core, ended):
            session = await core.new_session("key")

            async def allow_and_break(request: ToolRequest) -> Decision:
                core._connection.notify("session/cancel", {"sessionId": session.rpartition("#")[0]})
                return Decision("allowed")

            final = await core.run(FakeTurn(session, "tool ls", allow_and_break))
            assert final.text == "allow_once: ran ls"
            assert "has no attribute 'startswith'" in str(final.cut)
            assert await core.turn_state(session, "turn-1") == "ended"
    assert ended[0].action == "wait"
    assert ran(services.work) == ["ls"]


async def test_a_request_that_the_agent_takes_back_is_over(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core, anyio.create_task_group() as group:
            turn = FakeTurn(await core.new_session("key"), "takeback ls", never)
            outcomes = run_soon(group, core, turn)
            await turn.asked.wait()
            await anyio.Path(services.work / "poke").touch()
    assert outcomes == [Final("error -32800: did not run ls")]
    assert ran(services.work) == []


async def test_a_process_that_ends_while_it_asks_runs_nothing(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_doomed(services) as (core, ended), anyio.create_task_group() as group:
            turn = FakeTurn(await core.new_session("key"), "tool ls", never)
            outcomes = run_soon(group, core, turn)
            await turn.asked.wait()
            core._connection.lose("was lost")
    assert [type(outcome) for outcome in outcomes] == [AgentFailed]
    assert ended[0].action == "wait"
    assert ran(services.work) == []


async def test_a_desk_that_fails_fails_the_turn_and_nothing_else(services: Services) -> None:
    async def broken(request: ToolRequest) -> Decision:
        raise StoreRefused("the disk is full")

    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            session = await core.new_session("key")
            with pytest.raises((StoreRefused, ExceptionGroup)):
                await core.run(FakeTurn(session, "tool ls", broken))
            assert await core.run(FakeTurn(session, "say hello", turn_id="turn-2")) == Final("hello")
    assert ran(services.work) == []


async def test_waiting_for_people_is_not_silence(services: Services) -> None:
    async def slow(request: ToolRequest) -> Decision:
        await anyio.sleep(0.6)
        return Decision("allowed")

    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services, prompt_timeout_seconds=0.25) as core:
            turn = FakeTurn(await core.new_session("key"), "tool ls", slow)
            assert await core.run(turn) == Final("allow_once: ran ls")
