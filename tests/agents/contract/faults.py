"""Faults of a core: each changes the reference core in one place, and names the test of the contract that has to find it."""

from collections.abc import Callable, Sequence

import trio
import trio.testing
from msgspec import Struct

from gatewayd.model.errors import AgentFailed, TryAgain
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.model.records.question import Question
from gatewayd.ports.agent import CoreFacts, CoreTurnState, Final, TextDelta, ToolResult, Turn
from tests.agents.contract.reference import Core, Job


class Fault(Struct, frozen=True):
    core: type[Core]
    test: str


FAULTS: list[Fault] = []


def found_by(test: str) -> Callable[[type[Core]], type[Core]]:
    def note(core: type[Core]) -> type[Core]:
        FAULTS.append(Fault(core, test))
        return core

    return note


@found_by("test_a_tool_is_used_after_the_permission_and_once")
class UsesTheToolWhileItAsks(Core):
    async def _use_tool(self, tool: str, turn: Turn) -> str:
        self._agent.used.append(tool)
        await turn.permission(ToolRequest("shell", f'"{tool}"'))
        return tool


@found_by("test_without_permission_the_tool_is_not_used")
class TakesSilenceForAYes(Core):
    async def _use_tool(self, tool: str, turn: Turn) -> str:
        decision = await turn.permission(ToolRequest("shell", f'"{tool}"'))
        if decision.outcome != "denied":
            self._agent.used.append(tool)
        return tool


@found_by("test_the_operator_sees_what_will_be_done")
class ShowsNoInput(Core):
    async def _use_tool(self, tool: str, turn: Turn) -> str:
        await turn.permission(ToolRequest("shell", "{}"))
        return tool


@found_by("test_each_of_two_requests_gets_its_own_answer")
class TakesOneAnswerForAll(Core):
    decision: Decision | None = None

    async def _use_tool(self, tool: str, turn: Turn) -> str:
        decision = await turn.permission(ToolRequest("shell", f'"{tool}"'))
        self.decision = self.decision or decision
        if self.decision.allowed:
            self._agent.used.append(tool)
        return tool


@found_by("test_a_turn_that_waits_for_the_operator_can_be_stopped")
class UsesTheToolWhenItIsStopped(Core):
    async def _use_tool(self, tool: str, turn: Turn) -> str:
        try:
            return await super()._use_tool(tool, turn)
        finally:
            if not self._agent.used:
                self._agent.used.append(tool)


@found_by("test_each_session_is_a_new_one")
class HasASessionForEachKey(Core):
    async def new_session(self, session_key: str) -> str:
        await trio.lowlevel.checkpoint()
        self._agent.heard.setdefault(session_key, [])
        return session_key


@found_by("test_a_session_remembers_and_another_does_not")
class HasOneMemory(Core):
    async def _act(self, act: str, argument: str, before: Sequence[str], turn: Turn) -> str:
        everything = [text for texts in self._agent.heard.values() for text in texts]
        return await super()._act(act, argument, everything, turn)


@found_by("test_turns_of_several_sessions_run_at_once")
class RunsOneTurnAtATime(Core):
    lock = trio.Lock()

    async def run(self, turn: Turn) -> Final:
        async with self.lock:
            return await super().run(turn)


@found_by("test_stopping_a_turn_stops_the_agent")
class LeavesTheAgentWorking(Core):
    async def _wait_for(self, job: Job, turn: Turn) -> Final:
        await job.changed.wait()
        raise AssertionError


@found_by("test_stopping_a_turn_stops_the_agent")
class CannotBeStopped(Core):
    async def _wait_for(self, job: Job, turn: Turn) -> Final:
        with trio.CancelScope(shield=True):
            await trio.sleep(30)
        return Final("")


@found_by("test_stopping_a_turn_stops_the_agent")
class ShowsTextOfAStoppedTurn(Core):
    async def _wait_for(self, job: Job, turn: Turn) -> Final:
        self._tasks.start_soon(self._show_later, job, turn)
        return await super()._wait_for(job, turn)

    async def _show_later(self, job: Job, turn: Turn) -> None:
        await job.stopped.wait()
        await trio.testing.wait_all_tasks_blocked()
        await turn.emit(TextDelta("too late"))


@found_by("test_a_death_in_the_middle_is_told")
class TakesHalfAReplyForAWholeOne(Core):
    def _cut_off(self, text: str) -> str:
        return text


@found_by("test_a_turn_that_used_a_tool_is_not_tried_again")
class CallsEveryDeathAnOutage(Core):
    def _death(self, *, used: bool) -> Exception:
        return TryAgain("the agent died")


