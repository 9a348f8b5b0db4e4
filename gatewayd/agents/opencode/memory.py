"""What a core remembers over its own end: for each session the last turn, and what was there before it."""

import msgspec
from msgspec import Struct

from gatewayd.ports.memos import Memos


class TurnMemo(Struct, frozen=True):
    """``mark``: what the server had stored in the session before the prompt was sent (see ``Dialect.mark``)."""

    turn_id: str
    mark: str


class Memory:
    """One memo per session, written over by each turn; and one per session key, so that the memo of a session that was given
    up goes with it. Raises as ``Memos`` does."""

    def __init__(self, memos: Memos) -> None:
        self._memos = memos

    async def last_turn(self, session_id: str) -> TurnMemo | None:
        value = await self._memos.load(_turn_key(session_id))
        return None if value is None else msgspec.json.decode(value, type=TurnMemo)

    async def note_turn(self, session_id: str, memo: TurnMemo) -> None:
        await self._memos.save(_turn_key(session_id), msgspec.json.encode(memo).decode())

    async def note_session(self, session_key: str, session_id: str) -> None:
        """The key has a new session: what is known of its old one is not needed any more."""
        key = f"session:{session_key}"
        old = await self._memos.load(key)
        await self._memos.save(key, session_id)
        if old is not None and old != session_id:
            await self._memos.forget(_turn_key(old))


def _turn_key(session_id: str) -> str:
    return f"turn:{session_id}"
