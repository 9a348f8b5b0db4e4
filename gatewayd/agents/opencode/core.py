"""The core: sessions and turns of gatewayd on an OpenCode or OpenAgentic server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import anyio

from gatewayd.agents.opencode.memory import LastTurn, Memory
from gatewayd.agents.opencode.run import Run, end_run
from gatewayd.agents.opencode.server.client import Client, NoSuchSession
from gatewayd.agents.opencode.server.dialect import Dialect, ServerSession
from gatewayd.agents.opencode.server.endpoint import ServerEndpoint
from gatewayd.agents.opencode.server.progress import Aborted, Answered, Outcome, Unfinished
from gatewayd.agents.opencode.server.sidecar import Sidecar
from gatewayd.agents.opencode.server.watch import Watch
from gatewayd.agents.opencode.settings import OpencodeSettings
from gatewayd.model.errors import TryAgain
from gatewayd.ports.agent import (
    AgentServices,
    CoreFacts,
    CoreTurnState,
    Final,
    Notice,
    Turn,
)

_BUSY_SECONDS = 90.0
"""An aborted run of OpenAgentic's still waits for its shell command, which has 60 s."""
_BUSY_AGAIN_SECONDS = 0.5
_LATE_SECONDS = 30.0
"""So long a stored prompt may take to begin until it counts as lost."""
_AWAY_SECONDS = 3.0
"""By then a broken stream is connected again, if the server is there."""
_TITLE_MAX = 200
_FORGOTTEN = "I have lost the memory of this conversation. Write /new to begin a new one."
_ANOTHER_FIRST = "I am busy in another conversation at the moment; yours is next."


