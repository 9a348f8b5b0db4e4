"""The session map: session key to the agent core's own session, kept across restarts."""

from collections import OrderedDict
from collections.abc import Callable

from gatewayd.model.route import Route
from gatewayd.ports.agent import AgentCore
from gatewayd.ports.store import SessionRow, Sessions

_CACHED = 10_000
# last_used_at is for people who look; writing it with every turn would cost a commit each.
_TOUCH_SECONDS = 60.0


class SessionMap:
    """One row per session key. Only ``reset`` ever gives a key a new session: there is no silent reset."""

    def __init__(self, store: Sessions, *, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._cache: OrderedDict[str, SessionRow] = OrderedDict()

    async def resolve(self, route: Route, core: AgentCore) -> SessionRow:
        """The session of a route; the first message makes it. Called by one lane at a time per key."""
        now = self._now()
        row = self._cache.get(route.session_key) or await self._store.get_session(route.session_key)
        if row is None or row.agent_id != route.agent_id:
            generation = row.generation + 1 if row else 1
            return await self._make(route, core, generation)
        if now - row.last_used_at > _TOUCH_SECONDS:
            row = SessionRow(row.session_key, row.agent_id, row.session_id, row.generation, row.created_at, now)
            await self._store.put_session(row)
        self._remember(row)
        return row

    async def reset(self, route: Route, core: AgentCore) -> SessionRow:
        """Give the key a new, empty session (``/new``)."""
        row = self._cache.get(route.session_key) or await self._store.get_session(route.session_key)
        return await self._make(route, core, row.generation + 1 if row else 1)

    async def find(self, session_key: str) -> SessionRow | None:
        """The session of a key, if it has one."""
        return self._cache.get(session_key) or await self._store.get_session(session_key)

    async def _make(self, route: Route, core: AgentCore, generation: int) -> SessionRow:
        session_id = await core.new_session(route.session_key)
        now = self._now()
        row = SessionRow(route.session_key, route.agent_id, session_id, generation, now, now)
        await self._store.put_session(row)
        self._remember(row)
        return row

    def _remember(self, row: SessionRow) -> None:
        self._cache[row.session_key] = row
        self._cache.move_to_end(row.session_key)
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
