"""The chat commands that are acted on at once, and their replies. The table of all commands is
gatewayd/model/message/commands.py."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, assert_never

from msgspec import Struct

from gatewayd.hub.configured import Configured
from gatewayd.hub.outbox.outbox import until_stored
from gatewayd.hub.turns.lane import Lane
from gatewayd.hub.turns.sessions import SessionMap
from gatewayd.hub.turns.turn import LiveTurn
from gatewayd.hub.turns.work import TurnWork
from gatewayd.kit.text.visible import visible
from gatewayd.model.lifecycle import DoneReason
from gatewayd.model.message.commands import COMMANDS, Command, CommandResult
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.intents import ImmediateCommand, Intent, NewSession, Skip
from gatewayd.model.message.roles import Role
from gatewayd.model.message.route import Route
from gatewayd.model.turn import TurnState
from gatewayd.ports.store import InboundRow

NOTHING_RUNS: Final = "Nothing is running."
NOTHING_ASKED: Final = "There is no question for you now."
NOT_YOURS_TO_STOP: Final = (
    "The running turn is somebody else's. Only its writer, the operators of this bot and those listed for this group can stop it."
)
NOT_YOURS_TO_RENEW: Final = (
    "Only the operators of this bot, those listed for this group and the writer of the running turn can begin a new session here."
)
NOT_YOURS_TO_USE: Final = (
    "Only the operators of this bot, those listed for this group and the writer of the running turn can use this command here."
)
NOT_AN_APPROVER: Final = "Only those who may answer approval requests can use this command."
_NEW: Final = next(command for command in COMMANDS if command.when == "in_place")
_ROLES: Final[dict[Role, str]] = {
    "own_chat": "you are in your own chat",
    "writer": "you wrote the message of the running turn",
    "operator": "you are an operator of this account",
    "commander": "you may act for others",
    "member": "you are a member",
}
_DOES: Final[Mapping[TurnState, str]] = {
    "preparing": "",
    "waiting_for_agent": " It waits for its agent.",
    "waiting_for_slot": " It waits for other turns to end.",
    "at_core": "",
    "waiting_for_people": " It waits for an answer.",
    "moving": " It goes to another agent.",
    "ending": "",
    "ended": "",
}
"""What ``/status`` adds to the age of a running turn."""
_QUOTED: Final = 3
_QUOTE_LENGTH: Final = 40

Completion = Callable[[], Awaitable[CommandResult]]


class CommandContext(Struct, frozen=True):
    """A command with the chat where it was written. ``lanes`` are the live lanes of the chat."""

    row: InboundRow
    route: Route
    role: Role
    is_approver: bool
    lanes: Sequence[Lane]

    @property
    def envelope(self) -> InboundEnvelope:
        return self.row.envelope

    def may_drop(self, other: InboundEnvelope) -> bool:
        """Whether the sender wrote this waiting message, or may act for others."""
        return self.role in ("operator", "commander") or other.writer == self.envelope.writer


class ChatCommands:
    """Answers the commands that are acted on at once."""

    def __init__(
        self,
        sessions: SessionMap,
        configured: Configured,
        work: TurnWork,
        *,
        now: Callable[[], float],
    ) -> None:
        self._sessions = sessions
        self._configured = configured
        self._work = work
        self._now = now
        self.handlers: dict[str, Callable[[CommandContext], Completion]] = {
            "/help": _replying(help_text),
            "/start": _replying(start_text),
            "/status": lambda context: partial(self._describe, context),
            "/stop": self._stop,
            "/whoami": _replying(whoami_text),
        }

    def answer(self, row: InboundRow, route: Route, intent: Intent, lanes: Sequence[Lane]) -> Completion | None:
        """The completion of a command that is acted on at once; None: the row is no such command. What it stops is stopped when
        this returns, before a later row is added; the completion waits for the end of it."""
        match intent:
            case ImmediateCommand(command, role):
                context = CommandContext(row, route, role, self._is_approver(row.envelope), lanes)
                return _refusal(command, context) or self.handlers[command.name](context)
            case NewSession(role=role):
                return _refusal(_NEW, CommandContext(row, route, role, self._is_approver(row.envelope), lanes))
            case Skip():
                return _reply("command", NOTHING_ASKED)
            case _:
                return None

    def _is_approver(self, envelope: InboundEnvelope) -> bool:
        identity = f"{envelope.channel}:{envelope.sender.id}"
        groups = self._configured.config.approvals.groups.values()
        return envelope.via is None and any(identity in group.people for group in groups)

    def _stop(self, context: CommandContext) -> Completion:
        """Drop waiting messages and stop turns: all of them for a sender with a role here, else only the sender's own."""
        dropped = [row for lane in context.lanes for row in lane.drop(context.may_drop)]
        running = [turn for lane in context.lanes if (turn := lane.stoppable) is not None]
        stopped = running if context.role != "member" else []
        for turn in stopped:
            turn.stop("stopped")
        ends = bool(stopped) or any(lane.to_stop for lane in context.lanes)
        return partial(self._finish_stop, dropped, stopped, ends=ends, goes_on=len(running) > len(stopped))

    async def _finish_stop(
        self, dropped: Sequence[InboundRow], stopped: Sequence[LiveTurn], *, ends: bool, goes_on: bool
    ) -> CommandResult:
        """``ends``: a turn that has begun ends. ``goes_on``: a turn of somebody else goes on."""
        if dropped:
            await self._work.drop(dropped, "stopped")
        for turn in stopped:
            await turn.wait_ended()
        refused = goes_on and not (ends or dropped)
        return "command_refused" if refused else "command", " ".join(_stop_report(dropped, stopped=ends, goes_on=goes_on))

    async def _describe(self, context: CommandContext) -> CommandResult:
        session = await until_stored(lambda: self._sessions.find(context.route.session_key))
        lines = [f"Agent **{context.route.agent_id}**."]
        lines.append(f"Session {session.generation} of this conversation." if session else "No session yet.")
        running = [(lane.turn, len(lane.waiting)) for lane in context.lanes if lane.turn is not None]
        for turn, waiting in running[:1]:
            lines.append(
                f"A turn has been running for {self._now() - turn.began_at:.0f} s; {waiting} waiting.{_DOES[turn.state]}"
            )
        if not running:
            lines.append("No turn is running.")
        return "command", " ".join(lines)


