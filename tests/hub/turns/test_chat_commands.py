"""The chat commands: what is one, who may use it, and what it says and does."""

from pathlib import Path
from typing import Any, get_args

import anyio
import pytest
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.hub.configured import Configured
from gatewayd.hub.turns.chat_commands import (
    NOT_AN_APPROVER,
    NOT_YOURS_TO_RENEW,
    NOT_YOURS_TO_STOP,
    NOT_YOURS_TO_USE,
    NOTHING_ASKED,
    NOTHING_RUNS,
    ChatCommands,
    Completion,
)
from gatewayd.hub.turns.lane import Lane
from gatewayd.hub.turns.sessions import SessionMap
from gatewayd.hub.turns.turn import WaitingMessage
from gatewayd.model.config import AccountFrame, ApprovalsSection, ApproverGroup, GroupRules, SessionsSection
from gatewayd.model.errors import TryAgain
from gatewayd.model.message.commands import COMMANDS, Command, May, is_for_another_bot
from gatewayd.model.message.envelope import Attachment, Origin, Peer, Sender
from gatewayd.model.message.intents import (
    ApprovalResponse,
    Edit,
    ImmediateCommand,
    Intent,
    Message,
    NewSession,
    QuestionPress,
    Skip,
    classify,
)
from gatewayd.model.message.roles import Role
from gatewayd.model.message.route import Route
from gatewayd.model.records.question import Question
from gatewayd.ports.store import InboundRow
from tests.hub.curious import Curious
from tests.hub.house import OPEN, Gate, House, configuration, message, now, open_house

GROUP = Peer("group", "-100")
ALICE, BOB, BOSS, HELPER = Sender("1"), Sender("2"), Sender("9"), Sender("5")
FRAME = AccountFrame(
    dm_policy="open",
    operators=("9",),
    group_policy="open",
    groups={"-100": GroupRules(commands=("5",))},
    require_mention=False,
)
ROUTE = Route("assistant", "assistant:chat:main:dm:7", "default")
NAMES = [command.name for command in COMMANDS]
NOT_OWN: dict[str, dict[str, Any]] = {
    "forwarded": {"forwarded": Origin("Eve")},
    "via_bot": {"via_bot": "gif"},
    "caption": {"caption": True},
    "edit": {"kind": "edit"},
}


WHAT: dict[str, Intent] = {
    "/approve": ApprovalResponse("", "allow"),
    "/deny": ApprovalResponse("", "deny"),
    "/show": ApprovalResponse("", "show"),
    "/skip": Skip(),
}


def heard(said: str, *, role: Role = "own_chat", **changes: Any) -> Intent:
    return classify(message(said, **changes), lambda envelope: role)


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_every_command_is_heard_in_any_case_and_with_its_argument_letter_by_letter(command: Command) -> None:
    name = command.name
    expected = WHAT.get(name, NewSession("", "own_chat") if name == "/new" else ImmediateCommand(command, "own_chat"))
    for said in (name, name.upper(), f" {name}\n"):
        assert heard(said) == expected
    assert heard("/new  a *b*\n c ") == NewSession("a *b*\n c ", "own_chat")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("changes", NOT_OWN.values(), ids=NOT_OWN)
def test_what_is_not_the_sender_s_own_word_is_no_command(name: str, changes: dict[str, Any]) -> None:
    assert heard(f"{name} CODE", **changes) == (Edit() if "kind" in changes else Message())


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_a_connector_uses_the_commands_of_its_chat_and_decides_nothing(command: Command) -> None:
    assert (heard(f"{command.name} CODE", via="connector:bridge") != Message()) is command.connectors
    assert command.connectors is (command.when != "approval")
    assert heard("ap:ap_1:once", kind="button", via="connector:bridge") == QuestionPress()


SLASHED = st.from_regex(r"/?[ \t\n]?[A-Za-z0-9_@/.-]{0,20}( \w{0,5})?", fullmatch=True)


