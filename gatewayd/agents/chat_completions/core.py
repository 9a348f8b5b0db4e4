"""The core: one request per turn, its answer streamed. Cancelling closes the connection, at which servers stop generating.

Nothing but the model's time is lost when a turn is run twice; except with ``session_header``, where the server keeps the
conversation and may have tools of its own.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

import anyio
import httpx2
import msgspec

from gatewayd.agents.chat_completions.history import Conversation, Exchange, Histories, newest
from gatewayd.agents.chat_completions.settings import ChatCompletionsSettings
from gatewayd.agents.chat_completions.wire import EVENT_BYTES, WHAT, ChatRequest, Message, StreamedAnswer, refusal
from gatewayd.kit.http import AnswerTooLarge, open_stream, read_body, retry_after_seconds
from gatewayd.kit.sse import EventStream, EventTooLarge
from gatewayd.model.errors import AgentFailed, GatewayError, OutcomeUnknown, TryAgain
from gatewayd.ports.agent import AgentConfig, AgentCore, AgentKit, CoreFacts, Final, TextDelta, Turn, TurnState

_AFTER_END_SECONDS = 2.0
"""A whole answer does not wait longer for its stream to end; when it ends, the connection can be used again."""
_REFUSAL_BYTES = 65_536
_TEXT_EVENTS = ("message", "error")


class ChatCompletionsCore:
    def __init__(self, settings: ChatCompletionsSettings, kit: AgentKit) -> None:
        self._settings = settings
        self._http = kit.http
        self._remembers = settings.session_header is None
        self._histories = Histories(kit.memos, at_most_tokens=settings.max_history_tokens if self._remembers else 0)

    async def new_session(self, session_key: str) -> str:
        return self._histories.new_session_id(session_key)

    async def turn_state(self, session_id: str, turn_id: str) -> TurnState:
        if (await self._histories.load(session_id)).reply_of(turn_id) is not None:
            return "ended"
        return "new" if self._remembers else "lost"

    async def resume(self, turn: Turn) -> Final:
        return await self.run(turn)

    async def run(self, turn: Turn) -> Final:
        request = turn.request
        conversation = await self._histories.load(request.session_id)
        reply = conversation.reply_of(request.turn_id)
        if reply is None:
            reply = await self._complete(turn, conversation)
            await self._histories.save(conversation, Exchange(request.turn_id, request.prompt, reply))
        return Final(reply)

    def facts(self) -> CoreFacts:
        return CoreFacts(url=self._settings.url)

    async def _complete(self, turn: Turn, conversation: Conversation) -> str:
        answer = StreamedAnswer()
        try:
            await self._stream(turn, conversation, answer)
        except (TryAgain, OutcomeUnknown) as error:
            if not answer.complete:
                raise self._after(error, answer) from None
        except EventTooLarge as error:
            raise AgentFailed(f"{WHAT}: {error.reason}") from None
        return answer.text()

    def _after(self, error: TryAgain | OutcomeUnknown, answer: StreamedAnswer) -> GatewayError:
        if answer.begun:
            return AgentFailed(f"{error.reason}, in the middle of the answer")
        return AgentFailed(error.reason) if isinstance(error, OutcomeUnknown) else error

    async def _stream(self, turn: Turn, conversation: Conversation, answer: StreamedAnswer) -> None:
        """:raises TryAgain: the server is out of reach or breaks off, and asking again does no harm.
        :raises OutcomeUnknown: the same where it may do harm. :raises AgentFailed, NeedsOperator: refused."""
        settings = self._settings
        with anyio.move_on_after(settings.first_token_seconds) as patience:
            async with open_stream(
                self._http,
                "POST",
                settings.endpoint,
                what=WHAT,
                repeatable=self._remembers,
                content=msgspec.json.encode(self._request(turn.request.prompt, conversation)),
                headers=self._headers(turn.request.session_id),
            ) as response:
                await self._check(response)
                async with aclosing(EventStream(response, at_most_bytes=EVENT_BYTES)) as events:
                    async for event in events:
                        if event.event in _TEXT_EVENTS and (piece := answer.take(event.data)):
                            await turn.emit(TextDelta(piece))
                        patience.deadline = self._deadline(patience.deadline, answer)
        if patience.cancelled_caught:
            reason = f"{WHAT} fell silent"
            raise TryAgain(reason) if self._remembers else OutcomeUnknown(reason)

    def _deadline(self, old: float, answer: StreamedAnswer) -> float:
        if answer.complete:
            return min(old, anyio.current_time() + _AFTER_END_SECONDS)
        # A server may say at once that it is going to say something.
        return anyio.current_time() + self._settings.between_tokens_seconds if answer.begun else old

    def _request(self, prompt: str, conversation: Conversation) -> ChatRequest:
        settings = self._settings
        messages = [Message("system", settings.system_prompt)] if settings.system_prompt else []
        if self._remembers:
            for exchange in newest(conversation.exchanges, at_most_tokens=settings.max_history_tokens):
                if exchange.assistant.strip():  # many servers refuse an empty message, and two of the user's in a row
                    messages += [Message("user", exchange.user), Message("assistant", exchange.assistant)]
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

    async def _check(self, response: httpx2.Response) -> None:
        if response.status_code != 200:
            body = b""
            with suppress(AnswerTooLarge, httpx2.RequestError):  # the status says enough
                body = await read_body(response, what=WHAT, at_most_bytes=_REFUSAL_BYTES)
            after = retry_after_seconds(response)
            raise refusal(response.status_code, body, after_seconds=after, repeatable=self._remembers)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "text/event-stream":
            raise AgentFailed(f"{WHAT} does not stream an answer but sends {kind[:100] or 'something'}: is url its API's base?")


@asynccontextmanager
async def open_chat_completions(agent: AgentConfig, kit: AgentKit) -> AsyncIterator[AgentCore]:
    """Connects to nothing yet: whether the server is there is found out by the first turn, and by each one anew."""
    assert isinstance(agent.settings, ChatCompletionsSettings)
    yield ChatCompletionsCore(agent.settings, kit)
