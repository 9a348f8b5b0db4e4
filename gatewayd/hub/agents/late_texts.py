"""Late texts: what an agent says in a session while no turn runs, for example about a job in the background."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

import anyio
import structlog

from gatewayd.hub.configured import Configured
from gatewayd.hub.events import EventLog
from gatewayd.hub.outbox.drafts import draft_texts
from gatewayd.hub.outbox.outbox import Outbox, until_stored
from gatewayd.kit.text import sanitise
from gatewayd.model.records.dead_letter import excerpt_of
from gatewayd.ports.store import Sessions

_TEXT_MAX = 100_000
_PER_MINUTE = 10
_SESSIONS = 1_000


class LateTexts:
    """Writes each late text to the outbox, for the chat in which the last turn of its session answered. ``wait_reply_committed``
    returns when the reply of that turn is committed, if it is ending."""

    def __init__(
        self,
        sessions: Sessions,
        outbox: Outbox,
        events: EventLog,
        configured: Configured,
        *,
        wait_reply_committed: Callable[[str], Awaitable[None]],
    ) -> None:
        self._sessions = sessions
        self._outbox = outbox
        self._events = events
        self._configured = configured
        self._wait_reply_committed = wait_reply_committed
        self._recent: OrderedDict[tuple[str, str], list[float]] = OrderedDict()
        self._log = structlog.get_logger("gatewayd.turns")

    async def say(self, agent_id: str, session_id: str, text: str) -> None:
        """See ``ports.agent.AgentServices.say_later``."""
        why_not: str | None = "the agent was closed before it was stored"
        try:
            why_not = await self._say(agent_id, session_id, sanitise(text))
        except Exception as error:  # whatever a core gives us as a text: nothing that it says may end it
            why_not = f"it cannot be written: {type(error).__name__}"
        finally:
            if why_not is not None:
                # The text is only in the log.
                words = excerpt_of(sanitise(str(text)))
                self._log.warning("late_text_not_shown", agent=agent_id, session=session_id, reason=why_not, text=words)
                self._events.emit("agent.late_text", agent=agent_id, shown=False, reason=why_not)

    async def _say(self, agent_id: str, session_id: str, text: str) -> str | None:
        """Why it is not shown, or None when it is committed."""
        found = await until_stored(lambda: self._sessions.find_session(agent_id, session_id))
        if found is None:
            return "the session was replaced, or is unknown"
        session, turn_id = found
        where = session.conversation
        if where is None:
            return "the session has not answered in any chat yet"
        channel, account = where.account.channel, where.account.name
        if (channel, account) not in self._configured.accounts:
            return "the account of its conversation is not configured any more"
        if not self._admits((agent_id, session_id)):
            return f"the agent has sent {_PER_MINUTE} late texts in this session within a minute"
        await self._wait_reply_committed(session.session_key)
        plugin = self._configured.plugin_for(channel, account, where.peer)
        drafts = draft_texts(channel, account, where.peer, _bounded(text), plugin, turn_id=turn_id)
        for row in (await until_stored(lambda: self._outbox.write(drafts)))[:1]:
            about = {"agent": agent_id, "session_key": session.session_key, "turn_id": turn_id, "id": row.id}
            self._log.info("late_text_queued", **about)
            self._events.emit("agent.late_text", shown=True, reason=None, **about)
        return None

    def _admits(self, session: tuple[str, str]) -> bool:
        now = anyio.current_time()
        recent = self._recent[session] = [at for at in self._recent.pop(session, ()) if now - at < 60]
        if len(self._recent) > _SESSIONS:
            self._recent.popitem(last=False)
        if len(recent) >= _PER_MINUTE:
            return False
        recent.append(now)
        return True


def _bounded(text: str) -> str:
    more = len(text) - _TEXT_MAX
    return text if more <= 0 else f"{text[:_TEXT_MAX]} … ({more} more characters)"