@given(SLASHED, st.sampled_from(["dm", "group"]))
def test_all_else_is_the_agent_s_letter_by_letter(text: str, kind: str) -> None:
    envelope = message(text, peer=Peer("dm" if kind == "dm" else "group", "7"))
    intent = classify(envelope, lambda envelope: "member")
    first = (text.split() or [""])[0].lower()
    assert (intent != Message()) is (first in NAMES)
    if first != "/new":
        assert WaitingMessage(1, InboundRow(1, envelope, "received", 0), ROUTE, intent).message is envelope
    if is_for_another_bot(envelope):
        assert (kind, intent) == ("group", Message())


def chat_commands(approvals: ApprovalsSection | None = None) -> ChatCommands:
    async def end(rows: object, reason: str) -> None: ...

    configured = Configured(configuration(approvals=approvals), {})
    return ChatCommands(SessionMap(None, kind_of={}.get, now=now), configured, end, now=now)  # type: ignore[arg-type]


def test_each_command_has_one_place_where_it_is_acted_on() -> None:
    assert set(chat_commands().handlers) == {command.name for command in COMMANDS if command.when == "at_once"}


def test_a_question_and_a_request_say_themselves_who_may_answer_them() -> None:
    assert all((command.may == "asked") is (command.when == "answer") for command in COMMANDS)
    assert all(command.may == "approver" for command in COMMANDS if command.when == "approval")


AT_ONCE = [command for command in COMMANDS if command.when == "at_once"]


@given(
    st.sampled_from(AT_ONCE),
    st.sampled_from(["everybody", "own", "role", "approver"]),
    st.sampled_from(get_args(Role)),
    st.sampled_from([ALICE, BOB]),
    st.sampled_from([{}, {"via": "connector:x"}]),
)
def test_who_may_not_use_a_command_is_refused_and_nothing_happens(
    command: Command, may: May, role: Role, sender: Sender, changes: dict[str, Any]
) -> None:
    """Whatever the table says of who may. The waiting message is the sender's own: each ``/stop`` that is acted on drops it."""

    async def answered() -> tuple[Completion | None, int]:
        lane = Lane(ROUTE.session_key)
        lane.add(WaitingMessage(1, waiting, ROUTE, Message()))
        intent = ImmediateCommand(replace(command, may=may), role)
        return commands.answer(row, ROUTE, intent, [lane]), len(lane.waiting)

    commands = chat_commands(ApprovalsSection(groups={"ops": ApproverGroup(("chat:2",))}))
    row = InboundRow(2, message(command.name, peer=GROUP, sender=sender, **changes), "received", 0)
    waiting = InboundRow(1, message(peer=GROUP, sender=sender, **changes), "received", 0)

    answer, left = anyio.run(answered, backend="trio")

    is_approver = sender == BOB and not changes
    refusal = {("role", role == "member"): NOT_YOURS_TO_USE, ("approver", not is_approver): NOT_AN_APPROVER}.get((may, True))
    assert answer is not None
    if refusal is None:
        assert left == (0 if command.name == "/stop" else 1)
    else:
        assert (left, *anyio.run(answer, backend="trio")) == (1, "command_refused", refusal)


async def say(house: House, text: str, sender: Sender, **changes: object) -> InboundRow:
    return await house.say(text, peer=GROUP, sender=sender, **changes)


async def runs(house: House, sender: Sender = ALICE) -> InboundRow:
    """A turn of this sender's runs in the group."""
    row = await say(house, "work", sender)
    await trio.testing.wait_all_tasks_blocked()
    return row


@pytest.mark.parametrize(
    ("sender", "changes", "stops"),
    [
        (ALICE, {}, True),
        (BOB, {}, False),
        (BOSS, {}, True),
        (HELPER, {}, True),
        (BOSS, {"via": "connector:x"}, False),
        (ALICE, {"via": "connector:x"}, False),
    ],
)
async def test_who_may_stop_a_turn_and_renew_a_session_in_a_group(
    tmp_path: Path, autojump_clock: MockClock, sender: Sender, changes: dict[str, object], *, stops: bool
) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(frame=FRAME)) as house:
        row = await runs(house)
        new = await say(house, "/new", sender, **changes)
        stop = await house.ended(await say(house, "/stop", sender, **changes))
        assert bool(gate.running) is not stops
        assert stop.reason == ("command" if stops else "command_refused")
        assert ("Stopped." if stops else NOT_YOURS_TO_STOP) in house.texts
        gate.gate.set()
        await house.ended(row)
        assert (await house.ended(new)).reason == ("command" if stops else "command_refused")
        assert house.agents.sessions == (2 if stops else 1)
        assert (NOT_YOURS_TO_RENEW in house.texts) is not stops


