"""Turns that end badly, and turns after a restart."""

from pathlib import Path

import pytest
import trio

from gatewayd.actor.border import leaves
from gatewayd.model.errors import AgentFailed, GatewayError, NeedsOperator, TryAgain
from gatewayd.ports.agent import Final, StopsTurns
from gatewayd.testing.agent_contract.core import CoreContract, Outcome, RunningTurn
from gatewayd.testing.agent_contract.harness import Act, AgentFailure, AgentHarness, HubTurn, Services
from gatewayd.testing.manifest import PATIENCE


class EndingsContract(CoreContract):
    async def test_an_error_of_the_agent_ends_the_turn_for_good(self, tmp_path: Path) -> None:
        """A request that the model refuses is refused each time: AgentFailed, with a reason for the operator."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                outcome = await core.run(HubTurn(await core.core.new_session("key"), self.text_for(harness, "fail")))
        assert isinstance(outcome, AgentFailed), outcome
        assert outcome.reason

    async def test_a_death_in_the_middle_is_told(self, tmp_path: Path) -> None:
        """Half a reply must not pass for a whole one: an error, or a reply that says why it may be cut. And it ends."""
        with trio.fail_after(2 * PATIENCE):
            async with self.ready(tmp_path) as (harness, services):
                outcome = await self._run_doomed(harness, services, "die")
        assert isinstance(outcome, GatewayError) or outcome.cut

    async def test_a_turn_that_used_a_tool_is_not_tried_again(self, tmp_path: Path) -> None:
        """TryAgain means that nothing was run, and the hub runs the turn again: the tool would be used twice."""
        with trio.fail_after(2 * PATIENCE):
            async with self.ready(tmp_path) as (harness, services):
                outcome = await self._run_doomed(harness, services, "tool, then die")
                assert list(harness.tools_used()) == ["lookup"]
        assert not isinstance(outcome, TryAgain), outcome

    async def test_a_core_that_died_can_be_opened_again(self, tmp_path: Path) -> None:
        """The hub opens it again, and the chat goes on in the same session or in a new one."""
        with trio.fail_after(2 * PATIENCE):
            async with self.ready(tmp_path) as (harness, services):
                await self._run_doomed(harness, services, "die")
                async with self.opened(harness, services) as core:
                    text = self.text_for(harness, "say", "here again")
                    assert await core.say(await core.core.new_session("key"), text, turn_id="turn-2") == "here again"

    @pytest.mark.parametrize(("failure", "kind"), [("outage", TryAgain), ("credentials", NeedsOperator)])
    async def test_a_failure_is_named_by_what_to_do(
        self, tmp_path: Path, failure: AgentFailure, kind: type[GatewayError]
    ) -> None:
        """An outage is waited out and costs the user nothing; wrong credentials park the agent until an operator acts."""
        with trio.fail_after(2 * PATIENCE):
            async with self.ready(tmp_path) as (harness, services):
                if failure not in harness.failures:
                    pytest.skip(f"nothing makes {self.plugin.id} have the failure {failure!r}")
                await harness.failures[failure]()
                error = await self._first_error(harness, services)
        assert isinstance(error, kind)
        assert error.reason

    async def test_a_turn_that_was_never_begun_does_not_run(self, tmp_path: Path) -> None:
        """After a restart the hub asks for every turn. One that the core never got must not count as running or ended."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                session = await core.core.new_session("key")
                assert await core.core.turn_state(session, "turn-1") in ("new", "lost")

    async def test_a_turn_that_has_ended_is_not_new_after_a_restart(self, tmp_path: Path) -> None:
        """A turn that is called new is run again. One that has ended may be resumed, and gives the same reply."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services):
                text = self.text_for(harness, "say", "the reply")
                async with self.opened(harness, services) as core:
                    session = await core.core.new_session("key")
                    await core.say(session, text)
                async with self.opened(harness, services) as core:
                    state = await core.core.turn_state(session, "turn-1")
                    assert state in (("new", "ended", "lost") if self.repeatable else ("ended", "lost"))
                    if state == "ended":
                        outcome = await core.resume(HubTurn(session, text)).wait()
                        assert isinstance(outcome, Final)
                        assert outcome.text.strip() == "the reply"

    async def test_a_turn_of_which_the_daemon_lets_go_is_taken_up_or_lost(self, tmp_path: Path) -> None:
        """``goes_on`` lets the agent work on while gatewayd restarts. A turn that does is resumed; one that does not is lost,
        and never called running: the hub would wait for it."""
        with trio.fail_after(3 * PATIENCE):
            async with self.ready(tmp_path) as (harness, services):
                session = await self._leave_hanging(harness, services)
                async with self.opened(harness, services) as core:
                    state = await core.core.turn_state(session, "turn-1")
                    if state == "running":
                        running = core.resume(HubTurn(session, self.text_for(harness, "hang", "it took a while")))
                        await harness.release()
                        outcome = await running.wait()
                        assert isinstance(outcome, Final), outcome
                        assert "it took a while" in outcome.text
                    else:
                        assert state == "lost" or (self.repeatable and state == "new")
                        await harness.wait_stopped()

    async def test_a_turn_that_nobody_resumes_can_be_stopped(self, tmp_path: Path) -> None:
        """``/stop`` may come while the daemon is down. Of a turn that was never begun, nothing is left to stop."""
        with trio.fail_after(3 * PATIENCE):
            async with self.ready(tmp_path) as (harness, services):
                session = await self._leave_hanging(harness, services)
                async with self.opened(harness, services) as core:
                    if not isinstance(core.core, StopsTurns):
                        pytest.skip(f"the turns of {self.plugin.id} end with it")
                    await core.core.stop_turn(session, "never begun")
                    await core.core.stop_turn(session, "turn-1")
                    await harness.wait_stopped()
                    await core.core.stop_turn(session, "turn-1")

    async def _leave_hanging(self, harness: AgentHarness, services: Services) -> str:
        """Let go of a turn as a daemon does that leaves. Returns its session."""
        async with self.opened(harness, services) as core:
            session = await core.core.new_session("key")
            running = core.start(HubTurn(session, self.text_for(harness, "hang", "it took a while"), goes_on=True))
            await harness.wait_hanging()
            await running.stop()
        return session

    async def _first_error(self, harness: AgentHarness, services: Services) -> object:
        """What goes wrong first: opening the core, making a session, or running a turn."""
        try:
            async with self.opened(harness, services) as core:
                session = await core.core.new_session("key")
                return await core.run(HubTurn(session, self.text_for(harness, "say", "hello")))
        except (GatewayError, BaseExceptionGroup) as error:
            return leaves(error)[0]

    async def _run_doomed(self, harness: AgentHarness, services: Services, act: Act) -> Outcome:
        """A turn in which the agent dies, and perhaps the core with it."""
        running: RunningTurn | None = None
        text = self.text_for(harness, act, "lookup")
        async with self.opened(harness, services, may_end=True) as core:
            running = core.start(HubTurn(await core.core.new_session("key"), text))
            await running.wait()
        assert running is not None, "the core ended before its first turn"
        return await running.wait()
