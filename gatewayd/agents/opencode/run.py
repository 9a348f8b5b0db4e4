"""One run of a prompt on the server: begun once, followed to its end, or aborted."""

from collections.abc import Callable

import anyio
from structlog.typing import FilteringBoundLogger

from gatewayd.actor.border import leaves
from gatewayd.actor.wakeup import Wakeup
from gatewayd.agents.opencode.pending_requests import PendingRequests
from gatewayd.agents.opencode.server.dialect import Dialect, PollSnapshot, ServerSession, State
from gatewayd.agents.opencode.server.progress import Aborted, Answered, Failed, History, Outcome, StreamEvent, Unfinished
from gatewayd.agents.opencode.server.watch import Watch
from gatewayd.agents.opencode.server.wire import KNOWN_MAX, one_line
from gatewayd.model.errors import AgentFailed, GatewayError, OutcomeUnknown, TryAgain
from gatewayd.ports.agent import Final, Notice, Turn

_ABORT_SECONDS = 4.0
"""Less than the hub gives a call that was cancelled (hub/turns/core_calls.py)."""
_ABORT_AGAIN_SECONDS = 0.3
_BEGIN_SECONDS = 90.0
"""The first prompt in a directory makes OpenCode start its services there, and the session is idle meanwhile: 15 s on a busy
machine."""
_QUIET_SECONDS = 1.0
"""So long a run without a result has to be idle until it counts as over."""
_CUTS_MAX = 3
"""So many answers cut off in a row are an endless loop: OpenCode asks the model again and again."""

_PROVIDER_TROUBLE = "The model's provider has a problem at the moment, and is tried again."
_REFUSED = "I stopped here, because what I asked for was refused."


