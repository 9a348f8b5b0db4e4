"""The work of a turn, by the intent of its first message: ``/new`` begins a session, other messages go to the agent."""

from collections.abc import Sequence
from typing import Final

import structlog

from gatewayd.hub.inbox.backlog import Backlog
from gatewayd.hub.outbox.outbox import Outbox, until_stored
from gatewayd.hub.turns.engine import ReplyEngine
from gatewayd.hub.turns.sessions import SessionMap
from gatewayd.hub.turns.turn import LiveTurn, WaitingMessage
from gatewayd.model.lifecycle import DroppedReason
from gatewayd.model.message.intents import NewSession, QuestionPress
from gatewayd.ports.store import InboundRow

SORRY_NO_SESSION: Final = "Sorry, the agent could not open a new session."


class TurnWork:
    """Runs a turn to its end, or until another agent takes its messages; and drops messages without a turn."""

    def __init__(self, engine: ReplyEngine, sessions: SessionMap, outbox: Outbox, backlog: Backlog) -> None:
        self._engine = engine
        self._sessions = sessions
        self._outbox = outbox
        self._backlog = backlog
        self._log = structlog.get_logger("gatewayd.turns")

    async def run(self, turn: LiveTurn) -> Sequence[WaitingMessage]:
        """Returns the open messages that another agent is to take; usually none."""
        match turn.intent:
            case NewSession(text):
                return await self._begin_session(turn, text)
            case QuestionPress():
                turn.advance("ending")
                await self._outbox.end_inbound(turn.rows, "dropped", "late_press")
                return ()
            case _:
                return await self._engine.run(turn)

    async def _begin_session(self, turn: LiveTurn, text: str) -> Sequence[WaitingMessage]:
        """``/new``: a new session, once, also over a restart; then the turn of its text, if there is one."""
        [row], route = turn.rows, turn.route
        if not await until_stored(lambda: self._sessions.is_made_by(route, row.id)):
            why_not = await self._engine.new_session(route, made_by=row.id)
            if why_not is not None and turn.state == "moving":
                return turn.open_messages()
            if why_not is not None:
                self._log.warning("session_not_created", session_key=route.session_key, reason=why_not)
                turn.advance("ending")
                await self._outbox.end_inbound([row], "dead", "agent_failed", text=SORRY_NO_SESSION)
                return ()
        if text:
            return await self._engine.run(turn)
        turn.advance("ending")
        await self._outbox.end_inbound([row], "done", "command", text="A new session has begun.")
        return ()

    async def drop(self, rows: Sequence[InboundRow], reason: DroppedReason) -> None:
        """Drop rows that wait in the backlog."""
        self._backlog.dequeue(rows)
        await self._outbox.end_inbound(rows, "dropped", reason)
        self._backlog.complete(rows)

    async def note_left_over(self, session_key: str, turn_id: str) -> None:
        """A turn that was begun in this session goes on in another one. The next turn of the session stops it first."""
        await until_stored(lambda: self._sessions.note_left_over(session_key, turn_id))

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
