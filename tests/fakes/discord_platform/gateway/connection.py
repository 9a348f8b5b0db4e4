"""One connection to the gateway: hello, identify or resume, heartbeats, and the end."""

import socket
import struct
from collections import deque
from contextlib import suppress
from typing import Any

import msgspec
import trio

from tests.fakes.discord_platform.errors import Json
from tests.fakes.discord_platform.gateway.behaviour import Step
from tests.fakes.discord_platform.gateway.sessions import Session
from tests.fakes.discord_platform.gateway.state import GatewayState
from tests.fakes.discord_platform.gateway.stream import ClosedByPeer, WebSocket
from tests.fakes.discord_platform.model.events import ALL_INTENTS, GUILDS, Event

DISPATCH, HEARTBEAT, IDENTIFY, PRESENCE, VOICE_STATE, RESUME, RECONNECT = 0, 1, 2, 3, 4, 6, 7
REQUEST_MEMBERS, INVALID_SESSION, HELLO, HEARTBEAT_ACK = 8, 9, 10, 11
"""Opcodes."""
SENDS, SENDS_SECONDS = 120, 60.0
COMPRESSED_FROM_BYTES = 8192
CLOSE_GRACE_SECONDS = 5.0
REASONS = {
    4000: "Unknown error.",
    4001: "Unknown opcode.",
    4002: "Error while decoding payload.",
    4003: "Not authenticated.",
    4004: "Authentication failed.",
    4005: "Already authenticated.",
    4007: "Invalid seq.",
    4008: "Rate limited.",
    4009: "Session timed out.",
    4010: "Invalid shard.",
    4011: "Sharding required.",
    4012: "Invalid API version.",
    4013: "Invalid intent(s).",
    4014: "Disallowed intent(s).",
}


