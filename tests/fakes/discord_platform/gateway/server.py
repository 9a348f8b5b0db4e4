"""The gateway's two addresses, and what a test does to its connections."""

from collections.abc import Callable
from functools import partial

import trio

from tests.fakes.discord_platform.gateway.behaviour import Behaviour, Step
from tests.fakes.discord_platform.gateway.connection import HEARTBEAT, INVALID_SESSION, RECONNECT, Connection
from tests.fakes.discord_platform.gateway.sessions import Session
from tests.fakes.discord_platform.gateway.state import GatewayState


class Gateway:
    """Serves connections. ``connections`` are all that ever came, oldest first."""

    def __init__(self, state: GatewayState) -> None:
        self.state = state
        self.connections: list[Connection] = []

    async def serve(self, listener: trio.SocketListener, *, is_resume_url: bool) -> None:
        """Until cancelled."""
        await trio.serve_listeners(partial(self._serve, is_resume_url), [listener])

    async def _serve(self, is_resume_url: bool, stream: trio.SocketStream) -> None:
        connection = Connection(self.state, stream, by_resume_url=is_resume_url)
        self.connections.append(connection)
        await connection.run()

    @property
    def behaviour(self) -> Behaviour:
        return self.state.behaviour

    # Counts

    @property
    def identify_count(self) -> int:
        return len(self.state.identifies)

    @property
    def resume_count(self) -> int:
        return len(self.state.resumes)

    @property
    def connected(self) -> list[Connection]:
        """Connections with a session, open now."""
        return [connection for connection in self.connections if connection.is_open and connection.session is not None]

    @property
    def session(self) -> Session:
        """The session of the newest connection that has one.

        :raises LookupError: there is none.
        """
        if not self.connected:
            raise LookupError("no connection has a session")
        session = self.connected[-1].session
        assert session is not None
        return session

    @property
    def newest_seq(self) -> int:
        """The number of the last event of the newest session; 0 when there is none."""
        newest = self.state.sessions.newest()
        return 0 if newest is None else newest.seq

    @property
    def acknowledged_seq(self) -> int:
        """What the client has said in heartbeats that it has of the newest session."""
        newest = self.state.sessions.newest()
        there = [connection for connection in self.connections if newest is not None and connection.session is newest]
        beats = (payload["d"] or 0 for connection in there for payload in connection.received if payload["op"] == HEARTBEAT)
        return max(beats, default=0)

    async def _wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.state.world.changed.wait()

    async def wait_connected(self, *, after: int = 0) -> Connection:
        """Wait until a connection has a session (READY or RESUMED was sent) that was not among the first ``after`` ones."""
        await self._wait(lambda: any(connection in self.connected for connection in self.connections[after:]))
        return self.connected[-1]

    async def wait_disconnected(self) -> None:
        await self._wait(lambda: not self.connected)

    async def wait_identifies(self, count: int) -> None:
        await self._wait(lambda: self.identify_count >= count)

    async def wait_resumes(self, count: int) -> None:
        await self._wait(lambda: self.resume_count >= count)

    # Misbehaviour

    def behave(self, **settings: object) -> None:
        """Change fields of :class:`Behaviour`, from now on, for all connections."""
        self.behaviour.set(**settings)

    def close_all(self, code: int) -> None:
        """A close frame to every connection. 1000, 4004 and 4009 end their sessions, too (discord-api-docs, issue 2922)."""
        for connection in self.connected:
            if connection.session is not None and code in {1000, 4004, 4009}:
                self.state.sessions.end(connection.session)
            connection.close(code)

    def reset_all(self) -> None:
        """Break TCP of every connection."""
        for connection in self.connections:
            connection.reset()

    def cut_in_next(self) -> None:
        """The next payload of every connection ends in the middle of a frame, with TCP. A resume brings the whole of an event."""
        for connection in self.connected:
            connection.cut_in_next()

    def reconnect_all(self) -> None:
        """RECONNECT (opcode 7)."""
        for connection in self.connected:
            connection.send_op(RECONNECT)

    def invalidate_all(self, *, resumable: bool = False) -> None:
        """INVALID_SESSION (opcode 9); when not resumable, the session is gone."""
        for connection in self.connected:
            if not resumable and connection.session is not None:
                self.state.sessions.end(connection.session)
                connection.session.line = None
                connection.session = None
            connection.send_op(INVALID_SESSION, resumable)

    def ask_heartbeat(self) -> None:
        """Heartbeat (opcode 1) from the server: the client must answer at once."""
        for connection in self.connected:
            connection.send_op(1)

    def repeat_last(self, count: int = 1) -> None:
        """Send the last events once more, with their numbers."""
        for connection in self.connected:
            if connection.session is not None:
                connection.session.replay(max(0, connection.session.seq - count))

    def forget_sessions(self) -> None:
        """No session can be resumed from now on; connections stay."""
        self.state.sessions.end_all()

    def next_identify(self, kind: str, code: int = 4000, *, resumable: bool = False) -> None:
        """What happens to the next IDENTIFY that is otherwise right: "close", "invalid", "silence", "reset", "reconnect"."""
        self.behaviour.on_identify.append(Step(kind, code, resumable))  # type: ignore[arg-type]

    def next_resume(self, kind: str, code: int = 4000, *, resumable: bool = False) -> None:
        """The same for the next RESUME."""
        self.behaviour.on_resume.append(Step(kind, code, resumable))  # type: ignore[arg-type]

    def next_hello(self, kind: str, code: int = 4000) -> None:
        """The same instead of HELLO."""
        self.behaviour.on_hello.append(Step(kind, code))  # type: ignore[arg-type]
