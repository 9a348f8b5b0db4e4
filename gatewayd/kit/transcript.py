"""Transcripts: the lines of a conversation, with all edits applied. Pure."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Literal

from msgspec import Struct

from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.payload import Choice, EditText, SendFile, SendText, text_of
from gatewayd.ports.store import TranscriptRow


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


def lines_of(rows: Sequence[TranscriptRow]) -> list[ChatLine]:
    """The lines of a transcript, in its order. An edit is no line of its own: the newest edit of a reply is applied to it, and
    edits of replies that are not among the rows are left out."""
    edits = sorted(((row.id, row.content) for row in rows if isinstance(row.content, EditText)), key=itemgetter(0))
    newest = {edit.of: (number, edit) for number, edit in edits}
    return [_line(row, row.content, newest) for row in rows if not isinstance(row.content, EditText)]


def _line(
    row: TranscriptRow, content: InboundEnvelope | SendText | SendFile, edits: Mapping[int, tuple[int, EditText]]
) -> ChatLine:
    if isinstance(content, InboundEnvelope):
        return ChatLine("in", row.id, row.at, content.text, row.state, event_key=content.event_key)
    if isinstance(content, SendFile):
        return ChatLine("out", row.id, row.at, text_of(content), row.state)
    number, shown = edits.get(row.id, (0, content))
    return ChatLine("out", row.id, row.at, shown.body.text, row.state, shown.choices, number)
