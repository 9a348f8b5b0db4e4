"""The agent core: sessions and turns over one connection to one agent process."""

import math
from collections import OrderedDict
from secrets import token_hex
from typing import Final

import anyio

from gatewayd.agents.acp import hermes
from gatewayd.agents.acp.connection import Connection, ConnectionLost, RequestFailed
from gatewayd.agents.acp.dispatch import Dispatch
from gatewayd.agents.acp.journal import Journal, SessionState
from gatewayd.agents.acp.settings import AcpSettings
from gatewayd.agents.acp.setup import Setup
from gatewayd.agents.acp.turn.grace import GRACE_SECONDS, GracePeriod
from gatewayd.agents.acp.turn.late_texts import LateTexts
from gatewayd.agents.acp.turn.prompt import Limits, Prompt
from gatewayd.agents.acp.turn.wording import FORGOTTEN, final_text
from gatewayd.agents.acp.wire import Malformed
from gatewayd.kit.process import ChildProcess
from gatewayd.model.errors import AgentFailed, GatewayError, TryAgain
from gatewayd.model.records.dead_letter import excerpt_of
from gatewayd.ports import agent as port

_SESSIONS_MAX: Final = 10_000


class AcpSession:
    """A session of gatewayd. ``agent_session`` is the agent's, once this process has it. ``ended_at``: the end of its last
    turn."""

    def __init__(self, session_id: str, agent_session: str | None = None) -> None:
        self.id = session_id
        self.agent_session = agent_session
        self.lock = anyio.Lock()
        self.ended_at = -math.inf

    @property
    def first_agent_session(self) -> str:
        """The agent's session with which it was created, see ``AcpCore.new_session``."""
        return self.id.rpartition("#")[0] or self.id


