"""Checks that ids and texts can be stored: every store keeps them unchanged, so two equal ids stay equal."""

from collections.abc import Iterator
from typing import Final

from msgspec.json import Encoder

from gatewayd.model.errors import UnusableId
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.report import DeliveryReport

MAX_ID_BYTES: Final = 2048
"""In UTF-8. The longest id of a platform has a tenth of it. The key of a connector has the name of the connector in front."""
_encode: Final = Encoder().encode


def is_text(text: str) -> bool:
    """Whether the text is Unicode. JSON can contain half a surrogate pair, which is not Unicode and has no bytes."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def why_unusable(text: str) -> str | None:
    """Why the text cannot be an id: words to follow the name of the id. None: it can."""
    if text.isascii() and len(text) <= MAX_ID_BYTES and "\0" not in text:
        return None
    if not is_text(text):
        return "has half a surrogate pair"
    if (size := len(text.encode())) > MAX_ID_BYTES:
        return f"has {size} bytes, more than {MAX_ID_BYTES}"
    return "has a NUL character" if "\0" in text else None


def refuse_unusable(envelope: InboundEnvelope) -> None:
    """:raises UnusableId: one of its ids cannot be kept, or one of its texts has no bytes."""
    if _is_short_and_plain(envelope):
        return
    for name, value in _ids(envelope):
        if value is not None and (why := why_unusable(value)) is not None:
            raise UnusableId(f"{name} {why}")
    for name, value in _texts(envelope):
        if value is not None and not is_text(value):
            raise UnusableId(f"{name} has half a surrogate pair")


def _is_short_and_plain(envelope: InboundEnvelope) -> bool:
    """Whether no further check is needed, as for most messages. It takes a microsecond, and every message is checked."""
    try:
        whole = _encode(envelope)
    except UnicodeEncodeError:
        return False
    return len(whole) <= MAX_ID_BYTES and b"\\u0000" not in whole


def refuse_unusable_state(key: str, value: str) -> None:
    """:raises UnusableId: the key cannot be kept, or the value has no bytes."""
    if (why := why_unusable(key)) is not None:
        raise UnusableId(f"the key of a state value {why}")
    if not is_text(value):
        raise UnusableId("a state value has half a surrogate pair")


def refuse_unusable_report(report: DeliveryReport) -> None:
    """:raises UnusableId: its id cannot be kept, or its reason has no bytes or more of them than an id."""
    for name, value in (("message_id", report.message_id), ("reason", report.reason)):
        if value is not None and (why := why_unusable(value)) is not None:
            raise UnusableId(f"the {name} of a delivery report {why}")


def _ids(envelope: InboundEnvelope) -> Iterator[tuple[str, str | None]]:
    yield "channel", envelope.channel
    yield "account", envelope.account
    yield "event_key", envelope.event_key
    yield "peer.id", envelope.peer.id
    yield "peer.thread", envelope.peer.thread
    yield "sender.id", envelope.sender.id
    yield "message_id", envelope.message_id
    yield "reply_to", envelope.reply_to
    yield "guild", envelope.guild
    yield "team", envelope.team
    yield "press", envelope.press
    yield "via", envelope.via
    yield "formerly", envelope.formerly
    yield "answer_with", envelope.answer_with


def _texts(envelope: InboundEnvelope) -> Iterator[tuple[str, str | None]]:
    yield "text", envelope.text
    yield "sender.name", envelope.sender.name
    yield "username", envelope.sender.username
    yield "via_bot", envelope.via_bot
    for attachment in envelope.attachments:
        yield "ref", attachment.ref
        yield "name", attachment.name
        yield "mime", attachment.mime
    if envelope.forwarded is not None:
        yield "forwarded.name", envelope.forwarded.name
        yield "forwarded.id", envelope.forwarded.id
