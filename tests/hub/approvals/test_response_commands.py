"""``/approve CODE``, ``/deny CODE``, ``/show CODE``: what is a command, and what it does."""

from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.model.config import ApprovalsSection, ApproverGroup
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.intents import ApprovalResponse, classify
from tests.hub.approvals.approvers import asking
from tests.hub.approvals.test_desk import RM, Tool, pending
from tests.hub.house import message, open_house

PLACE = Peer("group", "-100")


def response_in(envelope: InboundEnvelope) -> ApprovalResponse | None:
    """What a message wants of a request, if it is about one."""
    intent = classify(envelope, lambda envelope: "own_chat")
    return intent if isinstance(intent, ApprovalResponse) else None


@pytest.mark.parametrize(
    ("said", "response"),
    [
        ("/approve BCDFGH", ApprovalResponse("BCDFGH", "allow")),
        ("/Approve bcdfgh\n", ApprovalResponse("bcdfgh", "allow")),
        ("/approve@other BCDFGH", None),
        ("/deny BCDFGH  not now, please", ApprovalResponse("BCDFGH", "deny", note="not now, please")),
        ("/show BCDFGH", ApprovalResponse("BCDFGH", "show")),
        ("/approve", ApprovalResponse("", "allow")),
        ("/approved BCDFGH", None),
        ("please /approve BCDFGH", None),
        ("", None),
        ("   ", None),
    ],
)
def test_what_a_message_wants(said: str, response: ApprovalResponse | None) -> None:
    assert response_in(message(said)) == response


def test_an_edit_is_no_command() -> None:
    assert response_in(message("/approve BCDFGH", kind="edit")) is None


@pytest.mark.parametrize(
    ("data", "response"),
    [
        ("ap:ap_1:once", ApprovalResponse("ap_1", "allow")),
        ("ap:ap_1:session", ApprovalResponse("ap_1", "allow", "session")),
        ("ap:ap_1:deny", ApprovalResponse("ap_1", "deny")),
        ("ap:ap_1:rm", None),
        ("ap::once", None),
        ("ap:", None),
        ("qu:qu_1:0", None),
        ("/approve ap_1", None),
        ("", None),
    ],
)
def test_what_a_press_wants(data: str, response: ApprovalResponse | None) -> None:
    assert response_in(message(data, kind="button")) == response


async def test_a_command_without_a_code_is_told_what_is_missing(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        row = await house.ended(await house.say("/approve"))
        assert (row.reason, house.agents.turns) == ("command", [])
        assert "Its code stands behind the command" in house.texts[0]


async def test_a_code_in_any_case_and_a_note(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking("here")) as house:
        row = await house.say("go")
        approval = await pending(house)
        answer = await house.ended(await house.say(f"/DENY {approval.code.lower()} " + "too dangerous " * 100))
        await house.ended(row)
        assert (answer.state, answer.reason) == ("done", "approval_vote")
        [decision] = tool.decisions
        assert (decision.outcome, decision.by, len(decision.note or "")) == ("denied", "chat:7", 500)
        assert house.answers() == [], "who writes is answered in writing"
        assert "Denied." in house.texts


async def test_a_command_in_a_thread_answers_the_prompt_of_its_group_and_of_no_other_thread(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking()) as house:
        await house.say("go")
        approval = await pending(house)
        row = await house.say(f"/approve {approval.code}", peer=Peer("group", "-100", "5"), sender=Sender("1"), channel="tg")
        await house.ended(row)
        assert tool.ran == [RM]
    origin = ApprovalsSection(groups={"here": ApproverGroup(("tg:1",), ("origin",))})
    config = replace(asking("here"), approvals=origin)
    other = tmp_path / "other"
    async with open_house(other, tool, config=config) as house:
        await house.say("go", peer=Peer("group", "-100", "5"), channel="tg", sender=Sender("1"))
        approval = await pending(house)
        for thread in (None, "6"):
            peer = Peer("group", "-100", thread)
            wrong = await house.say(f"/approve {approval.code}", peer=peer, sender=Sender("1"), channel="tg")
            assert (await house.ended(wrong)).reason == "approval_refused_elsewhere"
        assert (await pending(house)).state == "pending"


async def test_show_gives_the_input_to_who_may_answer_only(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking("here", "team", escalate_after_seconds=1)) as house:
        await house.say("go")
        approval = await pending(house)
        await anyio.sleep(2)
        shown = await house.ended(await house.say(f"/show {approval.code}"))
        assert shown.reason == "command"
        assert f"**shell** of approval {approval.id}" in house.texts[-1]
        assert '"command": "rm -rf ./x"' in house.texts[-1]
        nosy = await house.say(f"/show {approval.code}", peer=PLACE, sender=Sender("66"), channel="tg")
        assert (await house.ended(nosy)).reason == "approval_refused_not_an_approver"
        assert house.texts[-1] == "You may not answer this request here."


async def test_what_a_program_brings_decides_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    """A connector says who wrote, and where: hearsay. Its words are a message like any other, also after a restart."""
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking()) as house:
        await house.say("go")
        approval = await pending(house)
        await house.send_all()
        for said in (f"/approve {approval.code}", f"/show {approval.code}"):
            boss = message(said, channel="tg", peer=PLACE, sender=Sender("1"), via="connector:bridge")
            [row] = await house.inbox.deliver([boss])
            assert (await house.ended(row)).reason != "approval_vote"
        assert (await house.desk.get(approval.id)).votes == ()
        assert RM not in tool.ran
