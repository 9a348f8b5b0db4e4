"""The end of rows that no agent answers: commands, dropped messages, messages of removed accounts."""

from collections.abc import Sequence

from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.inbox.backlog import Backlog
from gatewayd.hub.outbox.outbox import Outbox, draft_replies, until_stored
from gatewayd.hub.turns.engine import ReplyEngine
from gatewayd.hub.turns.sessions import SessionMap
from gatewayd.model.lifecycle import DroppedReason, EndState, InboundReason
from gatewayd.ports.store import InboundRow


class RowEnds:
    """Ends rows in the store, each with an event."""

    def __init__(
        self,
        context: Context,
        configured: Configured,
        engine: ReplyEngine,
        outbox: Outbox,
        sessions: SessionMap,
        backlog: Backlog,
    ) -> None:
        self._events = context.events
        self._configured = configured
        self._engine = engine
        self._outbox = outbox
        self._sessions = sessions
        self._backlog = backlog

    async def end(self, rows: Sequence[InboundRow], state: EndState, reason: InboundReason, *, text: str = "") -> None:
        """End rows of one chat in one commit, with ``text`` as the reply if there is one."""
        envelope = rows[0].envelope
        replies = draft_replies(envelope, text, self._configured.plugins[envelope.channel]) if text else []
        await until_stored(lambda: self._outbox.end_inbound(rows, state=state, reason=reason, replies=replies))
        for row in rows:
            self._events.emit(f"inbound.{state}", id=row.id, reason=reason)

    async def drop(self, rows: Sequence[InboundRow], reason: DroppedReason) -> None:
        """Drop rows that wait in the backlog."""
        self._backlog.dequeue(rows)
        await self.end(rows, "dropped", reason)
        self._backlog.complete(rows)

    async def drop_removed(self, turn_id: str | None, rows: Sequence[InboundRow]) -> None:
        """Drop rows of an account that is not configured any more. If a turn has begun with them in an earlier life, stop it at
        its agent."""
        if turn_id is not None:
            await self._engine.withdraw(turn_id, why="its account is not configured any more")
            # The session in which the turn began: the bindings may name another one now.
            session_key = rows[0].session_key
            session = None if session_key is None else await until_stored(lambda: self._sessions.find(session_key))
            if session is not None:
                await self._engine.stop_left_over(turn_id, session.session_key, session.agent_id)
        await self.drop(rows, "account_removed")
