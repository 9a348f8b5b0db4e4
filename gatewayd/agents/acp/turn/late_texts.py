"""Text without an open prompt: of a job in the background, or after the grace period. It is collected to messages."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import anyio
from msgspec import Raw

from gatewayd.actor.wakeup import Wakeup
from gatewayd.agents.acp.turn.reply_text import ReplyText
from gatewayd.agents.acp.wire import Malformed, text_chunk
from gatewayd.model.records.dead_letter import excerpt_of

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_SILENCE_SECONDS: Final = 1.0
_TEXT_MAX: Final = 100_000
_SESSIONS_MAX: Final = 100
_LAST_SECONDS: Final = 5.0

SendLateText = Callable[[str, str, float], Awaitable[None]]
"""The agent's session, the text, and when it began."""


class _Text:
    def __init__(self) -> None:
        self.said = ReplyText()
        self.began_at = self.heard_at = anyio.current_time()


class LateTexts:
    """A text is complete after a second of silence in its session, or when the session's next prompt begins."""

    def __init__(self, log: "FilteringBoundLogger") -> None:
        self._log = log
        self._texts: dict[str, _Text] = {}
        self._changed = Wakeup()
        self._send: SendLateText = self._log_only

    def take(self, agent_session: str, update: Raw) -> None:
        """An update for a session without an open prompt. Only text counts."""
        try:
            chunk = text_chunk(update)
        except Malformed as error:
            self._log.warning("acp_update_ignored", reason=str(error))
            return
        if chunk is None:
            return
        text = self._texts.get(agent_session)
        if (text is None and len(self._texts) >= _SESSIONS_MAX) or (text is not None and text.said.length > _TEXT_MAX):
            self._log.warning("acp_late_text_dropped", session=agent_session, text=excerpt_of(chunk.content.text))
            return
        text = text or self._texts.setdefault(agent_session, _Text())
        text.said.add(chunk)
        text.heard_at = anyio.current_time()
        self._changed.notify()

    async def run(self, say: SendLateText) -> None:
        """Give each complete text to ``say``, until cancelled; then the incomplete ones, within a few seconds."""
        self._send = say
        try:
            while True:
                with anyio.CancelScope(deadline=min((_due(text) for text in self._texts.values()), default=float("inf"))):
                    await self._changed.wait()
                    continue
                for agent_session in [each for each, text in self._texts.items() if _due(text) <= anyio.current_time()]:
                    await self.flush(agent_session)
        finally:
            with anyio.move_on_after(_LAST_SECONDS, shield=True):
                for agent_session in list(self._texts):
                    await self.flush(agent_session)

    async def flush(self, agent_session: str) -> None:
        """The text of the session is complete."""
        if (text := self._texts.pop(agent_session, None)) is not None and (words := text.said.finish()):
            await self._send(agent_session, words, text.began_at)

    async def _log_only(self, agent_session: str, words: str, began_at: float) -> None:
        self._log.warning("acp_late_text_dropped", session=agent_session, text=excerpt_of(words))


def _due(text: _Text) -> float:
    return text.heard_at + _SILENCE_SECONDS
