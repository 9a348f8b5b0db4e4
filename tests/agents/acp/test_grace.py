"""How a turn ends, and what comes of each way: docs/reference/streams.md and docs/decisions/0008-when-an-acp-turn-is-over.md."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.agents.acp.turn.grace import GRACE_SECONDS, GracePeriod
from gatewayd.agents.acp.turn.wording import FORGOTTEN
from gatewayd.model.errors import AgentFailed, GatewayError, NeedsOperator, TryAgain
from gatewayd.ports.agent import Final, Notice
from tests.agents.acp.rig import FakeTurn, Services, run_soon
from tests.agents.acp.script import PROMPT, ScriptedAgent, Step, ended, line, open_scripted, said, used_tool
from tests.kit.network.pieces import cut

SILENT = "the agent said nothing for 600 s, so it was stopped"


async def answer_of(services: Services, *script: Step) -> Final | GatewayError:
    async with open_scripted(ScriptedAgent(script), services) as core:
        try:
            return await core.run(FakeTurn(await core.new_session("key"), "go"))
        except (AgentFailed, NeedsOperator) as error:
            return error


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ([said("one "), ended(), 0.2, said("two "), 0.2, said("three")], "one two three"),
        ([ended(), 0.2, said("all of it")], "all of it"),
        ([ended() + said("in one piece")], "in one piece"),
        ([said("one"), ended(), 0.2, used_tool(), said("two")], "one\n\ntwo"),
    ],
)
async def test_text_shortly_behind_the_end_is_in_the_reply(
    services: Services, autojump_clock: MockClock, script: Sequence[Step], text: str
) -> None:
    assert await answer_of(services, *script) == Final(text)
    assert services.later == []


async def test_the_wait_behind_the_end_is_short_and_only_text_renews_it(services: Services, autojump_clock: MockClock) -> None:
    usage = line(method="session/update", params={"sessionId": "s1", "update": {"sessionUpdate": "usage_update"}})
    began_at = trio.current_time()
    await answer_of(services, said("one"), ended(), 0.2, usage, 0.2, usage)
    assert trio.current_time() - began_at == pytest.approx(GRACE_SECONDS, abs=0.01)


@pytest.mark.parametrize("seconds", [0.0, 0.1, 1.0, 4.0, 60.0])
async def test_an_agent_that_ends_properly_answers_at_most_a_twentieth_later(
    services: Services, autojump_clock: MockClock, seconds: float
) -> None:
    script = (said("yes"), seconds, ended(PROMPT))
    scripts = [(*script[:2], ended(number)) for number in range(PROMPT, PROMPT + 4)]
    async with open_scripted(ScriptedAgent(*scripts), services) as core:
        session = await core.new_session("key")
        for _ in range(4):
            began_at = trio.current_time()
            assert await core.run(FakeTurn(session, "go")) == Final("yes")
    late = trio.current_time() - began_at - seconds
    assert late <= min(GRACE_SECONDS, seconds / 20) + 0.005


async def test_what_is_in_the_pipe_already_is_taken_without_any_wait(services: Services, autojump_clock: MockClock) -> None:
    scripts = [(ended(number), said("tail"), said(" and more")) for number in range(PROMPT, PROMPT + 30)]
    async with open_scripted(ScriptedAgent(*scripts), services) as core:
        core._grace._turns_to_watch = 0
        session = await core.new_session("key")
        assert await core.run(FakeTurn(session, "go")) == Final("tail and more")
        assert core._grace.seconds_after(0) == GRACE_SECONDS, "it is watched now"


async def test_one_that_was_late_is_watched_for_twenty_turns(services: Services, autojump_clock: MockClock) -> None:
    early = [(said("ok"), ended(number)) for number in range(PROMPT, PROMPT + 3)]
    async with open_scripted(ScriptedAgent(*early, (said("ok"), ended(PROMPT + 3), 0.1, said("late"))), services) as core:
        session = await core.new_session("key")
        for _ in range(4):
            assert await core.run(FakeTurn(session, "go")) == Final("ok")
        await anyio.sleep(2)
        assert services.later == [(session, "late")]
        assert core._grace._turns_to_watch == 20


@given(st.floats(0, 1000), st.lists(st.booleans(), max_size=40))
def test_the_grace(seconds: float, tails: list[bool]) -> None:
    grace_period = GracePeriod()
    for had_tail in tails:
        grace_period.note_end(had_tail=had_tail)
    recent = tails[-20:]
    is_watched = len(tails) < 3 or any(recent)
    assert grace_period.seconds_after(seconds) == (GRACE_SECONDS if is_watched else min(GRACE_SECONDS, seconds * 0.05))


@given(
    st.lists(st.sampled_from([b"one ", b"\xc3\xa9\xf0\x9f\x98\x80 ", b"two\\n"]), min_size=1, max_size=4),
    st.lists(st.integers(min_value=0)),
    st.lists(st.floats(0, GRACE_SECONDS * 0.9), min_size=20, max_size=20),
    st.integers(0, 4),
)
def test_any_cutting_and_any_pauses_within_the_grace_give_the_same_answer(
    texts: list[bytes], places: list[int], pauses: list[float], end_at: int
) -> None:
    chunks = [said("@").replace(b"@", text) for text in texts]
    chunks.insert(min(end_at, len(chunks)), ended())
    whole = b"".join(texts).decode().replace("\\n", "\n").strip()
    # Two pauses around no bytes at all would be one, and longer than the grace.
    pieces = filter(None, cut(b"".join(chunks), places[:19]))
    script: list[Step] = []
    for piece, pause in zip(pieces, pauses, strict=False):
        script += [pause, piece]

    async def go() -> None:
        services = Services(Path("/nowhere"))
        assert await answer_of(services, *script) == Final(whole)
        assert services.later == []

    trio.run(go, clock=MockClock(autojump_threshold=0))


REFUSED = line(id=PROMPT, error={"code": -32603, "message": "Internal error", "data": {"details": "no model"}})
LOGIN = line(id=PROMPT, error={"code": -32000, "message": "Authentication required"})


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ((), SILENT),
        ((700.0,), SILENT),
        ((REFUSED,), "the agent failed: session/prompt: Internal error: no model"),
        ((LOGIN,), "the agent wants a login"),
        ((ended(reason=None),), "the agent sent no proper PromptResult"),
        ((line(id=PROMPT, result=None),), "the agent sent no proper PromptResult"),
        ((line(id=PROMPT, result=[]),), "the agent sent no proper PromptResult"),
        ((line(id=PROMPT),), "the agent sent no proper PromptResult"),
    ],
)
async def test_an_end_that_is_none_cuts_the_answer_and_throws_nothing_away(
    services: Services, autojump_clock: MockClock, end: Sequence[Step], why: str
) -> None:
    for script, text in (
        ((said("a long "), said("answer")), "a long answer"),
        ((said("Let me look."), used_tool(), said("It is")), "Let me look.\n\nIt is"),
    ):
        final = await answer_of(services, *script, *end)
        assert isinstance(final, Final)
        assert final.text == text
        assert str(final.cut).startswith(why)
    for nothing in ((), (said("Let me look."), used_tool())):
        error = await answer_of(services, *nothing, *end)
        assert isinstance(error, GatewayError)
        assert error.reason.startswith(why)


@pytest.mark.parametrize("stopped", ["3", 3.0])
async def test_an_answer_under_another_kind_of_number_is_the_answer(
    services: Services, autojump_clock: MockClock, stopped: object
) -> None:
    assert await answer_of(services, said("hi"), line(id=stopped, result={"stopReason": "end_turn"})) == Final("hi")


async def test_a_cut_answer_is_kept_as_cut(services: Services, autojump_clock: MockClock) -> None:
    agent = ScriptedAgent([said("half")])
    async with open_scripted(agent, services) as core:
        turn = FakeTurn(await core.new_session("key"), "go")
        final = await core.run(turn)
        assert await core.turn_state(turn.request.session_id, "turn-1") == "ended"
        assert await core.resume(turn) == final == Final("half", cut=SILENT)


async def outcomes_until_the_end(agent: ScriptedAgent, services: Services, *, sessions: int) -> list[Final | GatewayError]:
    """What turns in so many sessions come to, one after the other, and then the core has ended by itself."""
    outcomes: list[list[Final | GatewayError]] = []
    async with anyio.create_task_group() as group:
        with suppress_outage():
            async with open_scripted(agent, services) as core:
                for session in [await core.new_session(f"{number}") for number in range(sessions)]:
                    outcomes.append(run_soon(group, core, FakeTurn(session, "go")))
                    await anyio.sleep(700)
                await anyio.sleep_forever()
    return [found for [found] in outcomes]


@contextmanager
def suppress_outage() -> Iterator[None]:
    try:
        yield
    except* TryAgain:
        pass
    else:
        raise AssertionError("it has not ended")


async def test_a_process_that_ends_cuts_the_answer(services: Services, autojump_clock: MockClock) -> None:
    agent = ScriptedAgent([said("half an ans"), 1.0, None])
    assert await outcomes_until_the_end(agent, services, sessions=1) == [
        Final("half an ans", cut="the agent's process ended in the middle of the turn: the agent closed its output")
    ]


async def test_after_a_silence_other_conversations_go_on_where_they_were(services: Services, autojump_clock: MockClock) -> None:
    agent = ScriptedAgent((said("hello"), ended(4)), (said("half", "s2"),), (said("again"), ended(6)))
    async with open_scripted(agent, services) as core:
        other, session = await core.new_session("other"), await core.new_session("key")
        await core.run(FakeTurn(other, "go"))
        await core.run(FakeTurn(session, "go"))
        assert await core.run(FakeTurn(other, "go", turn_id="turn-2")) == Final("again")
    prompted = [sent["params"]["sessionId"] for sent in agent.heard if sent["method"] == "session/prompt"]
    assert prompted == ["s1", "s2", "s1"]


async def test_a_session_that_does_not_stop_is_left_for_the_sake_of_the_others(
    services: Services, autojump_clock: MockClock
) -> None:
    agent = ScriptedAgent(
        (said("half", "s2"), 900.0, said("at last", "s2")),
        (said("fine"), ended(5)),
        (said("anew", "s3"), ended(7)),
        stops=False,
    )
    async with open_scripted(agent, services) as core:
        other, session = await core.new_session("other"), await core.new_session("key")
        assert (await core.run(FakeTurn(session, "go"))).cut == SILENT
        assert await core.run(FakeTurn(other, "go")) == Final("fine")
        turn = FakeTurn(session, "go", turn_id="turn-2")
        assert await core.run(turn) == Final("anew")
        assert turn.events[0] == Notice(FORGOTTEN)
        await anyio.sleep(900)
        assert services.later == [(session, "at last")]
    prompted = [sent["params"]["sessionId"] for sent in agent.heard if sent["method"] == "session/prompt"]
    assert prompted == ["s2", "s1", "s3"]


@pytest.mark.parametrize("sessions", [1, 2])
async def test_a_process_that_never_stops_is_ended(services: Services, autojump_clock: MockClock, sessions: int) -> None:
    """At once where there is nobody else in it, and at the second time."""
    agent = ScriptedAgent(*[(said("half", f"s{number + 1}"),) for number in range(sessions)], stops=False)
    outcomes = await outcomes_until_the_end(agent, services, sessions=sessions)
    assert outcomes == [Final("half", cut=SILENT)] * sessions


async def test_what_is_said_after_a_stop_is_in_the_log_and_in_no_chat(services: Services, autojump_clock: MockClock) -> None:
    agent = ScriptedAgent([said("one")], behind_stop=[said("two"), 0.2, said(" three")])
    async with open_scripted(agent, services) as core:
        turn = FakeTurn(await core.new_session("key"), "go")
        with capture_logs() as logs:
            async with anyio.create_task_group() as group:
                run_soon(group, core, turn)
                await turn.spoken.wait()
                group.cancel_scope.cancel()
            await anyio.sleep(5)
    assert services.later == []
    assert [(log["event"], log["text"]) for log in logs if "text" in log] == [("acp_text_after_stop", "two three")]
