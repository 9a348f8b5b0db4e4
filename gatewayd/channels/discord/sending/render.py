"""Formatted text as Discord's markdown ("Reference", "Message Formatting"). Pure."""

from gatewayd.model.message.payload import RichText


def units_in(text: str) -> int:
    """The length in UTF-16 code units: what Discord counts is not documented, and this is never less."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def wire_size(body: RichText) -> int:
    """The size of a text as Discord counts it."""
    return units_in(body.text)
