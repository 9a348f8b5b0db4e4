"""How the gateway behaves badly."""

from collections import deque
from typing import Literal

from msgspec import Struct, field

from tests.fakes.bot_api.bot import Signal

StepKind = Literal["close", "invalid", "silence", "reset", "reconnect"]


class Step(Struct):
    """What is done instead of an answer: close with ``code``, INVALID_SESSION with ``resumable``, nothing at all, a reset of
    TCP, or RECONNECT."""

    kind: StepKind
    code: int = 4000
    resumable: bool = False


class Behaviour(Struct):
    """Settings hold for all connections until they are set back; the steps of a queue are taken one by one."""

    heartbeat_seconds: float = 41.25
    checks_heartbeats: bool = True
    """Close a connection that is without a heartbeat for one and a half intervals."""
    acknowledges: bool = True
    """False: a zombie. Heartbeats are read and not acknowledged."""
    dispatches: bool = True
    """False: half of a zombie. Heartbeats are acknowledged and no event is sent; a resume brings them."""
    reads: bool = True
    """False: what the client sends stays in the sockets' buffers, and is read when this is True again."""
    answers_close: bool = True
    """False: a close frame is not answered, TCP stays open, and missing heartbeats end nothing."""
    refuses: bool = False
    """An outage: connections are reset before the handshake."""
    unavailable: int | None = None
    """The HTTP status (503, 429) that answers the handshake."""
    piece_bytes: int | None = None
    """Split the compressed stream into WebSocket messages of this size."""
    fragment_bytes: int | None = None
    """Split each message into WebSocket frames of this size."""
    changed: Signal = field(default_factory=Signal)
    on_hello: deque[Step] = field(default_factory=deque)
    on_identify: deque[Step] = field(default_factory=deque)
    on_resume: deque[Step] = field(default_factory=deque)

    def set(self, **settings: object) -> None:
        """Change settings, and wake whoever waits for a change."""
        for name, value in settings.items():
            if name not in self.__struct_fields__:
                raise ValueError(name)
            setattr(self, name, value)
        self.changed.notify()