class OpencodeCore:
    """Many turns at once, one per session; with OpenAgentic one per server."""

    def __init__(
        self,
        client: Client,
        version: str,
        dialect: Dialect,
        watch: Watch,
        settings: OpencodeSettings,
        services: AgentServices,
        sidecar: Sidecar | None,
    ) -> None:
        """``version`` in words, with the server's name; ``sidecar``: the server, when it is our own."""
        self._client = client
        self._version = version
        self._dialect = dialect
        self._watch = watch
        self._settings = settings
        self._log = services.log
        self._now = services.now
        self._memory = Memory(services.state)
        self._runs: dict[str, Run] = {}
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()
        self._sidecar = sidecar

    async def new_session(self, session_key: str) -> str:
        session = await self._dialect.create(session_key[:_TITLE_MAX], self._settings.directory)
        await self._memory.note_session(session_key, session.id)
        return session.id

    async def run(self, turn: Turn) -> Final:
        """Also for a turn that has perhaps begun already: the answer to its prompt may have been lost."""
        request = turn.request
        async with self._exclusive(turn):
            session = await self._session(turn)
            last = await self._memory.last_turn(session.id)
            if last is not None and last.turn_id == request.turn_id and await self._goes_on(session, last.mark):
                return await self._drive(turn, session, last.mark, begin=False)
            await self._wait_idle(session)
            mark = await self._dialect.mark(session)
            await self._memory.note_turn(session.id, LastTurn(request.turn_id, mark))
            return await self._drive(turn, session, mark, begin=True)

    async def resume(self, turn: Turn) -> Final:
        async with self._exclusive(turn):
            session = await self._session(turn)
            last = await self._memory.last_turn(session.id)
            assert last is not None, "turn_state would have said new"
            return await self._drive(turn, session, last.mark, begin=False)

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        last = await self._memory.last_turn(session_id)
        if last is None or last.turn_id != turn_id:
            return "new"
        try:
            state, _ = await self._state(await self._dialect.session(session_id), last.mark)
            return state
        except NoSuchSession:
            return "lost"

    async def stop_turn(self, session_id: str, turn_id: str) -> None:
        last = await self._memory.last_turn(session_id)
        if last is None or last.turn_id != turn_id:
            return
        try:
            session = await self._dialect.session(session_id)
        except NoSuchSession:
            return
        state, _ = await self._state(session, last.mark)
        if state == "running":
            await end_run(self._dialect, session, last.mark)

    def facts(self) -> CoreFacts:
        process = self._sidecar.process if self._sidecar is not None else None
        seconds, why = self._watch.silence or (0.0, "")
        away = seconds >= _AWAY_SECONDS
        return CoreFacts(
            version=self._version,
            pid=process.pid if process is not None else None,
            sessions=self._watch.sessions,
            url=self._client.url,
            output=process.output if process is not None else (),
            away_since=self._now() - seconds if away else None,
            away_reason=why if away else None,
        )

    def endpoint(self) -> ServerEndpoint:
        return ServerEndpoint(self._client.url, self._client.headers, self._settings.directory, self._dialect.one_run_at_a_time)

    def turn_of(self, session_id: str) -> str | None:
        run = self._runs.get(session_id)
        return None if run is None else run.turn_id

    @asynccontextmanager
    async def _exclusive(self, turn: Turn) -> AsyncIterator[None]:
        """Wait for the session's turn; OpenAgentic takes one run at a time, because it would mix up their requests."""
        alone = self._dialect.one_run_at_a_time
        lock = self._locks.setdefault("" if alone else turn.request.session_id, anyio.Lock())
        if alone and lock.locked():
            await turn.emit(Notice(_ANOTHER_FIRST))
        async with lock:
            yield

    async def _session(self, turn: Turn) -> ServerSession:
        try:
            return await self._dialect.session(turn.request.session_id)
        except NoSuchSession:
            await turn.emit(Notice(_FORGOTTEN))
            raise

    async def _drive(self, turn: Turn, session: ServerSession, mark: str, *, begin: bool) -> Final:
        sidecar = self._sidecar
        run = Run(
            turn,
            session,
            mark,
            self._dialect,
            self._watch,
            max_messages=self._settings.max_messages,
            last_output_line=lambda: sidecar.last_output_line if sidecar is not None else "",
            log=self._log,
        )
        is_over = False
        async with self._watch.follow(run):
            self._runs[session.id] = run
            try:
                if begin:
                    await run.begin()
                else:
                    run.attach()
                final = await run.follow()
                is_over = True
                return final
            except Exception:  # not a cancellation
                is_over = True
                raise
            finally:
                del self._runs[session.id]
                gone = sidecar is not None and self._watch.why_down is not None
                # After a failed turn nobody waits for the run any more. When the daemon stops the run goes on, and is resumed
                # at the next start.
                if run.may_run and not gone and (is_over or not turn.goes_on):
                    await run.abort()

    async def _state(self, session: ServerSession, mark: str) -> tuple[CoreTurnState, Outcome | None]:
        """The state of the run that began after the mark, and its stored outcome."""
        waited = 0.0
        while True:
            busy = (await self._dialect.poll(session.directory, 0.0)).state(session.id).kind != "idle"
            history = await self._dialect.history(session, mark)
            outcome = history.outcome
            if busy and outcome is not None:
                return "running", outcome
            late = self._dialect.begins_late and isinstance(outcome, Unfinished) and not history.messages
            # Late: were the prompt sent again, both could begin. Busy, and nothing stored: another run, or one that begins now.
            if not (late or busy) or waited >= _LATE_SECONDS:
                break
            await anyio.sleep(_BUSY_AGAIN_SECONDS)
            waited += _BUSY_AGAIN_SECONDS
        match outcome:
            case None:
                return "new", None
            case Aborted() | Unfinished(refused=False):
                return "lost", outcome
        return "ended", outcome

    async def _goes_on(self, session: ServerSession, mark: str) -> bool:
        """Whether this turn runs already, or has its answer. A turn that failed is run again on purpose."""
        state, outcome = await self._state(session, mark)
        return state == "running" or isinstance(outcome, Answered)

    async def _wait_idle(self, session: ServerSession) -> None:
        """Both servers take a prompt while another runs, and mix them up.

        :raises TryAgain: it runs for too long; nothing was begun.
        """
        for _ in range(int(_BUSY_SECONDS / _BUSY_AGAIN_SECONDS)):
            snapshot = await self._dialect.poll(session.directory, 0.0)
            if snapshot.state(session.id).kind == "idle":
                return
            await anyio.sleep(_BUSY_AGAIN_SECONDS)
        raise TryAgain("the session is still busy on the agent's server with something else")
