"""The session map: from a session key to the session of the agent core, kept across restarts."""

from collections import OrderedDict
from collections.abc import Callable

import structlog
from msgspec.structs import replace

from gatewayd.model.errors import AgentFailed
from gatewayd.model.ids import ConversationId
from gatewayd.model.message.route import Route
from gatewayd.model.records.storable import why_unusable
from gatewayd.ports.agent import AgentCore
from gatewayd.ports.store import SessionRow, Sessions

_CACHED = 10_000
# last_used_at is only for people to read; a commit for each turn would be too much.
_TOUCH_SECONDS = 60.0


class SessionMap:
    """One row per session key. A key gets a new session by ``reset``, or when its agent changes, or the kind of that agent's
    core: the new one does not know the old session. ``kind_of`` gives the kind of an agent's core, None before it was open."""

    def __init__(self, store: Sessions, *, kind_of: Callable[[str], str | None], now: Callable[[], float]) -> None:
        self._store = store
        self._kind_of = kind_of
        self._now = now
        self._cache: OrderedDict[str, SessionRow] = OrderedDict()
        self._log = structlog.get_logger("gatewayd.turns")

    async def resolve(self, route: Route, core: AgentCore, conversation: ConversationId | None = None) -> SessionRow:
        """The session of a route, for a turn that answers in ``conversation``; the first message creates it. For each key, one
        lane at a time calls this."""
        # Before the first await: ``core`` is the one of this moment.
        now, kind = self._now(), self._kind_of(route.agent_id)
        row = self._cache.get(route.session_key) or await self._store.get_session(route.session_key)
        if row is None or row.agent_id != route.agent_id:
            return await self._make(route, core, kind, row, conversation)
        if None not in (row.core, kind) and row.core != kind:
            self._log.warning("session_core_changed", session_key=route.session_key, was=row.core, core=kind)
            return await self._make(route, core, kind, row, conversation)
        used = replace(row, core=row.core or kind, conversation=conversation or row.conversation)
        if now - row.last_used_at > _TOUCH_SECONDS or used != row:
            row = replace(used, last_used_at=now)
            await self._store.put_session(row)
        self._remember(row)
        return row

    async def is_made_by(self, route: Route, inbound_id: int) -> bool:
        """Whether the key's session was created by this ``/new``, perhaps before a crash."""
        row = await self.find(route.session_key)
        return row is not None and (row.agent_id, row.made_by) == (route.agent_id, inbound_id)

    async def reset(self, route: Route, core: AgentCore, *, made_by: int | None = None) -> SessionRow:
        """Give the key a new, empty session, because of the ``/new`` with this id."""
        kind = self._kind_of(route.agent_id)
        row = self._cache.get(route.session_key) or await self._store.get_session(route.session_key)
        return await self._make(route, core, kind, row, None, made_by)

    async def find(self, session_key: str) -> SessionRow | None:
        """The session of a key, if it has one."""
        return self._cache.get(session_key) or await self._store.get_session(session_key)

    async def note_left_over(self, session_key: str, turn_id: str | None) -> None:
        """Remember a turn that may still run at its agent although it has ended here; None: it does not run any more. A key
        without a session is not changed."""
        row = await self.find(session_key)
        if row is not None and row.left_over != turn_id:
            row = replace(row, left_over=turn_id)
            await self._store.put_session(row)
            self._remember(row)

    async def _make(
        self,
        route: Route,
        core: AgentCore,
        kind: str | None,
        before: SessionRow | None,
        conversation: ConversationId | None,
        made_by: int | None = None,
    ) -> SessionRow:
        session_id = await core.new_session(route.session_key)
        if (why := why_unusable(session_id)) is not None:
            raise AgentFailed(f"the id of its new session {why}")
        now = self._now()
        generation = 1 if before is None else before.generation + 1
        row = SessionRow(route.session_key, route.agent_id, session_id, generation, now, now, kind, None, made_by, conversation)
        await self._store.put_session(row)
        self._remember(row)
        return row

    def _remember(self, row: SessionRow) -> None:
        self._cache[row.session_key] = row
        self._cache.move_to_end(row.session_key)
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
