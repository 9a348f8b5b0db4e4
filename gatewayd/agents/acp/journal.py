"""The outcome of the last turn of each session, kept over restarts.

ACP has no request for it, and a run of the agent ends with gatewayd, because its input ends.
"""

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from gatewayd.model.errors import StoreRefused
from gatewayd.ports.agent import CoreTurnState, Final
from gatewayd.ports.store import State

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


class SessionState(Struct, frozen=True, omit_defaults=True):
    """``turn_id`` is the last turn that began; ``text`` is what it ended with, ``cut`` why its end may be missing.
    ``agent_session``: the agent's session, when it is not the one the session was made with."""

    turn_id: str | None = None
    ended: bool = False
    text: str = ""
    agent_session: str | None = None
    cut: str | None = None


class Journal:
    """One state per session. It is written before a prompt is sent, and again before its reply is given to the hub."""

    def __init__(self, state: State, log: "FilteringBoundLogger") -> None:
        self._state = state
        self._log = log

    async def load(self, session_id: str) -> SessionState:
        """:raises StoreRefused:"""
        text = await self._state.load(_key(session_id))
        return SessionState() if text is None else msgspec.json.decode(text, type=SessionState)

    async def begin(self, session_id: str, turn_id: str, agent_session: str | None) -> None:
        """The prompt is about to be sent. :raises StoreRefused:"""
        await self._save(session_id, SessionState(turn_id, agent_session=agent_session))

    async def never_begun(self, session_id: str, before: SessionState) -> None:
        """The prompt surely did not reach the agent: the state is as it was before."""
        await self._quietly(session_id, before)

    async def end(self, session_id: str, turn_id: str, final: Final, agent_session: str | None) -> None:
        """The agent has answered. An error of the store is only logged: it must not cost the answer, which only a crash now
        would."""
        await self._quietly(session_id, SessionState(turn_id, True, final.text, agent_session, final.cut))

    async def state(self, session_id: str, turn_id: str) -> CoreTurnState:
        """:raises StoreRefused:"""
        saved = await self.load(session_id)
        if saved.turn_id != turn_id:
            return "new"
        return "ended" if saved.ended else "lost"

    async def final(self, session_id: str, turn_id: str) -> Final | None:
        """The reply of the turn, if it has ended. :raises StoreRefused:"""
        saved = await self.load(session_id)
        return Final(saved.text, saved.cut) if saved.turn_id == turn_id and saved.ended else None

    async def _quietly(self, session_id: str, saved: SessionState) -> None:
        try:
            await self._save(session_id, saved)
        except StoreRefused as error:
            self._log.error("acp_state_not_written", session=session_id, reason=error.reason)

    async def _save(self, session_id: str, saved: SessionState) -> None:
        await self._state.save(_key(session_id), msgspec.json.encode(saved).decode())


def _key(session_id: str) -> str:
    return f"session/{session_id}"
