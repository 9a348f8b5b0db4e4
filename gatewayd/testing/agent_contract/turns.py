"""Turns that go well, and turns that people stop."""

from pathlib import Path

import trio
import trio.testing

from gatewayd.ports.agent import ToolCall, ToolResult
from gatewayd.testing.agent_contract.core import CoreContract, replies
from gatewayd.testing.agent_contract.harness import HubTurn
from gatewayd.testing.manifest import PATIENCE


class TurnsContract(CoreContract):
    async def test_the_reply_is_what_the_agent_said(self, tmp_path: Path) -> None:
        """Only ``Final.text`` leaves to the chat: a word that is missing there was never said."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                said = "Grüße an alle 😀 in the room"
                assert await core.say(await core.core.new_session("key"), self.text_for(harness, "say", said)) == said

    async def test_what_is_shown_while_it_grows_is_the_reply(self, tmp_path: Path) -> None:
        """Channels show the pieces as a draft of the reply. A core that shows none is fine; one that shows other words is not."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                turn = HubTurn(await core.core.new_session("key"), self.text_for(harness, "say", "one two three"))
                [reply] = replies([await core.run(turn)])
        assert turn.shown.strip() in ("", reply)

    async def test_a_session_takes_one_turn_after_the_other(self, tmp_path: Path) -> None:
        """A conversation has many turns, and each reply belongs to its own."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                session = await core.core.new_session("key")
                for number in range(3):
                    text = self.text_for(harness, "say", f"reply {number}")
                    assert await core.say(session, text, turn_id=f"turn-{number}") == f"reply {number}"

    async def test_turns_of_several_sessions_run_at_once(self, tmp_path: Path) -> None:
        """All chats share the core. One that waits holds up nobody else, and no reply goes to another chat."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                sessions = [await core.core.new_session(f"key {number}") for number in range(4)]
                hanging = core.start(HubTurn(sessions[0], self.text_for(harness, "hang"), turn_id="turn-0"))
                await harness.wait_hanging()
                others = [
                    core.start(HubTurn(session, self.text_for(harness, "say", f"for {session}"), turn_id=f"turn-{number}"))
                    for number, session in enumerate(sessions[1:], 1)
                ]
                if self.one_at_a_time:
                    for other in others:
                        await other.turn.wait_notice()
                    await hanging.stop()
                assert replies([await other.wait() for other in others]) == [f"for {session}" for session in sessions[1:]]
                await hanging.stop()

    async def test_stopping_a_turn_stops_the_agent(self, tmp_path: Path) -> None:
        """``/stop`` and a time-out cancel the turn. The agent must not go on working for nobody, with tools perhaps."""
        with trio.fail_after(2 * PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                session = await core.core.new_session("key")
                running = core.start(HubTurn(session, self.text_for(harness, "hang"), turn_id="turn-1"))
                await harness.wait_hanging()
                await running.stop()
                await harness.wait_stopped()
                text = self.text_for(harness, "say", "here again")
                assert await core.say(session, text, turn_id="turn-2") == "here again"
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert running.turn.behind == [], "it showed something of a turn that was over"

    async def test_steps_are_pairs(self, tmp_path: Path) -> None:
        """The events show each use of a tool with its result. A result without its call would be shown with no tool."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                turn = HubTurn(await core.core.new_session("key"), self.text_for(harness, "tool", "lookup"))
                await core.run(turn)
        called: list[str] = []
        for event in turn.events:
            if isinstance(event, ToolCall):
                called.append(event.call_id)
            elif isinstance(event, ToolResult):
                assert event.call_id in called

    async def test_a_late_text_is_handed_over(self, tmp_path: Path) -> None:
        """What an agent says behind the end of its turn is not lost. The core may wait for it a little and put it into the reply;
        otherwise it goes to the chat as a message of its own."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                session = await core.core.new_session("key")
                reply = await core.say(session, self.text_for(harness, "late", "afterwards"))
                if "afterwards" not in reply:
                    [(where, text)] = await services.wait_said_later()
                    assert where == session
                    assert "afterwards" in text
