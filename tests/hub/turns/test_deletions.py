"""A message that was deleted on its platform, and the other kinds of news about messages."""

from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.hub.operations.trace import Tracer
from gatewayd.model.config import AccountFrame, SessionsSection
from gatewayd.model.message.commands import is_for_another_bot
from gatewayd.model.message.edits import is_deletion_of
from gatewayd.model.message.envelope import InboundKind, Peer, Sender
from gatewayd.ports.store import InboundRow
from tests.hub.house import OPEN, Gate, House, configuration, message, open_house

GROUP = Peer("group", "-1")


async def delete(house: House, row: InboundRow, **changes: object) -> InboundRow:
    envelope = row.envelope
    about: dict[str, object] = {"peer": envelope.peer, "message_id": envelope.message_id}
    return await house.say("", kind="deleted", addressed=False, **(about | changes))  # type: ignore[arg-type]


async def said(house: House, row: InboundRow) -> str:
    trace = await Tracer(house.store, accounts=dict).trace(f"in-{row.id}")
    return f"{trace.entries[0].text}; {trace.verdict}"


async def test_a_message_that_was_deleted_before_its_turn_is_never_run(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate) as house:
        first = await house.say("first")
        await trio.testing.wait_all_tasks_blocked()
        second, third = await house.say("second"), await house.say("third")
        edit = await house.say("second, better", kind="edit", message_id=second.envelope.message_id)
        deletion = await house.ended(await delete(house, second))
        gate.gate.set()
        await house.ended(third)
        assert house.texts == ["re: first", "re: third"]
        for row in (second, edit, deletion):
            assert await house.reason_of(row) == ("dropped", "deleted")
        assert await house.reason_of(first) == ("done", "answered")
        assert house.backlog.waiting == 0
        assert await said(house, second) == (
            "message from 7 in chat/main dm:7; "
            f"in-{second.id} was dropped: the message was deleted on its platform before its turn had begun."
        )


async def test_the_deletion_of_a_message_that_runs_or_has_ended_is_only_noted(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate) as house:
        row = await house.say("hello")
        await trio.testing.wait_all_tasks_blocked()
        during = await house.ended(await delete(house, row))
        gate.gate.set()
        await house.ended(row)
        after = await house.ended(await delete(house, row))
        unknown = await house.ended(await delete(house, row, message_id="no such message"))
        assert house.texts == ["re: hello"]
        for deletion in (during, after, unknown):
            assert (deletion.state, deletion.reason) == ("dropped", "deleted_late")
        assert (await said(house, during)).startswith("deletion from 7 in chat/main dm:7; ")


async def test_a_message_stays_deleted_over_a_crash(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate) as house:
        await house.say("first")
        await trio.testing.wait_all_tasks_blocked()
        second = await house.say("second")
        house.flaky.refuses.add("end_inbound")
        deletion = await delete(house, second)
        await trio.testing.wait_all_tasks_blocked()
    async with open_house(tmp_path) as house:
        await trio.sleep(1)
        assert house.texts == ["re: first"]
        for row in (second, deletion):
            assert await house.reason_of(row) == ("dropped", "deleted")


@pytest.mark.parametrize(
    ("changes", "is_gone"),
    [
        ({"sender": Sender("an operator who may not talk")}, True),
        ({"peer": Peer("group", "-1")}, True),
        ({"peer": Peer("group", "-2", "9")}, False),
        ({"peer": Peer("group", "-1", "8")}, True),
        ({"channel": "tg"}, False),
        ({"message_id": None}, False),
    ],
)
async def test_which_message_is_gone(
    changes: dict[str, object], is_gone: bool, tmp_path: Path, autojump_clock: MockClock
) -> None:
    gate = Gate()
    frame = AccountFrame(group_policy="open", require_mention=False, dm_policy="open")
    async with open_house(tmp_path, gate, config=configuration(frame=frame)) as house:
        await house.say("first", peer=Peer("group", "-1", "9"))
        await trio.testing.wait_all_tasks_blocked()
        second = await house.say("second", peer=Peer("group", "-1", "9"))
        await house.ended(await delete(house, second, **changes))
        assert await house.reason_of(second) == (("dropped", "deleted") if is_gone else ("received", None))
        gate.gate.set()


async def test_a_press_under_a_message_is_not_that_message(tmp_path: Path, autojump_clock: MockClock) -> None:
    press = message("qu:x", kind="button", message_id="m1")
    assert not is_deletion_of(message("", kind="deleted", message_id="m1"), press)
    assert is_deletion_of(message("", kind="deleted", message_id="m1"), replace(press, kind="command"))


async def test_a_reaction_is_noted_and_goes_to_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        row = await house.ended(await house.say("hello"))
        for text in ("👍", ""):
            reaction = await house.ended(await house.say(text, kind="reaction", message_id=row.envelope.message_id))
            assert (reaction.state, reaction.reason) == ("dropped", "reaction")
        assert house.texts == ["re: hello"]
        assert await said(house, reaction) == (
            f"reaction from 7 in chat/main dm:7; in-{reaction.id} was dropped: it was only a reaction to a message."
        )


@pytest.mark.parametrize("kind", ["message", "command"])
async def test_a_command_of_the_platform_is_what_its_text_is(
    kind: InboundKind, tmp_path: Path, autojump_clock: MockClock
) -> None:
    gate = Gate()
    config = configuration(frame=replace(OPEN, require_mention=True), sessions=SessionsSection(queue_mode="queue"))
    async with open_house(tmp_path, gate, config=config) as house:
        first = await house.say("/ask why", kind=kind, peer=GROUP, sender=Sender("1"))
        await trio.testing.wait_all_tasks_blocked()
        second = await house.say("/ask again", kind=kind, peer=GROUP, sender=Sender("1"))
        stop = await house.ended(await house.say("/stop", kind=kind, peer=GROUP, sender=Sender("1")))
        assert gate.running == []
        assert [turn.request.text for turn in house.agents.turns] == ["/ask why"]
        assert house.texts == ["Stopped. 1 waiting message was dropped: `/ask again`."]
        assert [await house.reason_of(row) for row in (first, second, stop)] == [
            ("done", "stopped"),
            ("dropped", "stopped"),
            ("done", "command"),
        ]


def test_a_command_of_the_platform_is_for_no_other_bot() -> None:
    assert is_for_another_bot(message("/stop@other_bot", peer=GROUP))
    assert not is_for_another_bot(message("/stop@other_bot", peer=GROUP, kind="command"))


@pytest.mark.parametrize(("text", "kind"), [("hello", "message"), ("/stop", "command")])
async def test_a_trace_says_what_was_missed(text: str, kind: InboundKind, tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        row = await house.ended(await house.say(text, kind=kind, missed=True))
        assert "from 7 in chat/main dm:7, fetched after a gap in the connection; " in await said(house, row)