@found_by("test_a_core_that_died_can_be_opened_again")
class StaysDead(Core):
    def _death(self, *, used: bool) -> Exception:
        self._agent.error = AgentFailed("the agent died")
        return self._agent.error


@found_by("test_an_error_of_the_agent_ends_the_turn_for_good")
class TriesARefusalAgain(Core):
    async def run(self, turn: Turn) -> Final:
        try:
            return await super().run(turn)
        except AgentFailed as error:
            raise TryAgain(error.reason) from error


@found_by("test_a_failure_is_named_by_what_to_do")
class CallsEveryFailureTheTurns(Core):
    async def run(self, turn: Turn) -> Final:
        if self._agent.error is not None:
            raise AgentFailed(str(self._agent.error))
        return await super().run(turn)


@found_by("test_a_turn_that_has_ended_is_not_new_after_a_restart")
class KnowsNoTurn(Core):
    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        await trio.lowlevel.checkpoint()
        return "new"


@found_by("test_a_turn_that_was_never_begun_does_not_run")
class CallsTheUnknownRunning(Core):
    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        known = (session_id, turn_id) in self._agent.jobs
        return await super().turn_state(session_id, turn_id) if known else "running"


@found_by("test_a_turn_of_which_the_daemon_lets_go_is_taken_up_or_lost")
class ForgetsTheReplyOfATurnItResumes(Core):
    async def resume(self, turn: Turn) -> Final:
        return Final((await super().resume(turn)).text[:0])


@found_by("test_a_turn_that_nobody_resumes_can_be_stopped")
class StopsNothing(Core):
    async def stop_turn(self, session_id: str, turn_id: str) -> None:
        await trio.lowlevel.checkpoint()


@found_by("test_a_late_text_is_handed_over")
class LosesWhatIsSaidLate(Core):
    async def _act(self, act: str, argument: str, before: Sequence[str], turn: Turn) -> str:
        return "one moment" if act == "late" else await super()._act(act, argument, before, turn)


@found_by("test_the_reply_is_what_the_agent_said")
class KeepsOnlyAscii(Core):
    async def run(self, turn: Turn) -> Final:
        return Final((await super().run(turn)).text.encode("ascii", "ignore").decode())


@found_by("test_what_is_shown_while_it_grows_is_the_reply")
class ShowsEachWordTwice(Core):
    async def _show(self, text: str, turn: Turn) -> None:
        await super()._show(text, turn)
        await super()._show(text, turn)


@found_by("test_a_session_takes_one_turn_after_the_other")
class RepliesWithItsFirstReply(Core):
    first: str | None = None

    async def run(self, turn: Turn) -> Final:
        self.first = self.first or (await super().run(turn)).text
        return Final(self.first)


@found_by("test_steps_are_pairs")
class ShowsAResultWithoutItsCall(Core):
    async def _use_tool(self, tool: str, turn: Turn) -> str:
        await turn.emit(ToolResult(tool, "done"))
        return tool


@found_by("test_the_answer_of_the_user_reaches_the_agent")
class OffersNoOptions(Core):
    async def _act(self, act: str, argument: str, before: Sequence[str], turn: Turn) -> str:
        if act == "ask":
            return ", ".join(await turn.question(Question(argument)) or ())
        return await super()._act(act, argument, before, turn)


@found_by("test_a_question_without_an_answer_ends_too")
class WaitsForAnAnswerForEver(Core):
    async def _act(self, act: str, argument: str, before: Sequence[str], turn: Turn) -> str:
        if act == "ask" and await turn.question(Question(argument)) is None:
            await trio.sleep_forever()
        return await super()._act(act, argument, before, turn)


@found_by("test_facts_are_there_at_any_time")
class HasFactsThatAreNoJson(Core):
    def facts(self) -> CoreFacts:
        return CoreFacts(version=object())  # type: ignore[arg-type]


@found_by("test_opening_and_closing_leaves_nothing_behind")
class LeavesATask(Core):
    async def new_session(self, session_key: str) -> str:
        trio.lowlevel.spawn_system_task(trio.sleep, 60)
        return await super().new_session(session_key)


@found_by("test_closing_in_the_middle_of_a_turn_is_quick")
class ClosesSlowly(Core):
    async def new_session(self, session_key: str) -> str:
        self._tasks.start_soon(self._say_goodbye)
        return await super().new_session(session_key)

    async def _say_goodbye(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(9)
