"""The callable core: an async generator of the user is the agent.

    async def agent(turn):                       # turn.text, turn.prompt, turn.session_id, turn.sender, turn.peer …
        yield "Let me look. "                    # a str is a piece of the reply
        if (await turn.ask("shell", {"command": "ls"})).allowed:
            yield "Done."

All pieces together are the reply. The task that starts the generator runs it to its end, or closes it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from inspect import isasyncgen, iscoroutine
from uuid import uuid4

import msgspec

from gatewayd.kit.own_code import load
from gatewayd.model.config import GatewaySection
from gatewayd.model.errors import AgentFailed, NeedsOperator
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer, Sender
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.model.records.question import Option, Question
from gatewayd.ports.agent import AgentConfig, AgentCore, AgentPlugin, AgentServices, CoreTurnState, Final, Notice, TextDelta, Turn

PLUGIN = AgentPlugin(
    id="callable",
    label="Python callable",
    settings="gatewayd.agents.callable:CallableSettings",
    open="gatewayd.agents.callable:open_callable",
)

_REPLY_MAX = 1_000_000

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


class CallableSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """core = "callable": your async generator is the agent."""

    object: str
    """module:attribute of an async generator function that takes one argument, the turn. The module is searched in Python's path,
    then beside the configuration file."""

    def problems(self, gateway: GatewaySection) -> Iterator[str]:
        """See ``model.config.ChecksItself``."""
        module, colon, attribute = self.object.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
            missing = f", e.g. {self.object + ':agent'!r}" if self.object and not colon else ", e.g. 'my_agent:agent'"
            yield f"object = {self.object!r} is not MODULE:ATTRIBUTE{missing}"

    def warnings(self) -> Iterator[str]:
        """Whether ``object`` is there; it is imported for that. See ``model.config.ChecksMachine``."""
        try:
            _find(self.object)
        except NeedsOperator as error:
            yield error.reason


class CallableTurn:
    """The argument of the user's function."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        request = turn.request
        self.text: str = request.text
        self.prompt: str = request.prompt
        self.turn_id: str = request.turn_id
        self.attempt: int = request.attempt
        self.session_id: str = request.session_id
        self.session_key: str = request.session_key
        self.channel: str = request.channel
        self.account: str = request.account
        self.peer: Peer = request.peer
        self.sender: Sender = request.sender
        self.attachments: tuple[Attachment, ...] = request.attachments
        self.messages: tuple[InboundEnvelope, ...] = request.messages
        self.earlier: tuple[Earlier, ...] | None = request.earlier

    async def ask(self, tool: str, input: JsonValue = None) -> Decision:
        """Ask the operator for permission, and wait. The operator sees ``input`` exactly; the answer counts once."""
        text = msgspec.json.encode(input, order="sorted").decode()
        return await self._turn.permission(ToolRequest(tool=tool, input=text))

    async def question(
        self, text: str, options: Sequence[str | Option] = (), *, multiple: bool = False
    ) -> tuple[str, ...] | None:
        """Ask the user in the chat, and wait for a button press (one of ``options``), or the next message as free text.

        ``multiple`` allows more than one of the options. None: the user dismissed the question, or did not answer within
        ``approvals.question_timeout_seconds``.
        """
        offered = tuple(Option(option) if isinstance(option, str) else option for option in options)
        return await self._turn.question(Question(text, offered, multiple))

    async def notice(self, text: str) -> None:
        """Send the user a message of its own while the turn goes on. A few per turn are shown, the same text once."""
        await self._turn.emit(Notice(text))

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int = 10_000_000) -> bytes:
        """The bytes of one of ``attachments``. An attachment that is larger, gone or unreachable ends the turn, unless you catch
        the error."""
        return await self._turn.fetch(attachment, at_most_bytes=at_most_bytes)


Agent = Callable[[CallableTurn], AsyncGenerator[str, None]]


class CallableCore:
    def __init__(self, function: Agent) -> None:
        self._function = function

    async def new_session(self, session_key: str) -> str:
        return uuid4().hex

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        return "lost"

    async def resume(self, turn: Turn) -> Final:
        return await self.run(turn)

    async def run(self, turn: Turn) -> Final:
        generator: object = self._function(CallableTurn(turn))
        if not isasyncgen(generator):
            if iscoroutine(generator):
                generator.close()
            raise NeedsOperator("the callable is not an async generator function: it has to `yield` its reply in pieces")
        pieces: list[str] = []
        size = 0
        async with aclosing(generator):
            async for piece in generator:
                if not isinstance(piece, str):
                    raise AgentFailed(f"the callable yielded a {type(piece).__name__}; pieces of the reply are str")
                size += len(piece)
                if size > _REPLY_MAX:
                    raise AgentFailed(f"the callable's reply is longer than {_REPLY_MAX} characters")
                pieces.append(piece)
                await turn.emit(TextDelta(piece))
        return Final("".join(pieces))


@asynccontextmanager
async def open_callable(agent: AgentConfig, services: AgentServices) -> AsyncIterator[AgentCore]:
    """:raises NeedsOperator: the object cannot be imported, or is no function."""
    assert isinstance(agent.settings, CallableSettings)
    yield CallableCore(_find(agent.settings.object))


def _find(name: str) -> Agent:
    found = load(name)
    if not callable(found):
        raise NeedsOperator(f"object = {name!r} is not callable")
    return found
