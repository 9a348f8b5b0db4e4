"""The frames of Socket Mode (Slack, "Using Socket Mode"), from bytes to structs and back. Pure."""

from typing import Final, Literal

import msgspec
from msgspec import Raw, Struct

from gatewayd.kit.json import decode

Kind = Literal["events_api", "slash_commands", "interactive"]
KINDS: Final[tuple[Kind, ...]] = ("events_api", "slash_commands", "interactive")


class ConnectionInfo(Struct, frozen=True):
    """Of a hello: whose app token it is."""

    app_id: str | None = None


class Frame(Struct, frozen=True):
    """What all frames are decoded into; ``type`` says which of the fields count.

    hello: ``num_connections``, the connections of this app, ours among them, and ``connection_info``.
    disconnect: ``reason``, which is warning, refresh_requested, link_disabled, or too_many_websockets in place of a hello.
    events_api, slash_commands, interactive: ``envelope_id``, by which it is acknowledged, and ``payload``, which is what comes
    by HTTP otherwise; ``retry_attempt`` and ``retry_reason`` when it came before.
    """

    type: str
    envelope_id: str | None = None
    payload: Raw = Raw(b"{}")
    retry_attempt: int | None = None
    retry_reason: str | None = None
    num_connections: int | None = None
    connection_info: ConnectionInfo | None = None
    reason: str | None = None


def decode_frame(message: str | bytes) -> Frame:
    """:raises Malformed: it is no frame of Slack's."""
    return decode(message, Frame, lenient=True)


def acknowledgement(envelope_id: str) -> str:
    """The frame that takes an envelope over. The payload that it may have (``accepts_response_payload``) is left out."""
    return msgspec.json.encode({"envelope_id": envelope_id}).decode()
