"""The intent of a message: decided once, here alone, after the message is journaled, and passed on with it. Pure."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, assert_never

from msgspec import Struct

from gatewayd.model.message.commands import COMMANDS, Command
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.roles import Role
from gatewayd.model.records.approval import Scope

_NOTE_MAX: Final = 500
_BY_NAME: Final = {command.name: command for command in COMMANDS}
_ACTIONS: Final[Mapping[str, Literal["allow", "deny", "show"]]] = {"/approve": "allow", "/deny": "deny", "/show": "show"}


class Message(Struct, frozen=True):
    """For the agent, unchanged, or the answer to a question. So is a press of a button that is none of ours."""


class Edit(Struct, frozen=True):
    """Another text for a waiting message, whatever it says."""


class ImmediateCommand(Struct, frozen=True):
    """A command that is acted on at once, also while a turn runs. ``role`` is the sender's role in the chat."""

    command: Command
    role: Role


class NewSession(Struct, frozen=True):
    """A new session, after the earlier messages; ``text`` becomes its first message, if there is one."""

    text: str
    role: Role


class Skip(Struct, frozen=True):
    """Leaves the open question unanswered."""


class QuestionPress(Struct, frozen=True):
    """A button press under a question. A press of ours without a meaning any more counts as one under a closed question."""


class ApprovalResponse(Struct, frozen=True):
    """A response to an approval request, by its id (a press) or its code (a command; without a code it is about none)."""

    approval: str
    action: Literal["allow", "deny", "show"]
    scope: Scope = "once"
    note: str | None = None


class Deletion(Struct, frozen=True):
    """A message is gone from its platform."""


class ServiceEvent(Struct, frozen=True):
    """Somebody joined, a title changed, or somebody reacted to a message: for nobody."""


Intent = Message | Edit | ImmediateCommand | NewSession | Skip | QuestionPress | ApprovalResponse | Deletion | ServiceEvent


def classify(envelope: InboundEnvelope, role_of: Callable[[InboundEnvelope], Role]) -> Intent:
    """The intent of an envelope. ``role_of`` is called where the sender's role in the chat matters.

    A command is the first word of a message in the sender's own words. Drivers remove the bot's own name (``/stop@us``), so a
    command with a name here is for another bot, or for the agent. A message of a connector decides no request.
    """
    match envelope.kind:
        case "message" | "command":
            return _in_words(envelope, role_of)
        case "button":
            return _press(envelope)
        case "edit":
            return Edit()
        case "deleted":
            return Deletion()
        case "membership" | "reaction" | "service":
            return ServiceEvent()
        case never:
            assert_never(never)


def _in_words(envelope: InboundEnvelope, role_of: Callable[[InboundEnvelope], Role]) -> Intent:
    first, *rest = (envelope.text.split(maxsplit=1) if envelope.is_own_word else None) or [""]
    command, argument = _BY_NAME.get(first.lower()), "".join(rest)
    if command is None or (envelope.via is not None and not command.connectors):
        return Message()
    match command.when:
        case "at_once":
            return ImmediateCommand(command, role_of(envelope))
        case "in_place":
            return NewSession(argument, role_of(envelope))
        case "answer":
            return Skip()
        case "approval":
            return _response(command, argument)
        case never:
            assert_never(never)


def _response(command: Command, argument: str) -> ApprovalResponse:
    code, *note = argument.split(maxsplit=1) or [""]
    return ApprovalResponse(code, _ACTIONS[command.name], note=note[0][:_NOTE_MAX] if note else None)


def _press(envelope: InboundEnvelope) -> Intent:
    kind, _, rest = envelope.text.partition(":")
    if kind not in ("ap", "qu") or kind == envelope.text:
        return Message()
    approval, _, action = rest.rpartition(":")
    if kind == "ap" and approval and envelope.via is None:
        match action:
            case "deny":
                return ApprovalResponse(approval, "deny")
            case "once" | "session":
                return ApprovalResponse(approval, "allow", action)
    return QuestionPress()
