"""Growing replies: each answer is whole, once, and in one message with its further parts; and none is left without its end."""

from collections import defaultdict
from typing import TYPE_CHECKING

from gatewayd.model.message.payload import EditText, SendText
from tests.simulation.checks.ledger import Ledger, OutRow
from tests.simulation.trace import Violation

if TYPE_CHECKING:
    from tests.simulation.world import World


def is_said(row: OutRow) -> bool:
    """Whether it is a part of an answer, or of what takes its place. The beginning of a growing reply comes with its end, too."""
    payload = row.payload
    return row.subject is None and (
        payload.or_send if isinstance(payload, EditText) else isinstance(payload, SendText) and not payload.grows
    )


def check_growth(world: "World", ledger: Ledger) -> None:
    """:raises Violation:"""
    said, begun = defaultdict[str, list[OutRow]](list), defaultdict[str, list[OutRow]](list)
    for row in ledger.outbound:
        if row.turn_id is not None and row.subject is None:
            (said if is_said(row) else begun)[row.turn_id].append(row)
    answers = defaultdict[str, list[str]](list)
    for core in world.cores:  # another agent may have taken the turn, and the first one have answered all the same
        for turn, ran in core.turns.items():
            answers[turn] += ran.answers
    for message in ledger.inbound:
        turn = message.turn_id or ""
        if message.reason == "answered" and _letters(said[turn]) not in map(_letters_of, answers[turn]):
            texts = [row.payload.body.text[:60] for row in said[turn]]
            raise Violation("one answer", f"{turn} was answered with {answers[turn]}, and says {texts}")
        if len(begun[turn]) > 1:
            raise Violation("one answer", f"{turn} has begun {len(begun[turn])} messages")
        if begun[turn] and not said[turn] and message.reason != "account_removed":
            raise Violation("one answer", f"out-{begun[turn][0].id} grows, and {turn} ended as {message.reason} without its end")
    for account in world.accounts.values():
        for row in ledger.outbound:
            is_here = (row.channel, row.account, row.state) == (account.channel, account.name, "sent")
            if is_here and is_said(row) and isinstance(row.payload, EditText):
                shown = account.shown[row.message_id or ""].texts[-1]
                if shown != row.payload.body.text:
                    raise Violation("one answer", f"{account} shows {shown[:60]!r} after the end of the reply, out-{row.id}")


def _letters(rows: list[OutRow]) -> str:
    return "".join(_letters_of(row.payload.body.text) for row in rows)


def _letters_of(text: str) -> str:
    """Without markup and white space, at which a text is cut."""
    return "".join(filter(str.isalnum, text))
