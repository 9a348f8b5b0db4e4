"""The work of a turn, by the intent of its first message: ``/new`` begins a session, other messages go to the agent."""

from collections.abc import Sequence

import structlog

from gatewayd.hub.outbox.outbox import until_stored
from gatewayd.hub.turns.ends import RowEnds
from gatewayd.hub.turns.engine import ReplyEngine
from gatewayd.hub.turns.sessions import SessionMap
from gatewayd.hub.turns.turn import LiveTurn, Waiting
from gatewayd.model.message.intents import NewSession, QuestionPress


class TurnWork:
    """Runs a turn to its end, or until another agent takes its messages."""

    def __init__(self, engine: ReplyEngine, sessions: SessionMap, ends: RowEnds) -> None:
        self._engine = engine
        self._sessions = sessions
        self._ends = ends
        self._log = structlog.get_logger("gatewayd.turns")

    async def run(self, turn: LiveTurn) -> Sequence[Waiting]:
        """Returns the open messages that another agent is to take; usually none."""
        match turn.intent:
            case NewSession(text):
                return await self._begin_session(turn, text)
            case QuestionPress():
                turn.advance("ending")
                await self._ends.end(turn.rows, "dropped", "late_press")
                return ()
            case _:
                return await self._engine.run(turn)

    async def _begin_session(self, turn: LiveTurn, text: str) -> Sequence[Waiting]:
        """``/new``: a new session, once, also over a restart; then the turn of its text, if there is one."""
        [row], route = turn.rows, turn.route
        if not await until_stored(lambda: self._sessions.is_made_by(route, row.id)):
            why_not = await self._engine.new_session(route, made_by=row.id)
            if why_not is not None and turn.state == "moving":
                return turn.open_messages()
            if why_not is not None:
                self._log.warning("session_not_created", session_key=route.session_key, reason=why_not)
                turn.advance("ending")
                await self._ends.end([row], "dead", "agent_failed", text="Sorry, the agent could not open a new session.")
                return ()
        if text:
            return await self._engine.run(turn)
        turn.advance("ending")
        await self._ends.end([row], "done", "command", text="A new session has begun.")
        return ()
