"""One connection of Socket Mode, from its handshake to its end."""

import math
from collections import deque
from typing import Final

import anyio

from gatewayd.actor.wakeup import Wakeup
from gatewayd.channels.slack.wire.frames import Frame, acknowledgement, decode_frame
from gatewayd.kit.json import Malformed
from gatewayd.kit.network.websocket import WebSocket, WebSocketClosed
from gatewayd.ports.channel import ChannelServices

UNSENT: Final = 1_000
"""Acknowledgements that wait for a peer that does not read. A further one is left out, and Slack sends its event again."""


class Connection:
    """``scope`` ends it: at ``hello_by``, unless its hello has come (``is_joined``). Times are of the event loop's clock."""

    def __init__(self, websocket: WebSocket, services: ChannelServices, *, hello_by: float) -> None:
        self.scope = anyio.CancelScope(deadline=hello_by)
        self.is_joined = False
        self._websocket = websocket
        self._services = services
        self._unsent: deque[str] = deque()
        self._changed = Wakeup()
        self._is_over = False
        self._has_garbage = False

    @property
    def heard_at(self) -> float:
        """When the last bytes came."""
        return self._websocket.heard_at

    def join(self) -> None:
        """Its hello has come."""
        self.is_joined = True
        self.scope.deadline = math.inf

    def end_by(self, at: float) -> None:
        """It may last until then."""
        self.scope.deadline = min(self.scope.deadline, at)

    async def receive(self) -> tuple[Frame, int]:
        """The next frame, with its size in bytes. What is no frame is left out: it has no id to be acknowledged by, so Slack
        sends the event again. :raises WebSocketClosed: it is over."""
        while True:
            message = await self._websocket.receive()
            self._services.connection.heard()
            try:
                frame = decode_frame(message)
            except Malformed as malformed:
                if not self._has_garbage:
                    self._has_garbage = True
                    self._services.log.warning("slack_frame_skipped", bytes=len(message), reason=str(malformed))
            else:
                return frame, len(message)

    def acknowledge(self, envelope_id: str) -> None:
        """Send it soon, in order. It waits for nobody. Nothing is sent when this connection is over: an acknowledgement counts on
        the connection that brought the event."""
        if len(self._unsent) < UNSENT:
            self._unsent.append(envelope_id)
            self._changed.notify()

    async def send_acknowledgements(self) -> None:
        """Returns when the connection is over."""
        try:
            while not self._is_over:
                while self._unsent:
                    await self._websocket.send(acknowledgement(self._unsent.popleft()))
                await self._changed.take()
        except WebSocketClosed:
            return

    def end(self) -> None:
        """It is over."""
        self._is_over = True
        self._changed.notify()
