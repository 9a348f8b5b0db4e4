"""Texts as long as a channel takes them, in the way in which the platform counts."""

from collections.abc import Callable
from typing import cast

from gatewayd.kit.text import compose
from gatewayd.kit.text.split import size_of
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import RichText
from gatewayd.ports.channel import Channel, ChannelPlugin, LimitsText, TextLimit
from gatewayd.testing.manifest import resolve

UNLIMITED = 20_000
"""Code points of a text for a channel that has no limit."""


def limit_for(plugin: ChannelPlugin, channel: Channel, peer: Peer) -> TextLimit | None:
    """The limit that the hub keeps to."""
    return channel.limit_of(peer) if isinstance(channel, LimitsText) else plugin.text_limit


def longest_of(plugin: ChannelPlugin, limit: TextLimit | None, pattern: str) -> str:
    """The pattern again and again, as long as the limit allows it."""
    if limit is None:
        return pattern * (UNLIMITED // len(pattern))
    text = pattern * (limit.size // len(pattern) + 1)
    fits, too_much = 0, len(text) + 1
    while too_much - fits > 1:
        middle = (fits + too_much) // 2
        if _size(plugin, limit, text[:middle]) <= limit.size:
            fits = middle
        else:
            too_much = middle
    return text[:fits]


def pieces_of(plugin: ChannelPlugin, limit: TextLimit | None) -> list[RichText]:
    """A text of three times the limit, of short and long lines and of paragraphs, as the hub sends it."""
    at_least = 3 * (3000 if limit is None else limit.size)
    lines: list[str] = []
    while sum(map(len, lines)) < at_least:
        number = len(lines)
        lines.append(f"line {number}" + " and so on" * (number % 7) + ("\n" if number % 5 == 4 else ""))
    return compose("\n".join(lines), text_format=plugin.text_format, text_limit=limit, wire_size=_wire_size(plugin))


def _size(plugin: ChannelPlugin, limit: TextLimit, text: str) -> int:
    wire_size = _wire_size(plugin)
    return size_of(text, limit.unit) if wire_size is None else wire_size(RichText(text))


def _wire_size(plugin: ChannelPlugin) -> Callable[[RichText], int] | None:
    return None if plugin.wire_size is None else cast("Callable[[RichText], int]", resolve(plugin.wire_size))
