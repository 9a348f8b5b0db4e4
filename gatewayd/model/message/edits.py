"""Messages and their edits: which edit changes which message, and how messages read with their edits. Pure."""

from collections.abc import Sequence

from msgspec.structs import replace

from gatewayd.model.message.envelope import InboundEnvelope


def is_edit_of(edit: InboundEnvelope, message: InboundEnvelope) -> bool:
    """Whether ``edit`` changes ``message``: both carry one message id in one conversation."""
    same = edit.message_id is not None and edit.message_id == message.message_id
    return edit.kind == "edit" and same and edit.conversation == message.conversation


def merge_edits(envelopes: Sequence[InboundEnvelope]) -> list[InboundEnvelope]:
    """Messages as they read now: an edit replaces the text that it changes, and is no message of its own."""
    merged: list[InboundEnvelope] = []
    for envelope in envelopes:
        at = next((i for i, old in enumerate(merged) if is_edit_of(envelope, old)), None)
        if at is None:
            merged.append(envelope)
        else:
            merged[at] = replace(
                merged[at],
                text=envelope.text,
                attachments=envelope.attachments,
                caption=envelope.caption,
                described=envelope.described,
            )
    return merged
