"""The core: one request per turn, with a streamed answer. Cancelling closes the connection, and the server stops generating.

To run a turn twice costs only the model's time; except with ``session_header``, where the server keeps the conversation and may
have tools of its own.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import msgspec

from gatewayd.agents.chat_completions.errors import ContextFull
from gatewayd.agents.chat_completions.history import Exchange, Histories, newest
from gatewayd.agents.chat_completions.reader import BROKEN_OFF, AnswerReader, CompletionRequest
from gatewayd.agents.chat_completions.settings import ChatCompletionsSettings
from gatewayd.agents.chat_completions.wire import ChatRequest, Message
from gatewayd.ports.agent import AgentConfig, AgentCore, AgentServices, CoreFacts, CoreTurnState, Final, TextDelta, Turn

LISTENED_TO = 64
"""So many answers are read on after their end at once, each on a connection of its own; one more ends the oldest."""
_SHORTER = 4
"""So often a conversation that is too long is halved. Then none of it is sent."""


class ChatCompletionsCore:
    """Answers are read in ``tasks``, which outlive the turns."""

    def __init__(self, settings: ChatCompletionsSettings, services: AgentServices, tasks: anyio.abc.TaskGroup) -> None:
        self._settings = settings
        self._services = services
        self._tasks = tasks
        self._remembers = settings.session_header is None
        self._histories = Histories(services.state, at_most_tokens=settings.max_history_tokens if self._remembers else 0)
        self._listened_to: dict[AnswerReader, None] = {}

    async def new_session(self, session_key: str) -> str:
        return self._histories.new_session_id(session_key)

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        if (await self._histories.load(session_id)).reply_of(turn_id) is not None:
            return "ended"
        return "new" if self._remembers else "lost"

    async def resume(self, turn: Turn) -> Final:
        return await self.run(turn)

    async def run(self, turn: Turn) -> Final:
        request = turn.request
        history = await self._histories.load(request.session_id)
        reply = history.reply_of(request.turn_id)
        return await self._complete(turn, history.exchanges) if reply is None else reply

    def facts(self) -> CoreFacts:
        return CoreFacts(url=self._settings.url)

    async def _complete(self, turn: Turn, exchanges: Sequence[Exchange]) -> Final:
        """Send the request; with less of the conversation each time the model says that it is too long. What was left out is
        forgotten.

        :raises ContextFull: it is too long without any of it. Else as ``AnswerReader.wait``.
        """
        sent = newest(exchanges, at_most_tokens=self._settings.max_history_tokens) if self._remembers else ()
        for length in _lengths(len(sent)):
            try:
                return await self._ask(
                    turn, sent[len(sent) - length :], left_out=len(exchanges) - length if length < len(sent) else 0
                )
            except ContextFull as error:
                full = error
                self._services.log.warning("chat_completions_conversation_too_long", exchanges=length, reason=error.reason)
        raise full

    async def _ask(self, turn: Turn, exchanges: Sequence[Exchange], *, left_out: int) -> Final:
        request, settings = turn.request, self._settings

        async def show(piece: str) -> None:
            await turn.emit(TextDelta(piece))

        async def say_late(text: str) -> None:
            await self._histories.extend(request.session_id, request.turn_id, text)
            await self._services.say_later(request.session_id, text)

        call = CompletionRequest(
            settings.endpoint,
            self._headers(request.session_id),
            msgspec.json.encode(self._request(request.prompt, exchanges)),
            self._remembers,
            settings.first_token_seconds,
            settings.between_tokens_seconds,
        )
        reader = AnswerReader(call, show=show, say_late=say_late)
        self._tasks.start_soon(self._read, reader, name=f"answer for {request.turn_id}")
        try:
            reply = await reader.wait()
            last = Exchange(request.turn_id, request.prompt, reply.text, reply.cut)
            await self._histories.add(request.session_id, last, left_out=left_out)
        except BaseException:  # also a cancellation: without a reply no late text is wanted
            reader.give_up()
            raise
        self._listen_on(reader)
        return reply

    async def _read(self, reader: AnswerReader) -> None:
        try:
            await reader.run(self._services.http)
        finally:
            self._listened_to.pop(reader, None)

    def _listen_on(self, reader: AnswerReader) -> None:
        if reader.stream_is_open:
            self._listened_to[reader] = None
            self._tasks.start_soon(reader.listen_on, name="late text of an answer")
        if len(self._listened_to) > LISTENED_TO:
            next(iter(self._listened_to)).stop_listening()

    def _request(self, prompt: str, exchanges: Sequence[Exchange]) -> ChatRequest:
        settings = self._settings
        messages = [Message("system", settings.system_prompt)] if settings.system_prompt else []
        for exchange in exchanges:
            if exchange.assistant.strip():  # many servers refuse an empty message, and two of the user's in a row
                said = exchange.assistant if exchange.cut is None else f"{exchange.assistant}\n\n{BROKEN_OFF}"
                messages += [Message("user", exchange.user), Message("assistant", said)]
        limit = settings.max_reply_tokens
        return ChatRequest(
            settings.model,
            (*messages, Message("user", prompt)),
            stream=True,
            max_tokens=limit if settings.reply_limit_key == "max_tokens" else None,
            max_completion_tokens=limit if settings.reply_limit_key == "max_completion_tokens" else None,
            temperature=settings.temperature,
        )

    def _headers(self, session_id: str) -> dict[str, str]:
        settings = self._settings
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        if settings.api_key is not None:
            headers["authorization"] = f"Bearer {settings.api_key.reveal()}"
        if settings.session_header is not None:
            headers[settings.session_header] = session_id
        return headers


def _lengths(length: int) -> tuple[int, ...]:
    """The numbers of exchanges to try, one after the other: all, half as many each time, none."""
    return tuple(dict.fromkeys((*(length >> half for half in range(_SHORTER)), 0)))


@asynccontextmanager
async def open_chat_completions(agent: AgentConfig, services: AgentServices) -> AsyncIterator[AgentCore]:
    """Connects to nothing: each turn finds out by itself whether the server is there."""
    assert isinstance(agent.settings, ChatCompletionsSettings)
    async with anyio.create_task_group() as tasks:
        yield ChatCompletionsCore(agent.settings, services, tasks)
        tasks.cancel_scope.cancel()
