"""The state that a core keeps over a restart: for each session the last turn, and the mark from before it."""

import msgspec
from msgspec import Struct

from gatewayd.ports.store import State


class LastTurn(Struct, frozen=True):
    """``mark``: what the server had stored in the session before the prompt was sent (see ``Dialect.mark``)."""

    turn_id: str
    mark: str


class Memory:
    """Keeps the last turn of each session, and the session of each session key: with an old session its last turn is deleted.

    Raises as ``State`` does.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    async def last_turn(self, session_id: str) -> LastTurn | None:
        value = await self._state.load(_turn_key(session_id))
        return None if value is None else msgspec.json.decode(value, type=LastTurn)

    async def note_turn(self, session_id: str, last: LastTurn) -> None:
        await self._state.save(_turn_key(session_id), msgspec.json.encode(last).decode())

    async def note_session(self, session_key: str, session_id: str) -> None:
        """The key has a new session: the state of its old one is deleted."""
        key = f"session:{session_key}"
        old = await self._state.load(key)
        await self._state.save(key, session_id)
        if old is not None and old != session_id:
            await self._state.forget(_turn_key(old))


def _turn_key(session_id: str) -> str:
    return f"turn:{session_id}"
