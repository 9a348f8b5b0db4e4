"""From envelopes to the text an agent reads: a short header (who, where), the text, attachments as references. Pure."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec.structs import replace

from gatewayd.model.envelope import Attachment, InboundEnvelope

_NAME_MAX = 64


def merge_edits(envelopes: Sequence[InboundEnvelope]) -> list[InboundEnvelope]:
    """Messages as they read now: an edit takes the place of the text it changes, and is no message of its own."""
    merged: list[InboundEnvelope] = []
    for envelope in envelopes:
        at = next((i for i, old in enumerate(merged) if _changes(envelope, old)), None)
        if at is None:
            merged.append(envelope)
        else:
            merged[at] = replace(merged[at], text=envelope.text, attachments=envelope.attachments)
    return merged


def _changes(edit: InboundEnvelope, old: InboundEnvelope) -> bool:
    return edit.kind == "edit" and edit.message_id is not None and (edit.message_id, edit.peer) == (old.message_id, old.peer)


def render_prompt(envelopes: Sequence[InboundEnvelope]) -> str:
    """One block per message, apart by a blank line."""
    return "\n\n".join(_block(envelope) for envelope in envelopes)


def _block(envelope: InboundEnvelope) -> str:
    lines = [_header(envelope)]
    if envelope.text:
        lines.append(envelope.text)
    lines += [_reference(attachment) for attachment in envelope.attachments]
    return "\n".join(lines)


def _header(envelope: InboundEnvelope) -> str:
    peer = envelope.peer
    where = f"{envelope.channel}/{envelope.account} {peer.kind}"
    if peer.kind != "dm":
        where += f" {_plain(peer.id)}"
    if peer.thread is not None:
        where += f" thread {_plain(peer.thread)}"
    sender = envelope.sender
    who = _plain(sender.name or sender.username or sender.id)
    if sender.username and sender.name:
        who += f" (@{_plain(sender.username)})"
    what = {"message": "", "edit": ", edited", "button": ", pressed a button", "membership": ""}[envelope.kind]
    return f"[{where}, from {who}, {_time(envelope)}{what}]"


def _time(envelope: InboundEnvelope) -> str:
    for seconds in (envelope.sent_at, envelope.received_at):
        try:
            return f"{datetime.fromtimestamp(seconds or math.nan, UTC):%Y-%m-%d %H:%M} UTC"
        except (ValueError, OverflowError, OSError):
            continue  # what a platform says of the time may be no time
    return "at an unknown time"


def _reference(attachment: Attachment) -> str:
    about: list[str] = [attachment.kind]
    if attachment.name:
        about.append(_plain(attachment.name))
    if attachment.mime:
        about.append(_plain(attachment.mime))
    if attachment.size_bytes is not None:
        about.append(f"{attachment.size_bytes} bytes")
    return f"[attachment: {', '.join(about)}; ref {_plain(attachment.ref, 256)}]"


def _plain(text: str, at_most: int = _NAME_MAX) -> str:
    """A name as one harmless word in a header: people choose their names, and a name must not look like a header."""
    cleaned = "".join(" " if char in "[]\r\n" or not char.isprintable() else char for char in text)
    return " ".join(cleaned.split())[:at_most]
