"""A conversation as it reads now. Pure."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from gatewayd.model.envelope import InboundEnvelope
from gatewayd.model.payload import Choice, EditText
from gatewayd.ports.store import Said


class ChatLine(Struct, frozen=True):
    """One line of a conversation: a message (``direction`` in) or a reply (out).

    ``text`` and ``choices`` are those of its newest edit, whose row is ``edit``; 0: it was never edited. ``event_key`` is that of
    a message.
    """

    direction: Literal["in", "out"]
    id: int
    at: float
    text: str
    state: str
    choices: tuple[tuple[Choice, ...], ...] = ()
    edit: int = 0
    event_key: str = ""


def lines_of(rows: Iterable[Said]) -> list[ChatLine]:
    """The lines of a transcript, in its order. An edit is no line: of those of one reply the newest counts, and one of a reply
    that is not among the rows is passed over."""
    lines: dict[tuple[str, int], ChatLine] = {}
    edits: dict[int, EditText] = {}
    for row in rows:
        match row.content:
            case InboundEnvelope(text=text, event_key=key):
                lines["in", row.id] = ChatLine("in", row.id, row.at, text, row.state, event_key=key)
            case EditText() as edit:
                edits[row.id] = edit
            case payload:
                lines["out", row.id] = ChatLine("out", row.id, row.at, payload.body.text, row.state, payload.choices)
    for number, edit in sorted(edits.items()):
        if (old := lines.get(("out", edit.of))) is not None:
            lines["out", edit.of] = replace(old, text=edit.body.text, choices=edit.choices, edit=number)
    return list(lines.values())
