"""The texts of a reply as they read at its end. Pure."""

from collections.abc import Sequence

from msgspec.structs import replace

from gatewayd.model.message.payload import EditText, SendText
from gatewayd.ports.store import OutboundRow


def whole_texts(rows: Sequence[OutboundRow]) -> list[SendText]:
    """The texts of these rows with their edits, which are no texts of their own. The beginning of a growing reply without its
    edit is left out: the whole text is in another row, or is yet to come."""
    ends = {row.payload.of: row.payload.body for row in rows if isinstance(row.payload, EditText)}
    sent = [(row.id, row.payload) for row in rows if isinstance(row.payload, SendText)]
    return [
        replace(payload, body=ends.get(number, payload.body), grows=False)
        for number, payload in sent
        if number in ends or not payload.grows
    ]
