"""Sessions: what each has been sent, and for how long it may be resumed ("Gateway", Resuming; Disconnecting)."""

from collections.abc import Callable
from typing import Protocol

import msgspec
import trio

from tests.fakes.discord_platform.errors import Json
from tests.fakes.discord_platform.model.events import MESSAGE_CONTENT, Event, without_content

LIFE_SECONDS = 240.0
"""How long a session lives without a connection. The documentation says "a few minutes"."""


class Line(Protocol):
    """A connection, as its session sees it."""

    def send(self, payload: bytes) -> None: ...

    def close(self, code: int) -> None: ...


class Session:
    """One session. ``sent`` are its events, the first with sequence number 1."""

    def __init__(self, session_id: str, intents: int, own_id: str) -> None:
        self.id = session_id
        self.intents = intents
        self._own_id = own_id
        self.sent: list[bytes] = []
        self.line: Line | None = None
        self.left_at: float | None = None
        """Trio's clock, when its connection ended."""

    @property
    def seq(self) -> int:
        return len(self.sent)

    def wants(self, event: Event) -> bool:
        return event.intent == 0 or bool(self.intents & event.intent)

    def dispatch(self, event: Event) -> None:
        """Number an event, keep it, and send it when there is a connection."""
        data: Json = event.data
        if event.is_message and not self.intents & MESSAGE_CONTENT:
            data = without_content(data, self._own_id)
        self.sent.append(msgspec.json.encode({"t": event.name, "s": self.seq + 1, "op": 0, "d": data}))
        if self.line is not None:
            self.line.send(self.sent[-1])

    def replay(self, seq: int) -> None:
        """Send once more what came after ``seq``."""
        if self.line is not None:
            for payload in self.sent[seq:]:
                self.line.send(payload)


class Sessions:
    """The sessions of the application, alive or resumable."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._count = 0
        self.life_seconds: float = LIFE_SECONDS
        self.holds_back: Callable[[Event], bool] = lambda _: False
        """A gap: events for which this holds get a number nowhere; they are lost to every session."""

    def new(self, intents: int, own_id: str) -> Session:
        self._count += 1
        session_id = f"{self._count:032x}"
        session = self._sessions[session_id] = Session(session_id, intents, own_id)
        return session

    def find(self, session_id: str) -> Session | None:
        """A session that can be resumed; one that timed out is gone."""
        session = self._sessions.get(session_id)
        if session is None or (session.left_at is not None and trio.current_time() - session.left_at >= self.life_seconds):
            self._sessions.pop(session_id, None)
            return None
        return session

    def end(self, session: Session) -> None:
        self._sessions.pop(session.id, None)

    def end_all(self) -> None:
        """Every session is invalid from now on; connections stay as they are."""
        self._sessions.clear()

    def newest(self) -> Session | None:
        """The session that was begun last."""
        return next(reversed(self._sessions.values()), None)

    def connected(self) -> list[Session]:
        return [session for session in self._sessions.values() if session.line is not None]

    def publish(self, event: Event) -> None:
        """To every session that wants it, connected or not."""
        if self.holds_back(event):
            return
        for session in list(self._sessions.values()):
            if session.wants(event):
                session.dispatch(event)