class Run:
    """See ``Watch.follow`` for how it hears of the server. ``last_output_line``: of the server, if known."""

    def __init__(
        self,
        turn: Turn,
        session: ServerSession,
        mark: str,
        dialect: Dialect,
        watch: Watch,
        *,
        max_messages: int,
        last_output_line: Callable[[], str],
        log: FilteringBoundLogger,
    ) -> None:
        self.session = session
        self.turn_id = turn.request.turn_id
        self.may_run = False
        """The run may go on at the server: it has to be aborted by the caller."""
        self._turn = turn
        self._mark = mark
        self._dialect = dialect
        self._watch = watch
        self._max_messages = min(max_messages, KNOWN_MAX)
        self._last_output_line = last_output_line
        self._log = log
        self._progress = dialect.progress()
        self._snapshot: PollSnapshot | None = None
        self._woken = Wakeup()
        self._since = anyio.current_time()
        self._sure = False
        self._begun = False
        self._idle_at: float | None = None
        self._history = History()
        self._stored = ""
        self._missed = True
        self._reconnected = False
        self._reasons: set[str] = set()
        self._given_up: str | None = None

    # The watch calls these.

    async def on_event(self, event: StreamEvent) -> None:
        for news in self._progress.note(event):
            await self._turn.emit(news)
        if self._runaway() is not None:
            self._woken.notify()

    def on_snapshot(self, snapshot: PollSnapshot) -> None:
        self._snapshot = snapshot
        self._woken.notify()

    def on_connected(self) -> None:
        self._missed = self._reconnected = True

    def on_down(self) -> None:
        self._woken.notify()

    def on_unreachable(self, why: str) -> None:
        self._given_up = why
        self._woken.notify()

    # The core calls these.

    async def begin(self) -> None:
        """Send the prompt. If the answer to the request is lost, ``follow`` finds out whether the run has begun.

        :raises TryAgain: it was surely not sent. :raises AgentFailed: refused.
        """
        self.may_run = True
        try:
            await self._dialect.prompt(self.session, self._turn.request.prompt)
            self._sure = True
        except OutcomeUnknown as error:
            self._log.warning("prompt_outcome_unknown", reason=error.reason)
        except GatewayError:
            self.may_run = False
            raise
        self._since = anyio.current_time()
        self._reconnected = False
        self._watch.wake()

    def attach(self) -> None:
        """Follow a run that an earlier process began."""
        self.may_run = True
        self._reconnected = False
        self._watch.wake()

    async def follow(self) -> Final:
        """To the end of the run. If the run fails after some text, that text is a cut answer.

        :raises AgentFailed: it failed. :raises TryAgain: it never began, and will not.
        """
        outcome: Answered | Failed | None = None
        failure: BaseException | None = None
        try:
            async with anyio.create_task_group() as tasks:
                asks = PendingRequests(self._turn, self.session, self._dialect, tasks, self._log)
                while outcome is None:
                    outcome = await self._look(asks, await self._next_snapshot(asks))
                tasks.cancel_scope.cancel()
        except* GatewayError as group:
            failure = leaves(group)[0]
        if outcome is not None:
            self.may_run = False
        if isinstance(outcome, Answered):
            return Final(outcome.text)
        if isinstance(outcome, Failed):
            failure = AgentFailed(outcome.reason, kind=outcome.kind)
        assert failure is not None
        text = "" if isinstance(outcome, Failed) and outcome.withheld else max(self._stored, self._progress.last_text, key=len)
        if isinstance(failure, AgentFailed) and text:
            return Final(text, cut=failure.reason)
        raise failure

    async def abort(self) -> None:
        """Stop the run, and wait until it is over: within a few seconds, also for a caller that was cancelled."""
        with anyio.move_on_after(_ABORT_SECONDS, shield=True):
            try:
                await end_run(self._dialect, self.session, self._mark)
            except GatewayError as error:
                self._log.warning("run_not_aborted", session=self.session.id, reason=error.reason)

    # The end of the run.

    async def _next_snapshot(self, asks: PendingRequests) -> PollSnapshot:
        """The next snapshot that was polled after the prompt was sent. :raises AgentFailed: the server, or the core, is gone."""
        while True:
            await self._woken.take()
            if self._watch.why_down is not None:
                raise AgentFailed(one_line(self._watch.why_down))
            if (why := self._runaway()) is not None:
                raise AgentFailed(why)
            if self._given_up is not None:
                why, self._given_up = self._given_up, None
                await asks.withdraw(why=why)
            snapshot, self._snapshot = self._snapshot, None
            if snapshot is not None and snapshot.polled_at >= self._since:
                return snapshot

    def _runaway(self) -> str | None:
        if self._progress.cut >= _CUTS_MAX:
            return "the model's answers are cut off in the middle, again and again: its connection to the agent's server breaks"
        if self._progress.messages > self._max_messages:
            return f"the model wrote more than {self._max_messages} messages (max_messages) for one prompt: it was stopped"
        return None

    async def _look(self, asks: PendingRequests, snapshot: PollSnapshot) -> Answered | Failed | None:
        """The outcome as the snapshot and the history say it; None: the run goes on."""
        state = snapshot.state(self.session.id)
        self._stored = ""
        try:
            await asks.update(await self._dialect.requests(self.session, self._mark, snapshot))
            await self._tell(state)
            if state.kind != "idle" and not (self._missed or self._dialect.one_run_at_a_time):
                self._begun, self._idle_at = True, None
                return None
            history = await self._dialect.history(self.session, self._mark)
        except TryAgain as error:
            self._log.info("agent_server_not_responding", reason=error.reason)
            return None
        self._missed = False
        for news in self._progress.catch_up(history):
            await self._turn.emit(news)
        if state.kind != "idle":
            self._begun, self._idle_at = True, None
            return None
        self._stored = history.last_text
        return self._verdict(history, snapshot.polled_at)

    async def _tell(self, state: State) -> None:
        if state.kind == "retry" and state.reason not in self._reasons and len(self._reasons) < 10:
            # The provider's own text is for the log: it can hold secrets that a chat must not see.
            self._reasons.add(state.reason)
            self._log.warning("provider_retried", reason=one_line(state.reason))
            await self._turn.emit(Notice(_PROVIDER_TROUBLE))

    def _verdict(self, history: History, at: float) -> Answered | Failed | None:
        """The session is idle: the outcome, or None if the run may go on."""
        outcome = self._said_outcome(history.outcome)
        if isinstance(outcome, Answered | Failed):
            return outcome
        if self._idle_at is None or history != self._history:
            # A history that changes is that of a run which goes on: it may have begun after the poll.
            self._idle_at, self._history = at, history
        self._watch.poll_soon()
        idle_for = at - self._idle_at
        if outcome is None and not self._begun:
            return self._never_began() if idle_for >= _BEGIN_SECONDS else None
        if idle_for < self._patience(history):
            return None
        return self._ended_without_result(outcome or Unfinished())

    def _patience(self, history: History) -> float:
        """For how many seconds a run without a result has to be idle until it counts as over."""
        may_begin = self._dialect.begins_late and not (self._begun or history.messages or self._reconnected)
        return _BEGIN_SECONDS if may_begin else _QUIET_SECONDS

    def _said_outcome(self, outcome: Outcome | None) -> Answered | Failed | Unfinished | None:
        """The history's outcome, or the failure that an event has reported meanwhile."""
        if isinstance(outcome, Answered | Failed):
            return outcome
        if isinstance(outcome, Aborted):
            return Failed("the run was stopped on the agent's server")
        return outcome if self._progress.failure is None else Failed(self._progress.failure)

    def _never_began(self) -> Failed:
        if self._sure:
            return Failed("the agent's server took the prompt and never began to work on it")
        self.may_run = False
        raise TryAgain("the prompt did not reach the agent's server")

    def _ended_without_result(self, outcome: Unfinished) -> Answered | Failed:
        if outcome.refused:
            return Answered(outcome.text or _REFUSED)
        why = outcome.reason or ("the agent's server was restarted in the middle of the turn" if self._reconnected else "")
        words = self._last_output_line()
        output = f"; its last output: {words}" if words else ""
        return Failed(one_line(f"the run ended without a result: {why or 'the server does not say why'}{output}"))


async def end_run(dialect: Dialect, session: ServerSession, mark: str) -> None:
    """Abort the session's run that began after ``mark``, and wait until it is over. :raises GatewayError: as the client does."""
    await dialect.abort(session, ())
    while True:
        snapshot = await dialect.poll(session.directory, anyio.current_time())
        if snapshot.state(session.id).kind == "idle":
            break
        await dialect.abort(session, await dialect.requests(session, mark, snapshot))
        await anyio.sleep(_ABORT_AGAIN_SECONDS)
    await dialect.tidy(session)
