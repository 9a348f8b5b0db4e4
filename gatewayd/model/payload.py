"""What goes out: formatted text, the outbound actions, the receipt, and the signals that are not journaled."""

from typing import Literal

from msgspec import Struct

from gatewayd.model.envelope import Peer

SpanKind = Literal["bold", "italic", "strike", "code", "pre", "link", "quote"]


class Span(Struct, frozen=True, omit_defaults=True):
    """A format over ``text[start:end]`` (Python string indices). ``arg`` is the URL of a link or the language of a pre."""

    kind: SpanKind
    start: int
    end: int
    arg: str | None = None


class RichText(Struct, frozen=True, omit_defaults=True):
    """Plain text and the formats over it. Spans nest or are apart; they never cross."""

    text: str
    spans: tuple[Span, ...] = ()


class SendText(Struct, frozen=True, omit_defaults=True, tag="send_text"):
    """One message. ``body.text`` is markdown, plain or plain-with-spans, as the plugin's ``text_format`` says.

    ``part`` of ``parts`` (from 1) when a long reply was split; ``reply_to`` is a platform message id.
    """

    peer: Peer
    body: RichText
    reply_to: str | None = None
    part: int = 1
    parts: int = 1


# The union grows by variants (edit_text, send_media, ask_approval …), each with a capability flag in the manifest.
OutboundPayload = SendText


class Receipt(Struct, frozen=True, omit_defaults=True):
    """What the platform said of a send. ``message_id`` is the platform's, when it gives one."""

    message_id: str | None = None


class Typing(Struct, frozen=True, tag="typing"):
    """A turn runs for this peer. Repeated by the hub while it runs; lost without harm."""

    peer: Peer


class Draft(Struct, frozen=True, tag="draft"):
    """The reply so far, for channels that can show it. ``text`` is the whole markdown so far, not the delta."""

    peer: Peer
    turn_id: str
    text: str


Signal = Typing | Draft
