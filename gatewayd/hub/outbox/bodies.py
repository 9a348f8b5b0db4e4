"""A text as the bodies of messages, in the format and the size of a channel."""

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module

import structlog

from gatewayd.actor.border import Bug, describe, third_party
from gatewayd.kit.text import WireSize, compose
from gatewayd.kit.text.split import split
from gatewayd.model.message.payload import RichText
from gatewayd.ports.channel import ChannelPlugin

_log = structlog.get_logger("gatewayd.outbox")


def bodies_of(markdown: str, plugin: ChannelPlugin) -> list[RichText]:
    """One body for each message, in order. None for a text that shows nothing.

    A ``wire_size`` that fails is a bug of the plug-in. Then the plain text is counted: the platform may refuse a piece, and the
    other pieces arrive.
    """
    text_format, limit = plugin.text_format, plugin.text_limit
    return _measured(plugin, lambda size: compose(markdown, text_format=text_format, text_limit=limit, wire_size=size))


def pieces_of(body: RichText, plugin: ChannelPlugin) -> list[RichText]:
    """A text in the channel's format, one piece for each message."""
    limit = plugin.text_limit
    return [body] if limit is None else _measured(plugin, lambda size: split(body, limit, size))


def _measured(plugin: ChannelPlugin, make: Callable[[WireSize | None], list[RichText]]) -> list[RichText]:
    if plugin.wire_size is not None:
        try:
            with third_party():
                return make(_wire_size(plugin.wire_size))
        except Exception as error:
            _log.error("wire_size_failed", channel=plugin.id, reason=describe(error))
    return make(None)


@lru_cache
def _wire_size(reference: str) -> WireSize:
    """The function that a manifest names. Imported at its first use, as the driver is."""
    module, _, attribute = reference.partition(":")
    measure = getattr(import_module(module), attribute)

    def checked(body: RichText) -> int:
        size: object = measure(body)
        if not isinstance(size, int):
            raise Bug(f"{reference} gives a {type(size).__name__}, not a number")
        return size

    return checked
