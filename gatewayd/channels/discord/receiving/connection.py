"""One connection to the gateway, from its handshake to its end ("Gateway", "Connection Lifecycle")."""

from collections.abc import Callable
from typing import Final

import anyio

from gatewayd.channels.discord.wire.frames import (
    HEARTBEAT_ACK,
    HELLO,
    Frame,
    Hello,
    Inflator,
    decode_frame,
    heartbeat,
)
from gatewayd.kit.json import Malformed, decode
from gatewayd.kit.network.rate import Pace
from gatewayd.kit.network.websocket import WebSocket, WebSocketClosed
from gatewayd.ports.channel import ChannelServices

HELLO_SECONDS: Final = 10.0
"""From an open WebSocket to its hello."""
LONGEST_BEAT_SECONDS: Final = 600.0
SHORTEST_BEAT_SECONDS: Final = 1.0
"""Bounds of the interval that Discord names. It is about 41 seconds."""
SENDS_PER_MINUTE: Final = 110
"""Discord takes 120 in a minute ("Gateway", "Rate Limiting")."""


class Ended(Exception):
    """A connection is over. ``code`` is the close code of Discord, None for any other end. Never leaves the driver."""

    def __init__(self, reason: str, *, code: int | None = None, after_seconds: float | None = None, is_new: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.after_seconds = after_seconds
        self.is_new = is_new
        """The session cannot be resumed."""


class Connection:
    """Receives frames, and beats. ``place`` tells the number of the last dispatch that is stored."""

    def __init__(self, websocket: WebSocket, services: ChannelServices, place: Callable[[], int | None]) -> None:
        self._place = place
        self._websocket = websocket
        self._services = services
        self._inflator = Inflator()
        self._pace = Pace(burst=SENDS_PER_MINUTE // 2, per_second=SENDS_PER_MINUTE / 2 / 60)
        self._interval = 0.0
        self._is_acknowledged = True

    async def greet(self) -> None:
        """Wait for the hello. :raises Ended: none came."""
        with anyio.move_on_after(HELLO_SECONDS):
            frame, _ = await self.receive()
            if frame.op != HELLO:
                raise Ended("Discord's gateway began with something else than its hello")
            try:
                milliseconds = decode(frame.d, Hello).heartbeat_interval
            except Malformed:
                raise Ended("Discord's gateway named no interval for heartbeats") from None
            self._interval = min(max(milliseconds / 1000, SHORTEST_BEAT_SECONDS), LONGEST_BEAT_SECONDS)
            return
        raise Ended(f"no hello came from Discord's gateway within {HELLO_SECONDS:g} s")

    async def receive(self) -> tuple[Frame, int]:
        """The next frame, with its size in bytes. :raises Ended: the connection is over, or cannot be read."""
        while True:
            try:
                message = await self._websocket.receive()
            except WebSocketClosed as closed:
                raise _ended(closed) from None
            self._services.connection.heard()
            try:
                payload = self._inflator.feed(message) if isinstance(message, bytes) else message
                if payload is None:
                    continue
                frame = decode_frame(payload)
            except Malformed as malformed:
                raise Ended(f"Discord's gateway sent what nobody can read: {malformed}") from None
            if frame.op == HEARTBEAT_ACK:
                self._is_acknowledged = True
            return frame, len(payload)

    async def send(self, text: str) -> None:
        """Send one payload, no faster than Discord takes them. :raises Ended:"""
        at = self._pace.ready_at()
        self._pace.take(max(at, anyio.current_time()))
        await anyio.sleep_until(at)
        try:
            await self._websocket.send(text)
        except WebSocketClosed as closed:
            raise _ended(closed) from None

    async def beat(self) -> None:
        """Beat until the connection is over: the first time after a random part of the interval.

        :raises Ended: the last beat was not acknowledged: nobody is there any more.
        """
        pause = self._interval * self._services.rng.random()
        while True:
            await anyio.sleep(pause)
            if not self._is_acknowledged:
                raise Ended("Discord's gateway does not answer heartbeats")
            self._is_acknowledged = False
            await self.send(heartbeat(self._place()))
            pause = self._interval

    async def answer_beat(self) -> None:
        """Discord asks for a beat. One that comes too often is left out."""
        if self._pace.ready_at() <= anyio.current_time():
            await self.send(heartbeat(self._place()))


def _ended(closed: WebSocketClosed) -> Ended:
    code = closed.code if closed.by == "peer" else None
    return Ended(f"Discord's gateway: {closed.reason}", code=code, after_seconds=closed.retry_after_seconds)
