"""The same rows and answers on ``classify`` alone: what each message is, for each sender, and what the sender is in the chat."""

from functools import partial
from typing import Any, Final, get_args

import pytest
from msgspec.structs import replace

from gatewayd.model.config import AccountFrame, GroupRules
from gatewayd.model.message.commands import COMMANDS, is_for_another_bot
from gatewayd.model.message.envelope import InboundEnvelope, Origin, Peer, Sender, Writer
from gatewayd.model.message.intents import ApprovalResponse, Edit, ImmediateCommand, Intent, Message, NewSession, Skip, classify
from gatewayd.model.message.roles import Role, role_of
from tests.hub.house import message
from tests.hub.matrix.rows import WORDS_BESIDE, Form, Place, Row, answers, rows

CODE: Final = "BCDFGH"
BY_NAME: Final = {command.name: command for command in COMMANDS}
FRAME: Final = AccountFrame(operators=("operator",), groups={"*": GroupRules(commands=("commander",))})
FORMS: Final[dict[Form, dict[str, Any]]] = {
    "own": {},
    "edited": {"kind": "edit"},
    "forwarded": {"forwarded": Origin("Eve")},
    "via_bot": {"via_bot": "gif"},
    "caption": {"caption": True},
    "connector": {"via": "connector:bridge"},
}
PEERS: Final[dict[Place, Peer]] = {"dm": Peer("dm", "7"), "group": Peer("group", "-100")}


def envelope_of(row: Row) -> InboundEnvelope:
    """As the driver gives it: it takes the bot's own name off; nobody does of what a connector brings."""
    text = f"{row.word} {CODE}" if row.when == "approval" else WORDS_BESIDE.get(row.word, row.word)
    text = text if row.form == "connector" else text.replace("@echo_bot", "")
    return message(text, peer=PEERS[row.place], sender=Sender(row.sender), **FORMS[row.form])


def role_in(row: Row) -> Role:
    if row.place == "dm":
        return "own_chat"
    names: dict[str, Role] = {"writer": "writer", "operator": "operator", "commander": "commander"}
    return names.get(row.sender, "member") if row.form != "connector" else "member"


def as_one_who_may_talk(row: Row) -> Row:
    """Who may not says the same things as who may. That nobody listens is decided elsewhere."""
    if row.sender not in ("stranger", "bot"):
        return row
    return replace(row, sender="own_chat" if row.place == "dm" else "member")


def meaning(row: Row, answer: str) -> Intent:
    role, word = role_in(row), row.word
    match answer:
        case "help" | "start" | "whoami" | "status":
            return ImmediateCommand(BY_NAME[f"/{answer}"], role)
        case "stopped":
            return ImmediateCommand(BY_NAME["/stop"], role)
        case "renewed" | "fresh":
            return NewSession("fresh *start*" if answer == "fresh" else "", role)
        case "allowed" | "denied" | "shown":
            return ApprovalResponse(CODE, {"/approve": "allow", "/deny": "deny", "/show": "show"}[word])  # type: ignore[arg-type]
        case "skipped" | "unasked":
            return Skip()
        case "refused":
            # Heard all the same; who may not is told so.
            heard = {"/new": "renewed", "/new TEXT": "fresh", "/stop": "stopped", "@us": "stopped"}
            return meaning(row, heard.get(word, "allowed"))
        case "agent" | "answer" | "nothing":
            return Edit() if row.form == "edited" else Message()
    raise AssertionError(f"no meaning is known of {answer}")


@pytest.mark.parametrize("place", get_args(Place))
def test_what_each_message_is(place: Place) -> None:
    wrong: list[str] = []
    expected = answers()
    for row in (row for row in rows() if row.place == place):
        envelope, answer = envelope_of(row), expected[as_one_who_may_talk(row)]
        intent = classify(envelope, partial(role_of, frame=FRAME, writers=[Writer("writer")]))
        if intent != meaning(row, answer):
            wrong.append(f"{row}: {intent}, but the answer is {answer}")
        # Only a member is refused, and a member is refused all that is done to others.
        if isinstance(intent, ImmediateCommand | NewSession) and answer in ("stopped", "renewed", "fresh", "refused"):
            assert (answer == "refused") is (intent.role == "member"), row
        assert is_for_another_bot(envelope) is (answer == "nothing"), row
    assert not wrong, "\n".join(wrong)


def test_a_command_of_the_platform_is_what_its_text_is() -> None:
    role = partial(role_of, frame=FRAME, writers=[Writer("writer")])
    own = [envelope_of(row) for row in rows() if row.form == "own"]
    wrong = [each for each in own if classify(replace(each, kind="command"), role) != classify(each, role)]
    assert wrong == []
