"""What to do with a reply that may have been seen: send it again, look it up, or leave it to a person. Pure."""

import math
from typing import Literal

from gatewayd.model.message.payload import EditText
from gatewayd.ports.channel import ChannelPlugin
from gatewayd.ports.store import OutboundRow

Call = Literal["send", "look_up"]
"""The call of the driver that a reply's turn is used for: ``Channel.send``, or ``Reconciles.find_sent``."""


def call_for(row: OutboundRow, plugin: ChannelPlugin | None, *, at: float, takes: float) -> Call | None:
    """The call for a reply whose turn comes ``at`` (Unix seconds), if a call takes so many seconds at most. None: it is not sent
    again by itself. What an operator has retried is sent, but looked up first where that is possible."""
    if _is_safe(row, plugin, at=at, takes=takes):
        return "send"
    if plugin is not None and plugin.reconciles:
        return "look_up"
    return "send" if row.retries else None


def waits_for_turn(row: OutboundRow, plugin: ChannelPlugin | None, *, at: float, takes: float) -> bool:
    """Whether a reply whose newest send was cut gets another turn by itself, which comes ``at`` the earliest.

    An operator's retry is for one send. So its repeat must be safe at any time: nothing stops it later.
    """
    if plugin is not None and plugin.reconciles:
        return True
    return _is_safe(row, plugin, at=math.inf if row.retries else at, takes=takes)


def _is_safe(row: OutboundRow, plugin: ChannelPlugin | None, *, at: float, takes: float) -> bool:
    """Whether a send is seen once, also if the one before was. After a wall clock was set back, its time is far from the doubt,
    too."""
    if row.doubt_since is None or isinstance(row.payload, EditText):
        return True
    seconds = None if plugin is None else plugin.resend_safe_seconds
    return seconds is not None and (seconds == math.inf or abs(at - row.doubt_since) + takes < seconds)
