"""Permissions and questions: what an agent may do only when a person has said so."""

from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from gatewayd.model.lifecycle import Outcome
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.ports.agent import Final
from gatewayd.testing.agent_contract.core import CoreContract, replies
from gatewayd.testing.agent_contract.harness import COLOURS, HubTurn, nobody
from gatewayd.testing.manifest import PATIENCE


class PeopleContract(CoreContract):
    async def test_a_tool_is_used_after_the_permission_and_once(self, tmp_path: Path) -> None:
        """``permission`` is the only way to the operator. What runs before the answer needs no answer."""
        used_before: list[str] = []
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:

                async def operator(request: ToolRequest) -> Decision:
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    used_before.extend(harness.tools_used())
                    return Decision("allowed", by="operator:test")

                session = await core.core.new_session("key")
                turn = HubTurn(session, self.text_for(harness, "tool", "lookup"), operator=operator)
                replies([await core.run(turn)])
                assert list(harness.tools_used()) == ["lookup"]
        assert used_before == []
        assert len(turn.requests) == 1

    async def test_the_operator_sees_what_will_be_done(self, tmp_path: Path) -> None:
        """A permission is bound to what was shown: the tool by name, and its input, which is JSON."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                turn = HubTurn(await core.core.new_session("key"), self.text_for(harness, "tool", "lookup"))
                replies([await core.run(turn)])
        [request] = turn.requests
        assert request.tool
        msgspec.json.decode(request.input)
        assert "lookup" in request.input

    @pytest.mark.parametrize("outcome", ["denied", "expired", "undeliverable"])
    async def test_without_permission_the_tool_is_not_used(self, tmp_path: Path, outcome: Outcome) -> None:
        """A no, no answer in time and nobody to ask are all no permission. The turn goes on and ends with a reply."""

        async def operator(request: ToolRequest) -> Decision:
            await trio.lowlevel.checkpoint()
            return Decision(outcome)

        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                session = await core.core.new_session("key")
                turn = HubTurn(session, self.text_for(harness, "tool", "lookup"), operator=operator)
                assert isinstance(await core.run(turn), Final)
                assert list(harness.tools_used()) == []

    async def test_each_of_two_requests_gets_its_own_answer(self, tmp_path: Path) -> None:
        """The operator sees both and answers each: a yes to one is no yes to the other."""

        async def operator(request: ToolRequest) -> Decision:
            await turn.wait_requests(2)
            return Decision("allowed" if "second" in request.input else "denied")

        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                session = await core.core.new_session("key")
                turn = HubTurn(session, self.text_for(harness, "two tools", "first | second"), operator=operator)
                replies([await core.run(turn)])
                assert list(harness.tools_used()) == ["second"]

    async def test_a_turn_that_waits_for_the_operator_can_be_stopped(self, tmp_path: Path) -> None:
        """Nobody may answer for hours. ``/stop`` ends the turn all the same, and the tool is not used."""
        with trio.fail_after(2 * PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                session = await core.core.new_session("key")
                turn = HubTurn(session, self.text_for(harness, "tool", "lookup"), operator=nobody)
                running = core.start(turn)
                await turn.wait_requests()
                await running.stop()
                text = self.text_for(harness, "say", "here again")
                assert await core.say(session, text, turn_id="turn-2") == "here again"
                assert list(harness.tools_used()) == []

    async def test_the_answer_of_the_user_reaches_the_agent(self, tmp_path: Path) -> None:
        """The question is shown with its options; the user's words come back as they are."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                session = await core.core.new_session("key")
                turn = HubTurn(session, self.text_for(harness, "ask", "Which colour?"), answer=("blue",))
                [reply] = replies([await core.run(turn)])
        [question] = turn.questions
        assert question.text == "Which colour?"
        assert tuple(option.label for option in question.options) == COLOURS
        assert "blue" in reply

    async def test_a_question_without_an_answer_ends_too(self, tmp_path: Path) -> None:
        """None means that the user dismissed the question or did not answer in time. The agent is told so, and its turn ends."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                turn = HubTurn(await core.core.new_session("key"), self.text_for(harness, "ask", "Which colour?"))
                assert isinstance(await core.run(turn), Final)
        assert len(turn.questions) == 1
