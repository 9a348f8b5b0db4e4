"""The histories of the sessions, each a value of the state: what a model without a memory is told again with every message.

A value is written once per turn, at its end, with the turn's id: a turn that is run again after a crash finds its reply or
nothing, and no message is in there twice.
"""

import math
from collections.abc import Sequence
from hashlib import sha256
from itertools import accumulate, takewhile
from typing import Final
from uuid import uuid4
from weakref import WeakValueDictionary

import anyio
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gatewayd.model.errors import AgentFailed
from gatewayd.ports import agent as port
from gatewayd.ports.store import State

_BYTES_PER_TOKEN: Final = 3
"""English text has about four bytes per token, Chinese about three: with three, the estimate is rather too high."""
_TOKENS_PER_MESSAGE: Final = 4
"""For the role, and the separators around the message."""


class Exchange(Struct, frozen=True):
    """One message of the user, and the reply to it. ``cut``: why the end of the reply is missing."""

    turn_id: str
    user: str
    assistant: str
    cut: str | None = None

    @property
    def tokens(self) -> int:
        """An estimate: each model has a tokenizer of its own."""
        return sum(math.ceil(len(text.encode()) / _BYTES_PER_TOKEN) + _TOKENS_PER_MESSAGE for text in (self.user, self.assistant))


class History(Struct, frozen=True):
    """A session's exchanges, the oldest first."""

    session_id: str
    exchanges: tuple[Exchange, ...] = ()

    def reply_of(self, turn_id: str) -> port.Final | None:
        """The reply of this turn, if it is (still) here."""
        return next((port.Final(each.assistant, each.cut) for each in self.exchanges if each.turn_id == turn_id), None)


def newest(exchanges: Sequence[Exchange], *, at_most_tokens: int) -> tuple[Exchange, ...]:
    """The longest end of the history that fits."""
    backwards = list(reversed(exchanges))
    sizes = accumulate(exchange.tokens for exchange in backwards)
    fitting = sum(1 for _ in takewhile(lambda size: size <= at_most_tokens, sizes))
    return tuple(reversed(backwards[:fitting]))


class Histories:
    """Each session key has one value: a new session of the same key takes the place of the old one's."""

    def __init__(self, state: State, *, at_most_tokens: int) -> None:
        self._state = state
        self._at_most_tokens = at_most_tokens
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    def new_session_id(self, session_key: str) -> str:
        """The part before the hyphen names the key. Hashed: the id may go to the model's server, and the key tells who."""
        return f"{sha256(session_key.encode()).hexdigest()[:32]}-{uuid4().hex}"

    async def load(self, session_id: str) -> History:
        """:raises AgentFailed: the value is not ours to read."""
        saved = await self._state.load(_key_of(session_id))
        if saved is None:
            return History(session_id)
        try:
            history = msgspec.json.decode(saved, type=History)
        except msgspec.MsgspecError:
            raise AgentFailed(
                "the stored history cannot be read; write /new in the chat to begin a new session, or restore the store"
            ) from None
        return history if history.session_id == session_id else History(session_id)

    async def add(self, session_id: str, last: Exchange, *, left_out: int = 0) -> None:
        """Add an exchange, and forget the oldest ones that were left out. The new one is kept whatever its length: it shows that
        the turn has ended."""
        async with self._lock(session_id):
            exchanges = (await self.load(session_id)).exchanges[left_out:]
            kept = newest(exchanges, at_most_tokens=self._at_most_tokens - last.tokens)
            await self._save(History(session_id, (*kept, last)))

    async def extend(self, session_id: str, turn_id: str, more: str) -> None:
        """Add late text to the reply of a turn. Does nothing if the session was replaced."""
        async with self._lock(session_id):
            history = await self.load(session_id)
            if history.reply_of(turn_id) is None:
                return
            exchanges = tuple(
                replace(exchange, assistant=exchange.assistant + more) if exchange.turn_id == turn_id else exchange
                for exchange in history.exchanges
            )
            await self._save(History(session_id, exchanges))

    async def _save(self, history: History) -> None:
        await self._state.save(_key_of(history.session_id), msgspec.json.encode(history).decode())

    def _lock(self, session_id: str) -> anyio.Lock:
        """For a read and a write without another write between them. Lives as long as a task holds it or waits for it."""
        return self._locks.setdefault(_key_of(session_id), anyio.Lock())


def _key_of(session_id: str) -> str:
    return f"conversation/{session_id.partition('-')[0]}"
