"""The watch over one server, for all runs on it: the event stream, and a poll of the states and the pending requests.

The stream alone cannot be trusted. OpenAgentic sends no event for a failure, OpenCode fails without saying that it is idle, and
neither repeats missed events. So while runs are open the server is polled every few seconds, and if an event hints at a change.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Protocol

import anyio
from structlog.typing import FilteringBoundLogger

from gatewayd.actor.wakeup import Wakeup
from gatewayd.agents.opencode.server.client import Client
from gatewayd.agents.opencode.server.dialect import Dialect, PollSnapshot, ServerSession
from gatewayd.agents.opencode.server.feed import Feed
from gatewayd.agents.opencode.server.progress import StreamEvent
from gatewayd.model.errors import AgentFailed, Conflict, TryAgain

_CONNECT_SECONDS = 15.0
_PAUSE_SECONDS = 0.05
"""Between two polls: many events come at once."""
_SOON_SECONDS = 1.05


class Follower(Protocol):
    """An open run.

    ``on_connected`` is called after each connect of the stream: events may have been missed. ``on_unreachable`` is called once in
    each outage, after ``unreachable_seconds`` without an answer: people need not answer the run's requests any more.
    """

    @property
    def session(self) -> ServerSession: ...

    async def on_event(self, event: StreamEvent) -> None: ...

    def on_snapshot(self, snapshot: PollSnapshot) -> None: ...

    def on_connected(self) -> None: ...

    def on_down(self) -> None: ...

    def on_unreachable(self, why: str) -> None: ...


class Watch(Feed):
    """``why_down`` is set once, when the core closes. A ``patient`` watch waits for a lost server as long as runs are open."""

    def __init__(
        self,
        client: Client,
        dialect: Dialect,
        *,
        poll_seconds: float,
        unreachable_seconds: float,
        patient: bool,
        log: FilteringBoundLogger,
        rng: Random,
    ) -> None:
        super().__init__(client, dialect, log, rng)
        self._poll_seconds = poll_seconds
        self._unreachable_seconds = unreachable_seconds
        self._patient = patient
        self._followers: dict[str, Follower] = {}
        self._woken = Wakeup()
        self._soon = False
        self._lost_at: float | None = None
        self._lost_why = ""
        self._given_up = False
        self._poll_fails = False
        self.why_down: str | None = None

    @property
    def sessions(self) -> int:
        """The number of sessions that have a run."""
        return len(self._followers)

    @property
    def silence(self) -> tuple[float, str] | None:
        """For how many seconds the server has not answered, and why; None while it answers."""
        return None if self._lost_at is None else (anyio.current_time() - self._lost_at, self._lost_why)

    async def run(self) -> None:
        """Watch until cancelled.

        :raises TryAgain: the server has not answered for too long. :raises NeedsOperator: it refuses the credentials.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._read_stream, name="event stream")
            group.start_soon(self._poll, name="poll of the agent's server")

    @asynccontextmanager
    async def follow(self, follower: Follower) -> AsyncIterator[None]:
        """Inside, the follower gets what concerns its session. Entering waits for the stream, which repeats nothing.

        :raises TryAgain: there is no stream. :raises Conflict: the session has a run already.
        """
        session_id = follower.session.id
        if session_id in self._followers:
            raise Conflict(f"session {session_id} has a run already")
        self._followers[session_id] = follower
        try:
            with anyio.move_on_after(_CONNECT_SECONDS) as limit:
                await self._connected.wait()
            if limit.cancelled_caught:
                raise TryAgain("the agent's server does not send its events")
            yield
        finally:
            del self._followers[session_id]

    def wake(self) -> None:
        """Poll now."""
        self._woken.notify()

    def poll_soon(self) -> None:
        """Poll in about a second, even if no event comes."""
        self._soon = True

    def go_down(self, why: str) -> None:
        """The server is lost, or the core closes: every run ends. The first reason counts."""
        if self.why_down is None:
            self.why_down = why
        for follower in self._followers.values():
            follower.on_down()

    async def _on_event(self, event: StreamEvent) -> None:
        if event.session_id is not None and (follower := self._followers.get(event.session_id)) is not None:
            await follower.on_event(event)
        if event.wakes_poll and self._followers:
            self.wake()

    def _on_connected(self) -> None:
        self._on_answer()
        for follower in self._followers.values():
            follower.on_connected()
        self.wake()

    def _on_failure(self, why: str) -> None:
        """There is no stream, or a poll failed. :raises TryAgain: it makes no sense to wait any longer."""
        now = anyio.current_time()
        if self._lost_at is None:
            self._lost_at = now
        self._lost_why = why
        silent = now - self._lost_at
        if silent <= self._unreachable_seconds:
            return
        if not (self._patient and self._followers):
            raise TryAgain(f"the agent's server has not answered for {silent:.0f} s: {why}")
        if not self._given_up:
            self._given_up = True
            for follower in self._followers.values():
                follower.on_unreachable(f"the agent's server has not answered for {silent:.0f} s")

    def _on_answer(self) -> None:
        self._lost_at = None
        self._given_up = False

    async def _poll(self) -> None:
        while True:
            seconds = None
            if self._followers:
                seconds = min(self._poll_seconds, _SOON_SECONDS) if self._soon else self._poll_seconds
            with anyio.move_on_after(seconds):
                await self._woken.take()
            self._soon = False
            for directory in {follower.session.directory for follower in self._followers.values()}:
                await self._poll_directory(directory)
            await anyio.sleep(_PAUSE_SECONDS)

    async def _poll_directory(self, directory: str | None) -> None:
        try:
            snapshot = await self._dialect.poll(directory, anyio.current_time())
        except (TryAgain, AgentFailed) as error:
            if not self._poll_fails:
                self._log.warning("agent_server_not_responding", reason=error.reason)
            self._poll_fails = True
            self._on_failure(error.reason)
            return
        self._poll_fails = False
        self._on_answer()
        for follower in list(self._followers.values()):
            if follower.session.directory == directory:
                follower.on_snapshot(snapshot)