class AcpCore:
    """Lives as long as the agent's process. A session that this process does not have yet is loaded by its first turn.

    ``late`` collects the text of sessions that have no turn, for ``say_late``.
    """

    def __init__(
        self,
        connection: Connection,
        dispatch: Dispatch,
        setup: Setup,
        late: LateTexts,
        process: ChildProcess,
        settings: AcpSettings,
        services: port.AgentServices,
    ) -> None:
        self._connection = connection
        self._dispatch = dispatch
        self._setup = setup
        self._late = late
        self._process = process
        self._limits = Limits(settings.prompt_timeout_seconds, settings.cancel_timeout_seconds)
        self._shows_late = settings.late_text == "send"
        self._services = services
        self._log = services.log
        self._journal = Journal(services.state, services.log)
        self._grace = GracePeriod()
        # The agent's sessions in which a prompt did not end, with the session of ours each was.
        self._abandoned: dict[str, AcpSession] = {}
        self._is_hermes = hermes.is_hermes(setup.agent.agent_info)
        self._sessions: OrderedDict[str, AcpSession] = OrderedDict()

    async def new_session(self, session_key: str) -> str:
        """The agent's id with a random suffix: an agent that numbers its sessions begins again in each process, and two people
        must never share a session."""
        agent_session = await self._setup.create()
        if self._is_open(agent_session):
            raise AgentFailed("the agent gave a new session the id of one that is open")
        session = AcpSession(f"{agent_session}#{token_hex(4)}", agent_session)
        self._remember(session)
        return session.id

    async def turn_state(self, session_id: str, turn_id: str) -> port.CoreTurnState:
        return await self._journal.state(session_id, turn_id)

    async def resume(self, turn: port.Turn) -> port.Final:
        final = await self._journal.final(turn.request.session_id, turn.request.turn_id)
        if final is None:
            raise AgentFailed("the turn cannot be resumed: it ended with the agent's process")
        return final

    async def run(self, turn: port.Turn) -> port.Final:
        session_id = turn.request.session_id
        session = self._sessions.get(session_id) or AcpSession(session_id)
        self._remember(session)
        # A cancelled turn may still be stopping, and the agent must never have two prompts in one session.
        async with session.lock:
            if self._connection.lost is not None:
                raise TryAgain(f"the agent {self._connection.lost}")
            before = await self._journal.load(session_id)
            agent_session = session.agent_session or await self._open_session(session, before, turn)
            return await self._prompt(session, agent_session, before, turn)

    def facts(self) -> port.CoreFacts:
        info = self._setup.agent.agent_info
        return port.CoreFacts(
            version=" ".join(part for part in (info.name, info.version) if part)[:100] or None if info else None,
            pid=self._process.pid,
            sessions=sum(session.agent_session is not None for session in self._sessions.values()),
            output=self._process.output,
        )

    async def _open_session(self, session: AcpSession, before: SessionState, turn: port.Turn) -> str:
        """Load the session into this process, or create a new one in its place."""
        wanted = before.agent_session or session.first_agent_session
        is_taken = self._is_open(wanted) or wanted in self._abandoned
        loaded = "refused" if is_taken else await self._setup.load(wanted)
        session.agent_session = await self._setup.create() if loaded == "refused" else wanted
        if loaded != "loaded" and before.turn_id is not None:
            self._log.warning("acp_session_replaced", session=session.id, now=session.agent_session)
            await turn.emit(port.Notice(FORGOTTEN))
        return session.agent_session

    async def _prompt(self, session: AcpSession, agent_session: str, before: SessionState, turn: port.Turn) -> port.Final:
        turn_id = turn.request.turn_id
        moved = agent_session if agent_session != session.first_agent_session else None
        await self._late.flush(agent_session)
        await self._journal.begin(session.id, turn_id, moved)
        prompt = Prompt(
            turn,
            agent_session,
            self._connection,
            self._limits,
            self._grace,
            self._log,
            no_cancel_while_asking=self._is_hermes,
        )
        try:
            with self._dispatch.to(agent_session, prompt):
                end = await prompt.run()
        except (RequestFailed, Malformed, ConnectionLost, AgentFailed) as error:
            failure = await self._failure(session, before, prompt, error)
            final = port.Final(prompt.text_before_cut, cut=failure.reason)
            if isinstance(failure, TryAgain) or not final.text:
                raise failure from error
        else:
            if self._is_hermes and hermes.is_queued(end.text) and not prompt.acted:
                raise await self._not_run(session, before, hermes.FAULT)
            final = port.Final(final_text(end))
            if not final.text and not prompt.acted:
                raise AgentFailed("the agent ended its turn without a word", kind="empty")
        finally:
            session.ended_at = anyio.current_time()
            if prompt.still_runs:
                self._abandon(session, agent_session)
        await self._journal.end(session.id, turn_id, final, moved)
        return final

    async def _failure(self, session: AcpSession, before: SessionState, prompt: Prompt, error: Exception) -> GatewayError:
        """The error for a prompt that did not end properly. ``TryAgain``: the prompt may be run again."""
        match error:
            case RequestFailed():
                if self._is_hermes and hermes.is_broken(str(error)):
                    self._connection.lose(hermes.FAULT)
                    if not prompt.acted:
                        return await self._not_run(session, before, hermes.FAULT)
                return self._setup.failure(error)
            case ConnectionLost() if prompt.sent:
                return AgentFailed(f"the agent's process ended in the middle of the turn: the agent {error}")
            case ConnectionLost():
                return await self._not_run(session, before, str(error))
            case AgentFailed():
                return error
            case _:
                return AgentFailed(str(error))

    def _abandon(self, session: AcpSession, agent_session: str) -> None:
        """The prompt has not ended, and the agent does not stop it. Only this session is abandoned, for the sake of the others.
        If it is the second one, or there are no others, the process is ended."""
        why = "did not end a turn, and did not stop it either"
        others = any(other.agent_session for other in self._sessions.values() if other is not session)
        if self._abandoned or not others:
            self._connection.lose(why)
            return
        self._log.warning("acp_session_abandoned", session=session.id, reason=f"the agent {why}")
        self._abandoned[agent_session] = session
        session.agent_session = None

    async def say_late(self, agent_session: str, text: str, began_at: float) -> None:
        """The agent has sent text in a session that has no turn."""
        session = self._abandoned.get(agent_session) or self._session_of(agent_session)
        if session is not None and began_at - session.ended_at < GRACE_SECONDS:
            self._grace.note_tail()
        if session is not None and self._shows_late:
            await self._services.say_later(session.id, text)
        else:
            why = "no session of ours" if session is None else 'late_text = "log"'
            self._log.warning("acp_late_text_not_shown", session=agent_session, reason=why, text=excerpt_of(text))

    async def _not_run(self, session: AcpSession, before: SessionState, why: str) -> TryAgain:
        """The prompt was surely not run, and only a new process can run it."""
        await self._journal.never_begun(session.id, before)
        self._connection.lose(why)
        return TryAgain(f"the agent {why}")

    def _is_open(self, agent_session: str) -> bool:
        return self._session_of(agent_session) is not None

    def _session_of(self, agent_session: str) -> AcpSession | None:
        return next((each for each in self._sessions.values() if each.agent_session == agent_session), None)

    def _remember(self, session: AcpSession) -> None:
        self._sessions[session.id] = session
        self._sessions.move_to_end(session.id)
        oldest = next(iter(self._sessions.values()))
        if len(self._sessions) > _SESSIONS_MAX and not oldest.lock.locked():
            del self._sessions[oldest.id]
