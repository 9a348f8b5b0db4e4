"""The frames of Socket Mode (Slack, "Using Socket Mode"), and what all callbacks have in common. Pure."""

import msgspec
from msgspec import Raw, Struct

from gatewayd.kit.json import decode


class ConnectionInfo(Struct, frozen=True):
    """Of a hello: the app whose token opened the connection."""

    app_id: str | None = None


class Frame(Struct, frozen=True):
    """What all frames are decoded into; ``type`` says which of the fields count.

    hello: ``num_connections``, how many connections this app has now, this one among them, and ``connection_info``.
    disconnect: ``reason``. It is link_disabled (Socket Mode was switched off), warning (about ten seconds before the end),
    refresh_requested, or in place of a hello too_many_websockets (slackapi/node-slack-sdk issue 1654).
    events_api, slash_commands, interactive: ``payload``, which is what comes by HTTP otherwise, and ``envelope_id``, by which it
    is acknowledged. ``retry_attempt`` and ``retry_reason``: it came before, and was not acknowledged in time.
    """

    type: str
    envelope_id: str | None = None
    payload: Raw = Raw(b"{}")
    retry_attempt: int | None = None
    retry_reason: str | None = None
    num_connections: int | None = None
    connection_info: ConnectionInfo | None = None
    reason: str | None = None


class Callback(Struct, frozen=True):
    """The head of an Events API request, of an interaction or of a slash command. ``api_app_id`` is whose it is.

    url_verification: ``challenge`` is what is answered (Slack, "url_verification event"). app_rate_limited: events of this minute
    are left out (Slack, "app_rate_limited event").
    """

    type: str = ""
    api_app_id: str | None = None
    challenge: str = ""


def decode_frame(message: str | bytes) -> Frame:
    """:raises Malformed: it is no frame of Slack's."""
    return decode(message, Frame, lenient=True)


def decode_callback(payload: bytes | Raw) -> Callback:
    """:raises Malformed: it is no JSON object."""
    return decode(payload, Callback, lenient=True)


def is_rate_limited(payload: bytes | Raw) -> bool:
    """Whether Slack says that it leaves events out. :raises Malformed: it is no JSON object."""
    return b"app_rate_limited" in bytes(payload) and decode_callback(payload).type == "app_rate_limited"


def acknowledgement(envelope_id: str) -> str:
    """The frame that takes an envelope over. A payload, which it may have (``accepts_response_payload``), is left out."""
    return msgspec.json.encode({"envelope_id": envelope_id}).decode()