def _may_use(command: Command, context: CommandContext) -> bool:
    """Whether the sender may use a command here, by the table. What is one's own is decided by the handler, and who was asked by
    the question."""
    match command.may:
        case "role":
            return context.role != "member"
        case "approver":
            return context.is_approver
        case "everybody" | "own" | "asked":
            return True
        case never:
            assert_never(never)


def _refusal(command: Command, context: CommandContext) -> Completion | None:
    """The reply to a sender who may not use a command; None: the sender may."""
    if _may_use(command, context):
        return None
    words = {_NEW.name: NOT_YOURS_TO_RENEW}.get(command.name, NOT_YOURS_TO_USE)
    return _reply("command_refused", NOT_AN_APPROVER if command.may == "approver" else words)


def _replying(words: Callable[[CommandContext], str]) -> Callable[[CommandContext], Completion]:
    return lambda context: _reply("command", words(context))


def _reply(reason: DoneReason, words: str) -> Completion:
    async def answer() -> CommandResult:
        return reason, words

    return answer


def _stop_report(dropped: Sequence[InboundRow], *, stopped: bool, goes_on: bool) -> list[str]:
    said = ["Stopped."] if stopped or (dropped and not goes_on) else []
    messages = [row.envelope for row in dropped if row.envelope.is_message]
    if messages:
        count = "1 waiting message was" if len(messages) == 1 else f"{len(messages)} waiting messages were"
        more = f" and {len(messages) - _QUOTED} more" if len(messages) > _QUOTED else ""
        said.append(f"{count} dropped: {', '.join(map(_quoted, messages[:_QUOTED]))}{more}.")
    return said + ([NOT_YOURS_TO_STOP] if goes_on else []) or [NOTHING_RUNS]


def _quoted(envelope: InboundEnvelope) -> str:
    """The first words of a message as code, so that no markup counts; without words, the kinds of its attachments."""
    words = " ".join(envelope.text.split()) or ", ".join(attachment.kind for attachment in envelope.attachments)
    cut = words if len(words) <= _QUOTE_LENGTH else words[: _QUOTE_LENGTH - 1].rstrip() + "…"
    return _code(cut)


def start_text(context: CommandContext) -> str:
    return f"Hello. The agent **{context.route.agent_id}** answers here. `/help` shows the commands. Other texts go to it."


def help_text(context: CommandContext) -> str:
    """The commands that the sender may use here, as a list."""
    shown = [_help_of(command, context) for command in COMMANDS]
    lines = [f"- {line}" for line in shown if line is not None]
    return "\n".join([*lines, "", f"Everything else goes to the agent **{context.route.agent_id}**."])


def _help_of(command: Command, context: CommandContext) -> str | None:
    if not _may_use(command, context) or (context.envelope.via is not None and not command.connectors):
        return None
    said = command.help_own if context.role == "member" and command.help_own is not None else command.help
    return f"`{' '.join(filter(None, (command.name, command.argument)))}` {said}"


def whoami_text(context: CommandContext) -> str:
    """What an operator needs for the configuration."""
    envelope, peer = context.envelope, context.envelope.peer
    thread = "" if peer.thread is None else f", thread {_code(peer.thread)}"
    return "\n".join(
        [
            f"- You: {_code(envelope.sender.id)}; {_ROLES[context.role]}",
            f"- This chat: {_code(f'{peer.kind}:{peer.id}')}{thread}",
            f"- Account: {_code(f'{envelope.channel}/{envelope.account}')}",
            f"- Agent: {_code(context.route.agent_id)}, session {_code(context.route.session_key)}",
        ]
    )


def _code(text: str) -> str:
    """A text of somebody else as code, so that no markup counts."""
    return f"`{visible(text).replace('`', chr(39))}`"
