"""Turns, sessions and what becomes of them, over real pipes."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from gatewayd.actor.supervisor import Verdict, classify_failure
from gatewayd.agents.acp.opener import open_acp
from gatewayd.agents.acp.settings import AcpSettings
from gatewayd.agents.acp.turn.wording import FORGOTTEN
from gatewayd.model.errors import AgentFailed, NeedsOperator, StoreRefused, TryAgain
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.ports.agent import AgentConfig, Final, Notice, TextDelta, ToolCall, ToolResult
from tests.agents.acp.rig import FAILS_AFTER, FakeTurn, Services, judge_opening, open_core, open_doomed, run_soon
from tests.fakes.acp_agent import received
from tests.kit.test_process import gone


async def test_a_text_turn(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            turn = FakeTurn(await core.new_session("key"), "say hello from the agent")
            assert await core.run(turn) == Final("hello from the agent")
            assert [event for event in turn.events if not isinstance(event, TextDelta)] == []
            assert turn.streamed.strip() == "hello from the agent"
    assert len(turn.events) == 4


async def test_an_agent_that_says_nothing_gave_no_answer(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            with pytest.raises(AgentFailed, match="without a word") as failed:
                await core.run(FakeTurn(await core.new_session("key"), "nothing"))
    assert failed.value.kind == "empty"


async def test_two_messages_are_two_paragraphs(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            turn = FakeTurn(await core.new_session("key"), "messages Let me look. | Done.")
            assert await core.run(turn) == Final("Let me look.\n\nDone.")
    assert turn.streamed == "Let me look.\n\nDone."


async def test_what_comes_behind_the_end_is_of_its_own_turn(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            session = await core.new_session("key")
            assert await core.run(FakeTurn(session, "late words")) == Final("late words")
            assert await core.run(FakeTurn(session, "say on time", turn_id="turn-2")) == Final("on time")


async def test_sessions_are_apart_and_remember(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            first, second = await core.new_session("a"), await core.new_session("b")
            await core.run(FakeTurn(first, "say one"))
            await core.run(FakeTurn(second, "say two"))
            assert await core.run(FakeTurn(first, "history")) == Final("say one")
            assert core.facts().sessions == 2


async def test_many_turns_at_once(services: Services) -> None:
    finals: dict[int, str] = {}
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:

            async def one(number: int) -> None:
                session = await core.new_session(str(number))
                finals[number] = (await core.run(FakeTurn(session, f"say number {number}"))).text

            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(one, number)
    assert finals == {number: f"number {number}" for number in range(20)}


async def test_never_two_prompts_in_one_session(services: Services) -> None:
    """The lane of the hub goes on when a cancelled turn takes its time; the agent must not see that."""
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core, anyio.create_task_group() as group:
            session = await core.new_session("key")
            stopped = FakeTurn(session, "hang")
            scope = anyio.CancelScope()

            async def run_until_cancelled() -> None:
                with scope:
                    await core.run(stopped)

            group.start_soon(run_until_cancelled)
            await stopped.spoken.wait()
            scope.cancel()
            assert await core.run(FakeTurn(session, "say next", turn_id="turn-2")) == Final("next")
    methods = [message.get("method") for message in received(services.work)]
    assert methods[-3:] == ["session/prompt", "session/cancel", "session/prompt"]


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("stop end_turn Hi", "Hi"),
        ("stop max_tokens Hi", "Hi\n\nThe reply ends here: the model may not write more in one go."),
        ("stop max_turn_requests Hi", "Hi\n\nThe agent stopped here: it may not take more steps in one turn."),
        ("stop refusal ", "The model refused to go on with this."),
        ("stop cancelled Hi", "Hi\n\nThe agent stopped before it was done."),
        ("stop _vendor Hi", "Hi"),
    ],
)
async def test_stop_reasons(services: Services, command: str, text: str) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            assert await core.run(FakeTurn(await core.new_session("key"), command)) == Final(text)


async def test_a_failure_of_the_agent_has_its_words(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            session = await core.new_session("key")
            with pytest.raises(AgentFailed, match="the agent failed: session/prompt: Internal error: the model said 403"):
                await core.run(FakeTurn(session, "fail the model said 403"))
            assert await core.run(FakeTurn(session, "say again")) == Final("again")


@pytest.mark.parametrize("option", ["", "--auth"])
async def test_a_login_that_is_wanted_is_for_the_operator(services: Services, option: str) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services, *filter(None, [option])) as core:
            with pytest.raises(NeedsOperator, match=r"wants a login \(Log in: Run `fake login` in a terminal\)"):
                await core.run(FakeTurn(await core.new_session("key"), "auth"))


MID_TURN = "the agent's process ended in the middle of the turn"


async def test_a_process_that_ends_in_mid_turn_cuts_the_turn_and_fails_the_core(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_doomed(services) as (core, ended):
            turn = FakeTurn(await core.new_session("key"), "die 3")
            final = await core.run(turn)
            assert (final.text, final.cut) == ("Dying.", f"{MID_TURN}: the agent closed its output")
        assert [verdict.action for verdict in ended] == ["wait"]
        assert "ended with exit code 3; its last output: " in ended[0].reason
        assert "a fatal problem" in ended[0].reason
        assert turn.streamed == "Dying. "
        async with open_core(services) as core:
            assert await core.turn_state(turn.request.session_id, "turn-1") == "ended"
            assert await core.resume(turn) == final


async def test_a_killed_process_is_told_from_one_that_ends(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_doomed(services) as (core, ended), anyio.create_task_group() as group:
            turn = FakeTurn(await core.new_session("key"), "hang")
            outcomes = run_soon(group, core, turn)
            await turn.spoken.wait()
            pid = core.facts().pid
            assert pid
            os.kill(pid, signal.SIGKILL)
        assert "was ended by SIGKILL" in ended[0].reason
        [outcome] = outcomes
        assert isinstance(outcome, Final)
        assert outcome.cut is not None


async def test_a_turn_is_new_then_ended_and_its_text_is_kept(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            session = await core.new_session("key")
            assert await core.turn_state(session, "turn-1") == "new"
            turn = FakeTurn(session, "say kept words")
            await core.run(turn)
        async with open_core(services) as core:
            assert await core.turn_state(session, "turn-1") == "ended"
            assert await core.turn_state(session, "turn-2") == "new"
            assert await core.resume(turn) == Final("kept words")
            with pytest.raises(AgentFailed, match="cannot be resumed"):
                await core.resume(FakeTurn(session, "say kept words", turn_id="turn-2"))
    assert [message.get("method") for message in received(services.work)].count("session/prompt") == 1


async def test_a_full_disk_stops_a_turn_before_it_runs_and_not_after(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            session = await core.new_session("key")
            services.state.refuses = True
            with pytest.raises(StoreRefused):
                await core.run(FakeTurn(session, "say hello"))
            assert [message.get("method") for message in received(services.work)][-1] == "session/new"
            services.state.refuses = False

            class Filling(FakeTurn):
                async def emit(self, event: object) -> None:
                    services.state.refuses = True

            assert await core.run(Filling(session, "say hello")) == Final("hello")


async def test_a_session_goes_on_in_a_new_process_and_its_history_is_not_told_again(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            session = await core.new_session("key")
            await core.run(FakeTurn(session, "say one"))
        async with open_core(services) as core:
            turn = FakeTurn(session, "history", turn_id="turn-2")
            assert await core.run(turn) == Final("say one")
            assert "OLD ANSWER" not in turn.streamed
            assert not [event for event in turn.events if isinstance(event, Notice)]
            await core.run(FakeTurn(session, "say more", turn_id="turn-3"))
    assert [message.get("method") for message in received(services.work)].count("session/load") == 1


@pytest.mark.slow
@pytest.mark.parametrize("option", ["", "--trusting", "--no-load"])
async def test_a_session_that_the_agent_has_lost_goes_on_and_the_user_is_told(services: Services, option: str) -> None:
    """Refused, accepted though it is unknown, or the agent cannot load at all."""
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            session = await core.new_session("key")
            await core.run(FakeTurn(session, "say one"))
        await anyio.Path(services.work / "sessions.json").unlink()
        async with open_core(services, *filter(None, [option])) as core:
            turn = FakeTurn(session, "history", turn_id="turn-2")
            assert await core.run(turn) == Final("I remember nothing.")
            assert turn.events[0] == Notice(FORGOTTEN)
        async with open_core(services) as core:
            again = FakeTurn(session, "history", turn_id="turn-3")
            assert await core.run(again) == Final("history")
            assert not [event for event in again.events if isinstance(event, Notice)]


async def test_a_session_nobody_has_talked_in_was_not_forgotten(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            session = await core.new_session("key")
        async with open_core(services, "--no-load") as core:
            turn = FakeTurn(session, "say hello")
            assert await core.run(turn) == Final("hello")
            assert not [event for event in turn.events if isinstance(event, Notice)]


async def test_an_agent_that_counts_its_sessions_anew_mixes_up_nobody(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services, "--counts", "--no-load") as core:
            alice = await core.new_session("alice")
            await core.run(FakeTurn(alice, "say the secret of alice"))
        async with open_core(services, "--counts", "--trusting") as core:
            bob = await core.new_session("bob")
            assert bob != alice
            await core.run(FakeTurn(bob, "say the secret of bob"))
            assert await core.run(FakeTurn(alice, "history", turn_id="turn-2")) == Final("I remember nothing.")


async def test_a_session_of_another_core_is_begun_anew(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            assert await core.run(FakeTurn("0123456789abcdef", "say hello")) == Final("hello")


async def test_the_facts(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            session = await core.new_session("key")
            await core.run(FakeTurn(session, "flood"))
            facts = core.facts()
            assert (facts.version, facts.sessions) == ("fake 1.2.3", 1)
            assert facts.pid
            assert Path(f"/proc/{facts.pid}").exists()
            assert facts.output[-1].startswith("log line 19999")
            assert len(facts.output) == 100


async def test_stdout_that_is_no_protocol_is_noted_and_survived(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            assert await core.run(FakeTurn(await core.new_session("key"), "noise")) == Final("noisy")
            output = core.facts().output
    assert "stdout: npm warn something" in output
    assert "stdout: {not json" in output
    assert "stdout: an answer to request 999, which was never sent" in output


async def test_a_line_without_end_ends_the_process(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_doomed(services) as (core, ended):
            with pytest.raises(AgentFailed, match="sent a line of more than 8 MiB"):
                await core.run(FakeTurn(await core.new_session("key"), "huge 9000000"))
    assert ended[0].action == "wait"
    assert "sent a line of more than 8 MiB" in ended[0].reason


async def test_a_reply_without_end_is_stopped(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            session = await core.new_session("key")
            with pytest.raises(AgentFailed, match="the reply is longer than 1000000 characters"):
                await core.run(FakeTurn(session, "huge 1000001"))
            assert await core.run(FakeTurn(session, "say hello")) == Final("hello")


async def test_an_agent_that_begins_its_answer_again_and_again_is_stopped(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            session = await core.new_session("key")
            with pytest.raises(AgentFailed, match="wrote 20 messages without using a tool"):
                await core.run(FakeTurn(session, "messages " + " | ".join(["cut off"] * 21)))
            assert await core.run(FakeTurn(session, "say hello")) == Final("hello")


async def test_a_request_that_is_not_served_is_refused(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            assert await core.run(FakeTurn(await core.new_session("key"), "serve fs/read_text_file")) == Final("-32601")


async def test_a_silent_agent_is_stopped(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services, prompt_timeout_seconds=0.3) as core:
            session = await core.new_session("key")
            final = await core.run(FakeTurn(session, "hang"))
            assert final == Final("Waiting.", cut="the agent said nothing for 0.3 s, so it was stopped")
            assert await core.run(FakeTurn(session, "say hello")) == Final("hello")


async def test_one_that_does_not_stop_is_started_again(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_doomed(services, cancel_timeout_seconds=0.2) as (core, ended):
            session = await core.new_session("key")
            turn = FakeTurn(session, "deaf")
            async with anyio.create_task_group() as group:
                group.start_soon(core.run, turn)
                await turn.spoken.wait()
                group.cancel_scope.cancel()
            with pytest.raises(TryAgain, match=r"did not stop within 0\.2 s"):
                await core.run(FakeTurn(session, "say hello"))
    assert ended[0].action == "wait"


async def test_an_agent_that_never_answers_is_an_outage(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        verdict = await judge_opening(services, "--mute", "initialize", start_timeout_seconds=0.3)
    assert verdict.action == "wait"
    assert "the agent gave no answer to initialize within 0.3 s" in verdict.reason


async def test_an_agent_that_makes_no_session_is_started_again(services: Services) -> None:
    ended: list[Verdict] = []
    with anyio.fail_after(FAILS_AFTER):
        for patience in (0.5, 2.0, 8.0):  # a loaded machine takes its time to start anything
            with suppress(ExceptionGroup):
                async with open_doomed(services, "--mute", "session/new", start_timeout_seconds=patience) as (core, ended):
                    with pytest.raises(TryAgain, match="gave no answer to session/new"):
                        await core.new_session("key")
            if ended:
                break
    assert ended[0].action == "wait"


async def test_an_agent_that_cannot_start_is_an_outage_with_its_last_output(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        verdict = await judge_opening(services, "--exit", "7")
    assert verdict.action == "wait"
    assert "it cannot start: 7" in verdict.reason


@pytest.mark.parametrize("version", ['"1"', "2", "0", "null", "1.5"])
async def test_another_version_of_the_protocol_needs_the_operator(services: Services, version: str) -> None:
    with anyio.fail_after(FAILS_AFTER):
        verdict = await judge_opening(services, "--version", version)
    assert verdict.action == "park"
    assert "of ACP, gatewayd speaks version 1" in verdict.reason


async def test_the_environment_is_the_settings_and_not_ours(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "secret")
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services, environment={"COLOUR": "blue"}) as core:
            session = await core.new_session("key")
            assert await core.run(FakeTurn(session, "env COLOUR")) == Final("blue")
            assert await core.run(FakeTurn(session, "env MY_TOKEN")) == Final("unset")


async def test_what_the_agent_has_started_ends_with_it(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            turn = FakeTurn(await core.new_session("key"), "child")
            pid = int((await core.run(turn)).text)
            assert Path(f"/proc/{pid}").exists()
        assert await gone(pid)


async def test_leaving_ends_the_turns_that_still_run(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with anyio.create_task_group() as group, open_core(services) as core:
            turn = FakeTurn(await core.new_session("key"), "hang")
            outcomes = run_soon(group, core, turn)
            await turn.spoken.wait()
    assert outcomes == [Final("Waiting.", cut=f"{MID_TURN}: the agent was closed by gatewayd")]


async def test_events_of_tools(services: Services) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_core(services) as core:
            turn = FakeTurn(await core.new_session("key"), "call c1 ls -l")
            await core.run(turn)
    shown = [event for event in turn.events if not isinstance(event, TextDelta)]
    assert shown == [ToolCall("c1", "execute", "{}"), ToolResult("c1", "output of ls -l")]


@pytest.mark.slow
@pytest.mark.parametrize("program", ["cat", "echo hello", "yes"])
async def test_a_command_that_is_no_agent(services: Services, program: str) -> None:
    settings = AcpSettings(command=tuple(program.split()), start_timeout_seconds=1)
    verdict = None
    with anyio.fail_after(FAILS_AFTER):
        try:
            async with open_acp(AgentConfig("mine", settings), services):
                raise AssertionError("it is open")
        except ExceptionGroup as error:
            verdict = classify_failure(error)
    assert verdict
    assert verdict.action == ("park" if program == "cat" else "wait")


async def test_a_process_that_is_killed_while_a_permission_waits_ends_the_turn_and_the_core_at_once(services: Services) -> None:
    async def nobody_answers(request: ToolRequest) -> Decision:
        await anyio.sleep_forever()
        raise AssertionError

    with anyio.fail_after(FAILS_AFTER):
        # The turn is run outside of what the core's end cuts, as the hub does.
        async with anyio.create_task_group() as group, open_doomed(services) as (core, ended):
            turn = FakeTurn(await core.new_session("key"), "tool rm -rf ./x", nobody_answers)
            outcomes = run_soon(group, core, turn)
            await turn.asked.wait()
            pid = core.facts().pid
            assert pid
            os.kill(pid, signal.SIGKILL)
        assert [verdict.action for verdict in ended] == ["wait"]
        assert "was ended by SIGKILL" in ended[0].reason
        assert len(outcomes) == 1