class Closing(Exception):
    """This side closes with a code; ``None`` resets TCP instead."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Connection:
    """``by_resume_url``: it came to the address of READY's resume_gateway_url. ``closed_with`` is the client's close code."""

    def __init__(self, state: GatewayState, stream: trio.SocketStream, *, by_resume_url: bool) -> None:
        self._state = state
        self._stream = stream
        self._socket = WebSocket(stream, state.behaviour)
        self._outgoing, self._queue = trio.open_memory_channel[bytes | int](float("inf"))
        self._sent_at: deque[float] = deque()
        self._heard_at = trio.current_time()
        self._compresses = False
        self._cuts = False
        self.by_resume_url = by_resume_url
        self.session: Session | None = None
        self.received: list[Json] = []
        self.is_open = True
        self.closed_with: int | None = None

    # What a session and a test do

    def send(self, payload: bytes) -> None:
        if self.is_open and self._state.behaviour.dispatches:
            self._outgoing.send_nowait(payload)

    def close(self, code: int) -> None:
        """A close frame after what waits; then the client has some seconds to answer it."""
        if self.is_open:
            self._outgoing.send_nowait(code)

    def reset(self) -> None:
        """Break TCP, with what waits unsent."""
        if self.is_open:
            self._end(resets=True)

    def cut_in_next(self) -> None:
        """Of the next payload half a frame is sent; then TCP ends."""
        self._cuts = True

    async def send_garbage(self, data: bytes, *, text: bool | None = None) -> None:
        """A message with these bytes, or, without ``text``, the bytes themselves outside of every frame."""
        if text is None:
            await self._socket.send_raw(data)
        else:
            await self._socket.send_message(data, text=text)

    def send_op(self, op: int, data: Any = None) -> None:
        """Any payload that is no event."""
        if self.is_open:
            self._outgoing.send_nowait(_payload(op, data))

    # The life of it

    async def run(self) -> None:
        """Until the end of TCP."""
        try:
            if self._state.behaviour.refuses:
                raise Closing(None)
            await self._socket.accept()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._watch)
                await self._talk()
                nursery.cancel_scope.cancel()
        except* Closing:
            self._end(resets=True)
        except* (ClosedByPeer, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._left()
            self._end()

    async def _talk(self) -> None:
        try:
            if self._socket.query.get("v") != "10" or self._socket.query.get("encoding", "json") != "json":
                raise Closing(4012)
            if self._socket.query.get("compress", "zlib-stream") != "zlib-stream":
                raise Closing(4002)
            if not self._step(self._state.behaviour.on_hello):
                interval = int(self._state.behaviour.heartbeat_seconds * 1000)
                self.send_op(HELLO, {"heartbeat_interval": interval, "_trace": ["[]"]})
            while True:
                self._take(await self._socket.receive())
        except ClosedByPeer as closed:
            self.closed_with = closed.code
            raise
        except Closing as closing:
            if closing.code is None:
                raise
            if closing.code in {4004, 4009}:
                self._forget()
            self.close(closing.code)
            while True:
                await self._socket.receive()

    async def _write(self) -> None:
        with suppress(ClosedByPeer):  # the reader finds out, too, and knows the code
            async for item in self._queue:
                if isinstance(item, bytes):
                    if self._cuts:
                        await self._socket.send(item, cut=True)
                        self._end()
                        return
                    await self._socket.send(item, compress=self._compresses and len(item) >= COMPRESSED_FROM_BYTES)
                    continue
                await self._socket.close(item, REASONS.get(item, ""))
                await trio.sleep(CLOSE_GRACE_SECONDS)
                self._end(resets=True)
                return

    async def _watch(self) -> None:
        while True:
            seconds = self._state.behaviour.heartbeat_seconds * 1.5
            await trio.sleep_until(self._heard_at + seconds)
            if trio.current_time() - self._heard_at < seconds:
                continue
            if self._state.behaviour.checks_heartbeats and self._state.behaviour.answers_close:
                self.close(4000)
                return
            self._heard_at = trio.current_time()

    def _end(self, *, resets: bool = False) -> None:
        if self.is_open:
            self.is_open = False
            if resets:
                self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._stream.socket.close()
            self._state.world.changed.notify()

    def _left(self) -> None:
        """The session stays for some minutes, unless the client said 1000 or 1001 ("Gateway", Initiating a Disconnect)."""
        if self.session is not None and self.session.line is self:
            self.session.line = None
            self.session.left_at = trio.current_time()
            if self.closed_with in {1000, 1001}:
                self._state.sessions.end(self.session)
        self._state.world.changed.notify()

    def _forget(self) -> None:
        if self.session is not None:
            self._state.sessions.end(self.session)

    # What the client says

    def _take(self, raw: bytes) -> None:
        """:raises Closing: by what is wrong with it."""
        now = trio.current_time()
        while self._sent_at and now - self._sent_at[0] >= SENDS_SECONDS:
            self._sent_at.popleft()
        self._sent_at.append(now)
        if len(self._sent_at) > SENDS:
            raise Closing(4008)
        try:
            payload = msgspec.json.decode(raw, type=Json)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Closing(4002) from None
        self.received.append(payload)
        self._state.world.changed.notify()
        data = payload.get("d")
        match payload.get("op"):
            case 1:
                self._heartbeat(data)
            case 2:
                self._identify(data)
            case 6:
                self._resume(data)
            case 3 | 4 | 8 if self.session is None:
                raise Closing(4003)
            case 3 | 4:
                pass
            case 8:
                self._members(data)
            case _:
                raise Closing(4001)

    def _heartbeat(self, data: Any) -> None:
        self._heard_at = trio.current_time()
        self._state.heartbeats.append(self._heard_at)
        if data is not None and not isinstance(data, int):
            raise Closing(4002)
        if self._state.behaviour.acknowledges:
            self.send_op(HEARTBEAT_ACK)

    def _step(self, steps: deque[Step]) -> bool:
        """Whether one was taken that replaces the answer."""
        if not steps:
            return False
        step = steps.popleft()
        match step.kind:
            case "close":
                raise Closing(step.code)
            case "reset":
                raise Closing(None)
            case "invalid":
                self.send_op(INVALID_SESSION, step.resumable)
            case "reconnect":
                self.send_op(RECONNECT)
            case _:
                pass
        return True

    def _identify(self, data: Any) -> None:
        if self.session is not None:
            raise Closing(4005)
        self._state.identifies.append(trio.current_time())
        app = self._state.world.application
        intents = self._checked(data)
        if not self._state.starts.take():
            self._state.reset_token()
            raise Closing(4004)
        if self._step(self._state.behaviour.on_identify):
            return
        if self._state.starts.is_too_soon():
            self.send_op(INVALID_SESSION, False)
            return
        self._compresses = bool(data.get("compress")) and "compress" not in self._socket.query
        session = self.session = self._state.sessions.new(intents, app.bot["id"])
        session.line = self
        guilds = self._state.guilds()
        ready: Json = {
            "v": 10,
            "user_settings": {},
            "user": {**app.bot, "verified": True, "mfa_enabled": True, "email": None},
            "session_type": "normal",
            "session_id": session.id,
            "resume_gateway_url": self._state.resume_url,
            "relationships": [],
            "private_channels": [],
            "presences": [],
            "guilds": [{"id": guild["id"], "unavailable": True} for guild in guilds],
            "guild_join_requests": [],
            "geo_ordered_rtc_regions": [],
            "game_relationships": [],
            "auth": {},
            "application": {"id": app.id, "flags": app.flags()},
            "_trace": ["[]"],
        }
        if "shard" in data:
            ready["shard"] = data["shard"]
        session.dispatch(Event("READY", ready))
        for guild in guilds:
            event = Event("GUILD_DELETE" if guild.get("unavailable") and len(guild) == 2 else "GUILD_CREATE", guild, GUILDS)
            if session.wants(event):
                session.dispatch(event)

    def _checked(self, data: Any) -> int:
        """The intents of a right IDENTIFY ("Gateway Events", Identify Structure)."""
        if not isinstance(data, dict) or not isinstance(data.get("properties"), dict):
            raise Closing(4002)
        if data.get("token") != self._state.world.application.token:
            raise Closing(4004)
        intents = data.get("intents")
        if not isinstance(intents, int) or intents & ~ALL_INTENTS:
            raise Closing(4013)
        if not self._state.world.application.allows(intents):
            raise Closing(4014)
        shard = data.get("shard", [0, 1])
        if not isinstance(shard, list) or len(shard) != 2 or not 0 <= shard[0] < shard[1]:
            raise Closing(4010)
        if self._state.needs_shards and shard[1] == 1:
            raise Closing(4011)
        return intents

    def _resume(self, data: Any) -> None:
        if self.session is not None:
            raise Closing(4005)
        self._state.resumes.append(trio.current_time())
        if not isinstance(data, dict) or not isinstance(data.get("seq"), int):
            raise Closing(4002)
        if data.get("token") != self._state.world.application.token:
            raise Closing(4004)
        if self._step(self._state.behaviour.on_resume):
            return
        session = self._state.sessions.find(str(data.get("session_id")))
        if session is None:
            self.send_op(INVALID_SESSION, False)
            return
        if not 0 <= data["seq"] <= session.seq:
            self._state.sessions.end(session)
            raise Closing(4007)
        if session.line is not None:
            session.line.close(4000)
        self.session = session
        session.line = self
        session.left_at = None
        session.replay(max(0, data["seq"] - self._state.replay_overlap))
        session.dispatch(Event("RESUMED", {"_trace": ["[]"]}))

    def _members(self, data: Any) -> None:
        """One chunk with the members asked for ("Gateway Events", Request Guild Members)."""
        assert self.session is not None
        chunk = self._state.members(data if isinstance(data, dict) else {})
        self.session.dispatch(Event("GUILD_MEMBERS_CHUNK", chunk))


def _payload(op: int, data: Any, *, t: str | None = None, s: int | None = None) -> bytes:
    return msgspec.json.encode({"t": t, "s": s, "op": op, "d": data})
