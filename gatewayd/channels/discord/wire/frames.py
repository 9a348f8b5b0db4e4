"""Payloads of the gateway ("Gateway", "Gateway Events", "Opcodes and Status Codes"). Pure, but for what inflating remembers."""

import zlib
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from gatewayd.kit.json import Malformed, decode

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID_SESSION, HELLO, HEARTBEAT_ACK = 0, 1, 2, 6, 7, 9, 10, 11
"""Opcodes ("Gateway Opcodes")."""

GUILDS, GUILD_MESSAGES, DIRECT_MESSAGES, MESSAGE_CONTENT = 1 << 0, 1 << 9, 1 << 12, 1 << 15
"""Intents ("Gateway", "List of Intents"). The last one is privileged."""

MOST_INFLATED_BYTES: Final = 64 * 1024 * 1024
"""Of one payload: a guild of thousands of channels has some MB."""

_END: Final = b"\x00\x00\xff\xff"


class Frame(Struct, frozen=True):
    """One payload. ``s`` and ``t`` are the number and the name of a dispatch."""

    op: int
    d: Raw = Raw()
    s: int | None = None
    t: str | None = None


class Hello(Struct, frozen=True):
    """``heartbeat_interval`` is in milliseconds."""

    heartbeat_interval: float


class Ready(Struct, frozen=True):
    """Of READY what the connection needs."""

    session_id: str
    resume_gateway_url: str = ""


class Session(Struct, frozen=True):
    """What resumes: the session, the number of its last dispatch, and where ("Gateway", "Resuming")."""

    id: str
    seq: int
    url: str


class Inflator:
    """Unpacks one connection's zlib stream ("Gateway", "Transport Compression"). One for each connection."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj()
        self._waiting = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        """The payload that ends with this message; None: more of it will come.

        :raises Malformed: it is no zlib stream, or a payload is too large. The connection is of no use any more.
        """
        self._waiting += data
        if len(self._waiting) > MOST_INFLATED_BYTES:
            raise Malformed("a payload without an end", is_json=False)
        if not self._waiting.endswith(_END):
            return None
        try:
            payload = self._stream.decompress(bytes(self._waiting), MOST_INFLATED_BYTES)
        except zlib.error:
            raise Malformed("it cannot be unpacked", is_json=False) from None
        self._waiting.clear()
        if self._stream.unconsumed_tail or self._stream.eof:
            raise Malformed("a payload is longer than 64 MiB unpacked", is_json=False)
        return payload


def decode_frame(data: str | bytes) -> Frame:
    """:raises Malformed:"""
    return decode(data, Frame, lenient=True)


def identify(token: str, intents: int) -> str:
    """ "Gateway Events", "Identify". One shard: it may be of 2,500 guilds at most."""
    properties = {"os": "linux", "browser": "gatewayd", "device": "gatewayd"}
    data = {"token": token, "properties": properties, "intents": intents, "large_threshold": 50, "shard": [0, 1]}
    return _payload(IDENTIFY, data)


def resume(token: str, session: Session) -> str:
    """ "Gateway Events", "Resume"."""
    return _payload(RESUME, {"token": token, "session_id": session.id, "seq": session.seq})


def heartbeat(seq: int | None) -> str:
    """ "Gateway", "Sending Heartbeats": with the number of the last dispatch."""
    return _payload(HEARTBEAT, seq)


def _payload(op: int, data: Any) -> str:
    return msgspec.json.encode({"op": op, "d": data}).decode()
