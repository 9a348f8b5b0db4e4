"""The socket for the session map: which of an agent's own sessions belongs to a session key. A part of ports/store.py."""

from typing import Protocol

from msgspec import Struct

from gatewayd.model.envelope import Peer


class Conversation(Struct, frozen=True):
    """A chat, as what is written to it needs it."""

    channel: str
    account: str
    peer: Peer


class SessionRow(Struct, frozen=True):
    """``session_id`` is the agent core's own id, ``core`` the kind of that core, None where an older release did not note it;
    ``generation`` grows with every new session. ``left_over`` is a turn that has ended for us and may still run at its agent;
    ``made_by`` the ``/new`` that began it, the number of its message; ``conversation`` is where its last turn answered."""

    session_key: str
    agent_id: str
    session_id: str
    generation: int
    created_at: float
    last_used_at: float
    core: str | None = None
    left_over: str | None = None
    made_by: int | None = None
    conversation: Conversation | None = None


class Sessions(Protocol):
    async def get_session(self, session_key: str) -> SessionRow | None: ...

    async def put_session(self, row: SessionRow) -> None: ...

    async def find_session(self, agent_id: str, session_id: str) -> tuple[SessionRow, str | None] | None:
        """The row whose session is this one now, and the newest turn under its key that is still kept. None: it was replaced,
        or there never was one."""

    async def list_sessions(self, *, limit: int) -> list[SessionRow]:
        """The last used first."""
