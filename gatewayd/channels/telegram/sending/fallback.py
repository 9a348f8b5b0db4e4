"""When Telegram rejects a part of a message other than its words, the message is sent again without that part.

Each part is left out once.
"""

from collections.abc import Awaitable, Callable
from typing import Literal

from msgspec import Raw, Struct
from structlog.typing import FilteringBoundLogger

from gatewayd.channels.telegram.errors import ApiError, Fallback, fallback_of
from gatewayd.channels.telegram.sending.outbound import NOTHING
from gatewayd.model.message.payload import EditText, SendText

LostTopic = Literal["general", "dead"]

_MOST_TOPICS = 1000

Attempt = Callable[[str, Struct], Awaitable[Raw | ApiError]]
Make = Callable[[frozenset[Fallback]], Struct]


class FallbackWriter:
    """Sends, and falls back. It remembers the topics that were gone for the first part of a reply, for the other parts."""

    def __init__(self, attempt: Attempt, log: FilteringBoundLogger, *, on_lost_topic: LostTopic) -> None:
        self._attempt = attempt
        self._log = log
        self._on_lost_topic = on_lost_topic
        self._lost_topics: set[tuple[str, str]] = set()

    async def write(self, method: str, payload: SendText | EditText, make: Make) -> Raw | ApiError:
        """The answer to ``method`` with the parameters of ``make(without)``, or the error that no fallback avoids."""
        without = self._without(payload)
        while True:
            params = make(without)
            result = await self._attempt(method, params)
            fallback = self._fallback(result, payload, without)
            if fallback is None or fallback in without or make(without | {fallback}) == params:
                return result
            assert isinstance(result, ApiError)
            self._log.warning("telegram_sent_with_fallback", without=fallback, reason=result.description)
            without |= {fallback}
            self._note(fallback, payload)

    def _fallback(self, result: Raw | ApiError, payload: SendText | EditText, without: frozenset[Fallback]) -> Fallback | None:
        fallback = fallback_of(result) if isinstance(result, ApiError) else None
        if fallback == "buttons":
            return fallback if payload.instead else None  # else nobody would know how to answer
        if fallback != "topic":
            return fallback
        if "topic" in without:
            return "reply"  # what is answered is in that topic, and so is the answer
        return "topic" if payload.peer.kind == "dm" or self._on_lost_topic == "general" else None

    def _without(self, payload: SendText | EditText) -> frozenset[Fallback]:
        topic = _topic_of(payload)
        if topic not in self._lost_topics:
            return NOTHING
        if isinstance(payload, SendText) and payload.part > 1:
            return frozenset({"topic"})
        self._lost_topics.discard(topic)  # it may have been opened again
        return NOTHING

    def _note(self, fallback: Fallback, payload: SendText | EditText) -> None:
        if fallback == "topic":
            if len(self._lost_topics) >= _MOST_TOPICS:
                self._lost_topics.clear()
            self._lost_topics.add(_topic_of(payload))


def _topic_of(payload: SendText | EditText) -> tuple[str, str]:
    return payload.peer.id, payload.peer.thread or ""
