"""What a struct becomes in a column, and back."""

from typing import TypeVar

from msgspec import DecodeError
from msgspec.json import Decoder

from gatewayd.model.envelope import Peer
from gatewayd.model.errors import StoreRefused

T = TypeVar("T")


def peer_column(peer: Peer) -> str:
    """``kind:id[:thread]``, one text for one peer: a colon inside an id (Matrix has them) is written as %3A."""
    parts = [peer.kind, peer.id] if peer.thread is None else [peer.kind, peer.id, peer.thread]
    return ":".join(part.replace("%", "%25").replace(":", "%3A") for part in parts)


def decode_column(decoder: Decoder[T], data: bytes, where: str) -> T:
    """:raises StoreRefused: not what we wrote: the row is damaged in a way that SQLite's own check cannot see."""
    try:
        return decoder.decode(data)
    except DecodeError as error:
        raise StoreRefused(f"{where} of the store cannot be read: {error}") from error
