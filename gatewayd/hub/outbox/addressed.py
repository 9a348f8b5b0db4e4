"""What is sent for an edit: the platform's id of its message, or a new message in its place. Pure."""

from msgspec import Struct
from msgspec.structs import replace

from gatewayd.model.message.payload import EditText, OutboundPayload, SendText
from gatewayd.ports.store import OutboundRow


class Addressed(Struct, frozen=True):
    """What to send for a row: None if the message to edit was not sent, or the platform gave it no id. ``instead`` is the new
    message for an edit that cannot be made and whose text must arrive."""

    payload: OutboundPayload | None
    instead: SendText | None = None


def addressed(edit: EditText, edited: OutboundRow | None) -> Addressed:
    """``edited`` is the row of the message to edit, if it is kept."""
    receipt = None if edited is None else edited.receipt
    found = None if receipt is None or receipt.message_id is None else replace(edit, message_id=receipt.message_id)
    return Addressed(found, _instead_of(edit, edited) if edit.or_send else None)


def _instead_of(edit: EditText, edited: OutboundRow | None) -> SendText:
    fresh = SendText(edit.peer, edit.body)
    if edited is not None and isinstance(edited.payload, SendText):
        fresh = replace(edited.payload, body=edit.body, grows=False)
    return replace(fresh, choices=edit.choices, instead=edit.instead)