async def test_who_has_no_role_drops_what_they_wrote_themselves_and_nothing_else(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(frame=FRAME)) as house:
        await runs(house)
        rows = [await say(house, text, who) for text, who in (("one", BOB), ("two", ALICE), ("three", BOB), ("/new", BOSS))]
        edit = await say(house, "uno", BOB, kind="edit", message_id=rows[0].envelope.message_id)
        await house.ended(await say(house, "/stop", BOB))
        assert house.texts == [f"2 waiting messages were dropped: `one`, `three`. {NOT_YOURS_TO_STOP}"]
        assert [(await house.ended(row)).reason for row in (rows[0], rows[2], edit)] == ["stopped"] * 3
        gate.gate.set()
        assert (await house.ended(rows[1])).reason == "answered"
        assert (await house.ended(rows[3])).reason == "command"


async def test_who_has_a_role_drops_everything_but_a_new_session(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(frame=FRAME)) as house:
        running = await runs(house)
        texts = ["a `b` *c* [d](e)", "x" * 99, "", "four", "five"]
        photo = (Attachment("photo", "ref"),)
        rows = [await say(house, text, BOB, attachments=photo) for text in texts]
        new = await say(house, "/new then this", ALICE)
        await house.ended(await say(house, "/stop", HELPER))
        cut = "x" * 39 + "…"
        assert house.texts == [f"Stopped. 5 waiting messages were dropped: `a 'b' *c* [d](e)`, `{cut}`, `photo` and 2 more."]
        assert [(await house.ended(row)).reason for row in (running, *rows)] == ["stopped"] * 6
        gate.gate.set()
        assert (await house.ended(new)).reason == "answered"
        assert (house.agents.sessions, house.agents.turns[-1].request.text) == (2, "then this")


async def test_in_a_direct_message_everybody_stops_and_renews_their_own(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(sessions=SessionsSection(dm_scope="main"))) as house:
        await house.say("work", peer=Peer("dm", "1"))
        other = await house.say("mine", peer=Peer("dm", "2"))
        await trio.testing.wait_all_tasks_blocked()
        await house.ended(await house.say("/stop", peer=Peer("dm", "3")))
        assert (gate.running, house.texts) == (["mine"], ["Stopped."]), "who shares a session may stop it, and drops nothing"
        gate.gate.set()
        assert (await house.ended(other)).reason == "answered"


async def test_nothing_to_stop_and_nothing_to_skip(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(frame=FRAME)) as house:
        for sender in (BOB, BOSS):
            await house.ended(await say(house, "/stop", sender))
            assert house.texts[-1] == NOTHING_RUNS
        await house.ended(await say(house, "/skip", BOB))
        assert house.texts[-1] == NOTHING_ASKED
        assert house.agents.turns == []


async def test_help_lists_what_its_reader_may_use(tmp_path: Path, autojump_clock: MockClock) -> None:
    groups = ApprovalsSection(groups={"ops": ApproverGroup(("chat:2",))})
    config = configuration(frame=FRAME, approvals=groups)
    async with open_house(tmp_path, config=config) as house:
        listed = {}
        for who, changes in (("1", {}), ("2", {}), ("5", {}), ("9", {}), ("2", {"via": "connector:x"})):
            await house.ended(await say(house, "/help", Sender(who), **changes))
            listed[who, *changes] = house.texts[-1]
        assert all("Everything else goes to the agent **assistant**." in text for text in listed.values())
        assert {who for who, text in listed.items() if "/new" in text} == {("5",), ("9",)}
        assert {who for who, text in listed.items() if "/approve" in text} == {("2",)}
        assert {who for who, text in listed.items() if "your own turn" in text} == {("1",), ("2",), ("2", "via")}
        assert house.agents.turns == []


