"""A message that is refused for what it has besides its words is sent once more without it, for each such cause once."""

from collections.abc import Awaitable, Callable
from typing import Literal

from msgspec import Raw, Struct
from structlog.typing import FilteringBoundLogger

from gatewayd.channels.telegram.errors import Mend, Refusal, mend_of
from gatewayd.channels.telegram.outbound import NOTHING
from gatewayd.model.message.payload import EditText, SendText

LostTopic = Literal["general", "dead"]

_MOST_TOPICS = 1000

Attempt = Callable[[str, Struct], Awaitable[Raw | Refusal]]
Make = Callable[[frozenset[Mend]], Struct]


class Mender:
    """Knows which topics were gone when the first part of a reply was sent: the other parts do not ask again."""

    def __init__(self, attempt: Attempt, log: FilteringBoundLogger, *, on_lost_topic: LostTopic) -> None:
        self._attempt = attempt
        self._log = log
        self._on_lost_topic = on_lost_topic
        self._lost_topics: set[tuple[str, str]] = set()

    async def write(self, method: str, payload: SendText | EditText, make: Make) -> Raw | Refusal:
        """The answer to ``method`` with the parameters of ``make(without)``; a refusal that nothing mends."""
        without = self._without(payload)
        while True:
            params = make(without)
            result = await self._attempt(method, params)
            mend = self._mend(result, payload, without)
            if mend is None or mend in without or make(without | {mend}) == params:
                return result
            assert isinstance(result, Refusal)
            self._log.warning("telegram.sent_plainer", without=mend, reason=result.description)
            without |= {mend}
            self._note(mend, payload)

    def _mend(self, result: Raw | Refusal, payload: SendText | EditText, without: frozenset[Mend]) -> Mend | None:
        mend = mend_of(result) if isinstance(result, Refusal) else None
        if mend == "buttons":
            return mend if payload.instead else None  # else nobody would know how to answer
        if mend != "topic":
            return mend
        if "topic" in without:
            return "reply"  # what is answered is in that topic, and so is the answer
        return "topic" if payload.peer.kind == "dm" or self._on_lost_topic == "general" else None

    def _without(self, payload: SendText | EditText) -> frozenset[Mend]:
        topic = _topic_of(payload)
        if topic not in self._lost_topics:
            return NOTHING
        if isinstance(payload, SendText) and payload.part > 1:
            return frozenset({"topic"})
        self._lost_topics.discard(topic)  # it may have been opened again
        return NOTHING

    def _note(self, mend: Mend, payload: SendText | EditText) -> None:
        if mend == "topic":
            if len(self._lost_topics) >= _MOST_TOPICS:
                self._lost_topics.clear()
            self._lost_topics.add(_topic_of(payload))


def _topic_of(payload: SendText | EditText) -> tuple[str, str]:
    return payload.peer.id, payload.peer.thread or ""
