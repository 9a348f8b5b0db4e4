"""Outgoing texts: from an agent's markdown to pieces that fit into one message of a platform.

The HTML for the project's own pages is in ``kit/html.py``; a platform's own formats are in its channel.
"""

from gatewayd.kit.text.markdown import render
from gatewayd.kit.text.sanitise import is_blank, sanitise
from gatewayd.kit.text.split import WireSize, split
from gatewayd.model.message.payload import RichText
from gatewayd.ports.channel import TextFormat, TextLimit

__all__ = ["WireSize", "compose", "is_blank", "sanitise"]


def compose(
    markdown: str, *, text_format: TextFormat, text_limit: TextLimit | None, wire_size: WireSize | None = None
) -> list[RichText]:
    """What to send for an agent's reply: one body per message, in order; empty when a reader would see nothing.

    ``markdown`` stays as it is (a limit cuts it without regard for its markup: a channel with a limit says rich), ``plain``
    is text alone, ``rich`` is text and spans. Never raises for any text, if ``wire_size`` does not.
    """
    text = sanitise(markdown)
    if is_blank(text):
        return []
    body = RichText(text) if text_format == "markdown" else render(text, spans=text_format == "rich")
    if is_blank(body.text):
        body = RichText(text)  # markup alone, e.g. "#": shown as it was written
    pieces = [body] if text_limit is None else split(body, text_limit, wire_size)
    return [piece for piece in pieces if not is_blank(piece.text)]
