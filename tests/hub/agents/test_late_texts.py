"""Late texts: shown after the reply, or written to the log."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import msgspec
import pytest
import trio.testing
from msgspec.structs import replace
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.hub.agents.late_texts import _PER_MINUTE, _TEXT_MAX
from gatewayd.model.ids import AccountId, ConversationId
from gatewayd.model.message.envelope import Peer
from tests.hub.house import House, ScriptedAgents, configuration, echo, open_house

SESSION = "session-1"


async def say_later(house: House, text: str, session: str = SESSION) -> None:
    await house.late.say("assistant", session, text)


def first_words(logs: Sequence[Mapping[str, object]]) -> list[tuple[object, object]]:
    return [(log["text"], log["reason"]) for log in logs if log["event"] == "late_text_not_shown"]


async def test_it_is_a_message_of_its_own_behind_the_reply(tmp_path: Path, autojump_clock: MockClock) -> None:
    peer = Peer("group", "g:1", thread="7")
    async with open_house(tmp_path) as house:
        await house.ended(await house.say("go", peer=peer))
        await say_later(house, "the job\x07 is\r\ndone")
        reply, late = house.handed
        assert house.texts == ["re: go", "the job  is\ndone"]
        assert (late.channel, late.account, late.conversation, late.payload.peer) == ("chat", "main", reply.conversation, peer)
        assert late.id > reply.id
        assert late.turn_id == reply.turn_id


async def test_it_goes_where_the_session_answered_last_also_after_a_restart(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        await house.ended(await house.say("one"))
    async with open_house(tmp_path) as house:
        await say_later(house, "later")
        assert [(row.payload.peer, text) for row, text in zip(house.handed, house.texts, strict=True)] == [
            (Peer("dm", "7"), "later")
        ]
        await house.ended(await house.say("two"))
        await say_later(house, "again")
        assert house.texts == ["later", "re: two", "again"]


async def test_a_session_of_two_chats_speaks_where_it_spoke_last(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        row = await house.ended(await house.say("here"))
        assert row.session_key is not None
        there = await house.sessions.find(row.session_key)
        assert there is not None
        assert there.conversation is not None
        await house.store.put_session(replace(there, conversation=ConversationId(AccountId("sms", "main"), Peer("dm", "+1"))))
        await say_later(house, "x " * 200)
        assert {(row.channel, row.conversation) for row in house.handed[1:]} == {("sms", "sms:main:dm:+1")}
        assert len(house.handed) == 4, "split as the channel wants it"


async def test_it_waits_for_the_reply_that_is_being_committed(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house, anyio.create_task_group() as group:
        house.flaky.refuses.add("end_inbound")
        row = await house.say("go")
        await trio.testing.wait_all_tasks_blocked()
        group.start_soon(say_later, house, "later")
        await trio.testing.wait_all_tasks_blocked()
        house.flaky.refuses.clear()
        await house.ended(row)
        assert house.texts == ["re: go", "later"]


async def test_a_store_that_refuses_is_waited_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house, anyio.create_task_group() as group:
        await house.ended(await house.say("go"))
        house.flaky.refuses |= {"find_session", "add_outbound"}
        group.start_soon(say_later, house, "later")
        for operation in ("find_session", "add_outbound"):
            await anyio.sleep(5)
            assert house.texts == ["re: go"]
            house.flaky.refuses.discard(operation)
        await anyio.sleep(5)
        assert house.texts == ["re: go", "later"]


async def test_what_was_not_stored_when_the_agent_closes_is_in_the_log(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        await house.ended(await house.say("go"))
        house.flaky.refuses.add("add_outbound")
        with capture_logs() as logs, anyio.move_on_after(5):
            await say_later(house, "later")
        assert first_words(logs) == [("later", "the agent was closed before it was stored")]


@pytest.mark.parametrize(
    ("before", "session", "why"),
    [
        ("new", SESSION, "the session was replaced, or is unknown"),
        ("turn", "session-9", "the session was replaced, or is unknown"),
        ("made", SESSION, "the session has not answered in any chat yet"),
        ("removed", SESSION, "the account of its conversation is not configured any more"),
    ],
)
async def test_what_nobody_can_be_shown_is_in_the_log(
    tmp_path: Path, autojump_clock: MockClock, before: str, session: str, why: str
) -> None:
    async with open_house(tmp_path) as house:
        if before == "made":
            await house.ended(await house.say("/new"))
        else:
            await house.ended(await house.say("go"))
        if before == "new":
            await house.ended(await house.say("/new"))
        if before == "removed":
            house.configured.replace(configuration(channels=("sms",)))
        shown = len(house.handed)
        with capture_logs() as logs:
            await say_later(house, "the job is done", session)
        assert first_words(logs) == [("the job is done", why)]
        assert len(house.handed) == shown


async def test_after_new_the_new_session_speaks(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        for text in ("go", "/new", "on"):
            await house.ended(await house.say(text))
        await say_later(house, "hers", "session-2")
        assert house.texts[-1] == "hers"


async def test_many_and_long_ones_are_bounded(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, agents=ScriptedAgents(echo)) as house:
        await house.ended(await house.say("go"))
        with capture_logs() as logs:
            for number in range(_PER_MINUTE + 2):
                await say_later(house, f"no {number}")
        assert len(first_words(logs)) == 2
        assert house.texts[-1] == f"no {_PER_MINUTE - 1}"
        await anyio.sleep(61)
        await say_later(house, "x" * (_TEXT_MAX + 5))
        assert house.texts[-1].endswith("x … (5 more characters)")


@pytest.mark.parametrize("text", [None, 7, b"bytes"])
async def test_what_is_no_text_ends_nothing(tmp_path: Path, autojump_clock: MockClock, text: object) -> None:
    async with open_house(tmp_path) as house:
        await house.ended(await house.say("go"))
        with capture_logs() as logs:
            await house.late.say("assistant", SESSION, text)  # type: ignore[arg-type]
        assert len(first_words(logs)) == 1


async def test_nothing_to_see_is_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        await house.ended(await house.say("go"))
        await say_later(house, " \n\u200b")
        assert house.texts == ["re: go"]


async def test_it_is_told_as_an_event_and_in_the_trace(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        row = await house.ended(await house.say("go"))
        await say_later(house, "later")
        await say_later(house, "lost", "session-9")
        await house.events.wait_flushed()
        told = [
            msgspec.json.decode(event.data)
            for event in await house.events.after(0, limit=1000)
            if event.kind == "agent.late_text"
        ]
        assert [(one["shown"], one.get("id"), one["reason"]) for one in told] == [
            (True, house.handed[-1].id, None),
            (False, None, "the session was replaced, or is unknown"),
        ]
        assert [reply.id for reply in await house.store.outbound_by("turn_id", row.turn_id or "")] == [
            each.id for each in house.handed
        ]
