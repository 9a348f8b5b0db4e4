"""What the contract needs of a core's tests (its harness), and the hub's side that it plays for the core."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import httpx2
import trio

from gatewayd.actor.wakeup import Wakeup
from gatewayd.model.message.envelope import Attachment, Peer, Sender
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.model.records.question import Question
from gatewayd.ports.agent import AgentConfig, Notice, TextDelta, TurnEvent, TurnRequest
from gatewayd.testing.services import ServicesInMemory

Act = Literal["say", "recall", "tool", "two tools", "tool, then die", "ask", "fail", "die", "hang", "late"]
AgentFailure = Literal["outage", "credentials"]

COLOURS = ("red", "blue")
"""The options that an agent offers when it asks a question."""


class AgentHarness(Protocol):
    """One agent and whatever runs it (a server, a program, a function), for one test.

    ``acts`` are what the agent can be made to do, each with a function that takes one argument and returns what the user has to
    write for it. An agent lists those that it can:

    - ``say``: it replies with the argument.
    - ``recall``: it replies with all that the user wrote before in the same session. The argument means nothing.
    - ``tool``: it asks for permission to use a tool whose input holds the argument, uses it when it may, and replies.
    - ``two tools``: as ``tool``, with two tools at the same time; the argument is two words with `` | `` between them.
    - ``tool, then die``: as ``tool``, and then its process or its connection ends before the reply.
    - ``ask``: it asks the user the argument, with the options ``COLOURS``, and replies with the answer.
    - ``fail``: it ends the turn with an error of its own, such as a model that refuses.
    - ``die``: its process or its connection ends in the middle of the turn.
    - ``hang``: it begins, and then does nothing until it is stopped, or until ``release`` lets it reply with the argument.
    - ``late``: it replies, and says the argument after the end of the turn.

    ``failures`` are what can be made to go wrong before a turn begins, and how to arrange for each.
    """

    @property
    def agent(self) -> AgentConfig: ...

    @property
    def acts(self) -> Mapping[Act, Callable[[str], str]]: ...

    @property
    def failures(self) -> Mapping[AgentFailure, Callable[[], Awaitable[None]]]: ...

    def tools_used(self) -> Sequence[str]:
        """The arguments of the tools that were really used, in order."""

    async def wait_hanging(self) -> None:
        """Returns once the agent does the act ``hang``."""

    async def wait_stopped(self) -> None:
        """Returns once the agent does not do it any more: it was told to stop, or it has noticed that nobody waits for it."""

    async def release(self) -> None:
        """Let what hangs reply. Needed only of a core whose turns go on without gatewayd."""


class Services(ServicesInMemory):
    """The hub's side for one core."""

    def __init__(self, http: httpx2.AsyncClient, directory: Path) -> None:
        super().__init__()
        self.http = http
        self.directory = directory
        self.said_later: list[tuple[str, str]] = []
        self._changed = Wakeup()

    async def say_later(self, session_id: str, text: str) -> None:
        await trio.lowlevel.checkpoint()
        self.said_later.append((session_id, text))
        self._changed.notify()

    async def wait_said_later(self) -> list[tuple[str, str]]:
        """Returns once something was."""
        while not self.said_later:
            await self._changed.wait()
        return self.said_later


Operator = Callable[[ToolRequest], Awaitable[Decision]]
"""Who answers a request for permission."""


async def allow(request: ToolRequest) -> Decision:
    await trio.lowlevel.checkpoint()
    return Decision("allowed", by="operator:test")


async def nobody(request: ToolRequest) -> Decision:
    """Does not answer."""
    await trio.sleep_forever()
    raise AssertionError


class HubTurn:
    """A turn as the hub gives it to a core. It keeps all that the core did with it.

    ``over`` is set by the contract when ``run`` has returned: what the core does with the turn afterwards is kept in ``behind``.
    """

    def __init__(
        self,
        session_id: str,
        text: str,
        *,
        turn_id: str = "turn-1",
        operator: Operator = allow,
        answer: tuple[str, ...] | None = None,
        goes_on: bool = False,
    ) -> None:
        peer, sender = Peer("dm", "7"), Sender("7", name="Alice")
        self.request = TurnRequest(turn_id, 1, "assistant", "key", session_id, "chat", "main", peer, sender, text, text)
        self.goes_on = goes_on
        self.over = False
        self.events: list[TurnEvent] = []
        self.behind: list[object] = []
        self.requests: list[ToolRequest] = []
        self.questions: list[Question] = []
        self._operator = operator
        self._answer = answer
        self._changed = Wakeup()

    @property
    def shown(self) -> str:
        """The pieces of text that were shown while the turn ran."""
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    async def emit(self, event: TurnEvent) -> None:
        await trio.lowlevel.checkpoint()
        (self.behind if self.over else self.events).append(event)
        self._changed.notify()

    async def permission(self, request: ToolRequest) -> Decision:
        self.requests.append(request)
        self._changed.notify()
        return await self._operator(request)

    async def question(self, question: Question) -> tuple[str, ...] | None:
        await trio.lowlevel.checkpoint()
        self.questions.append(question)
        return self._answer

    async def withdraw(self, ref: str, *, why: str) -> None:
        await trio.lowlevel.checkpoint()

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        raise AssertionError("this turn has no attachments")

    async def wait_notice(self) -> None:
        """Returns once the user was told something meanwhile."""
        while not any(isinstance(event, Notice) for event in self.events):
            await self._changed.wait()

    async def wait_requests(self, count: int = 1) -> list[ToolRequest]:
        """Returns once so many permissions are asked for."""
        while len(self.requests) < count:
            await self._changed.wait()
        return self.requests
