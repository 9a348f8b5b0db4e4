"""The rows of the outbox that show one request or question: which of them are its prompts, and when it is shown anew. Pure."""

from collections.abc import Sequence
from typing import Final

from gatewayd.model.lifecycle import NEVER_SEEN, SEEN
from gatewayd.model.message.payload import EditText, SendText
from gatewayd.ports.store import OutboundRow

SHOWN_ANEW_MAX: Final = 3
"""How often one prompt is shown anew in a chat. An account that is lost again and again must not fill its chats. All prompts keep
their buttons, so that a press is possible after the last one, too."""
ANEW: Final = "_Asked again below: a press may have been lost._"


def prompts_of(rows: Sequence[OutboundRow]) -> dict[str, list[OutboundRow]]:
    """The prompts of each conversation, oldest first: its first row, and the later ones with buttons, which show it anew. The
    other rows are edits, or outcomes."""
    found: dict[str, list[OutboundRow]] = {}
    for row in rows:
        known = found.setdefault(row.conversation, [])
        if not known or (isinstance(row.payload, SendText) and row.payload.choices):
            known.append(row)
    return found


def is_due(prompts: Sequence[OutboundRow], *, before: float) -> bool:
    """Whether to show a prompt anew after a gap that ended at ``before``, in Unix seconds. ``prompts`` are those of one chat. One
    that waits to be sent, or was sent since, can be pressed now."""
    newest = prompts[-1]
    may_be_pressed = SEEN[newest.state] in ("yes", "perhaps") and bool(newest.payload.choices)
    return may_be_pressed and (newest.sending_at or 0.0) < before and len(prompts) <= SHOWN_ANEW_MAX


def why_lost(prompts: Sequence[OutboundRow]) -> str | None:
    """Why nobody will see any of these rows; None: somebody may."""
    if any(row.state not in NEVER_SEEN for row in prompts):
        return None
    return f"it could not be shown: {prompts[-1].reason or prompts[-1].state}"


def edits_of(row: OutboundRow, rows: Sequence[OutboundRow]) -> list[OutboundRow]:
    return [edit for edit in rows if isinstance(edit.payload, EditText) and edit.payload.of == row.id]