@pytest.mark.parametrize(("is_away", "words"), [(True, "It waits for its agent."), (False, "It waits for an answer.")])
async def test_status_says_what_a_turn_waits_for(tmp_path: Path, autojump_clock: MockClock, words: str, *, is_away: bool) -> None:
    async with open_house(tmp_path, Curious(Question("Why?"))) as house:
        house.agents.away = TryAgain("away") if is_away else None
        await house.say("go")
        await anyio.sleep(2)
        await house.ended(await house.say("/status"))
        assert house.texts[-1].endswith(f" A turn has been running for 2 s; 0 waiting. {words}")


async def test_help_and_start_and_whoami_cost_no_turn(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(frame=replace(OPEN, operators=("9",)))) as house:
        for said in ("/start", "/start deep-link_7", "/whoami", "/help me"):
            row = await house.ended(await say(house, said, BOSS, channel="chat"))
            assert row.reason == "command"
        assert "**assistant** answers here" in house.texts[0]
        assert house.texts[0] == house.texts[1]
        assert house.texts[2].splitlines() == [
            "- You: `9`; you are an operator of this account",
            "- This chat: `group:-100`",
            "- Account: `chat/main`",
            "- Agent: `assistant`, session `assistant:chat:main:group:-100`",
        ]
        assert house.agents.turns == []


async def test_a_stranger_who_writes_start_is_asked_to_pair(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, config=configuration(frame=AccountFrame())) as house:
        assert (await house.ended(await house.say("/start"))).reason == "pairing_required"
        assert "pairing code" in house.texts[0]


@pytest.mark.parametrize("held", ["put_session", "start_turn"])
async def test_new_with_a_text_is_neither_lost_nor_done_twice_over_a_crash(
    tmp_path: Path, autojump_clock: MockClock, held: str
) -> None:
    """The process ends right after the commit of the session, or of the turn's begin."""
    async with open_house(tmp_path) as house:
        await house.ended(await house.say("hello"))
        house.flaky.holds[held] = anyio.Event()
        row = await house.say("/new begin *here*")
        await trio.testing.wait_all_tasks_blocked()
        assert house.agents.sessions == 2
    async with open_house(tmp_path) as house:
        assert (await house.ended(row)).reason == "answered"
        [turn] = house.agents.turns
        assert (turn.request.text, turn.request.session_id) == ("begin *here*", "session-2")
        assert house.agents.sessions == 0, "no second session"
        session = await house.store.get_session("assistant:chat:main:dm:7")
        assert session is not None
        assert (session.generation, session.made_by) == (2, row.id)


async def test_new_over_a_crash_begins_one_session(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        house.flaky.holds["put_session"] = anyio.Event()
        row = await house.say("/new")
        await trio.testing.wait_all_tasks_blocked()
    async with open_house(tmp_path) as house:
        assert (await house.ended(row)).reason == "command"
        assert (house.agents.sessions, house.texts) == (0, ["A new session has begun."])
        again = await house.ended(await house.say("/new"))
        assert (again.reason, house.agents.sessions) == ("command", 1)


async def test_a_new_session_that_is_being_made_is_nothing_to_stop(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        gate = house.flaky.holds["put_session"] = anyio.Event()
        new = await house.say("/new")
        await trio.testing.wait_all_tasks_blocked()
        await house.ended(await house.say("/stop"))
        gate.set()
        assert (await house.ended(new)).reason == "command"
        assert house.texts == [NOTHING_RUNS, "A new session has begun."]


async def test_a_stop_while_a_session_is_made_stops_the_text_behind_new(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        gate = house.flaky.holds["put_session"] = anyio.Event()
        new = await house.say("/new and this")
        await trio.testing.wait_all_tasks_blocked()
        stop = await house.say("/stop")
        gate.set()
        assert (await house.ended(new)).reason == "stopped"
        await house.ended(stop)
        assert (house.texts[-1], house.agents.turns) == ("Stopped.", [])


async def test_roles_are_those_of_the_configuration_that_is_in_force(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=configuration(frame=FRAME)) as house:
        await runs(house)
        house.configured.replace(configuration(frame=replace(FRAME, operators=(), groups={"-100": GroupRules(commands=("2",))})))
        for sender, reason in ((BOSS, "command_refused"), (HELPER, "command_refused"), (BOB, "command")):
            assert (await house.ended(await say(house, "/stop", sender))).reason == reason
        assert gate.running == []
