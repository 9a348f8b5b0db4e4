"""Messages and what happens to them later: which edit or deletion is of which message, and how messages read with their edits.
Pure."""

from collections.abc import Sequence

from msgspec.structs import replace

from gatewayd.model.message.envelope import InboundEnvelope


def is_edit_of(edit: InboundEnvelope, message: InboundEnvelope) -> bool:
    """Whether ``edit`` changes ``message``: both carry one message id in one conversation."""
    same = edit.message_id is not None and edit.message_id == message.message_id
    return edit.kind == "edit" and same and edit.conversation == message.conversation


def is_deletion_of(deletion: InboundEnvelope, message: InboundEnvelope) -> bool:
    """Whether ``deletion`` says that ``message`` is gone. A platform may not say in which thread of the chat it was."""
    same = deletion.message_id is not None and deletion.message_id == message.message_id
    here, there = (replace(each.conversation, peer=each.peer.whole) for each in (deletion, message))
    return deletion.kind == "deleted" and message.is_message and same and here == there


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
