"""Whose word counts: what must hold of answers, commands and votes at the end of a run."""

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from tests.simulation.checks.ledger import InRow, Ledger, QuestionedRow
from tests.simulation.scenario import OPERATORS
from tests.simulation.trace import Violation

if TYPE_CHECKING:
    from tests.simulation.world import World

_SURELY_SECONDS: Final = 90.0
"""What was in the store for so long was known to whoever wrote after it, however slow the disk was."""
_OPTIONS: Final = {"1": "this", "2": "that"}


def check_decisions(world: "World", ledger: Ledger) -> None:
    """:raises Violation:"""
    for rule in (_only_own_words_decide, _roles, _answers_hold_the_newest_text, _who_answers, _brought):
        rule(world, ledger)


def _only_own_words_decide(world: "World", ledger: Ledger) -> None:
    voted = {vote.inbound_id for row in ledger.asked for vote in row.votes}
    for row in ledger.inbound:
        # Not by the daemon's own word for it.
        own = (row.envelope.forwarded, row.envelope.via_bot, row.envelope.caption) == (None, None, False)
        if not own and row.envelope.kind == "message" and row.reason in ("command", "command_refused", "approval_vote"):
            raise Violation("whose word", f"in-{row.id} is not its sender's own word, and ended as {row.reason}")
        if (not own or row.envelope.via is not None) and row.id in voted:
            raise Violation("whose word", f"in-{row.id} was forwarded, written by a bot or brought, and counts as a vote")


def _roles(world: "World", ledger: Ledger) -> None:
    """In groups: a turn is stopped, and a session renewed, by who wrote it or has a role."""
    stops: dict[str, set[str]] = defaultdict(set)
    wrote: dict[str, set[str]] = defaultdict(set)
    for row in ledger.inbound:
        if row.turn_id is not None:
            wrote[row.place].add(row.envelope.sender.id)
        if row.envelope.text == "/stop" and row.reason == "command":
            stops[row.place].add(row.envelope.sender.id)
    for row in ledger.inbound:
        if row.envelope.peer.kind == "dm":
            continue
        who = row.envelope.sender.id
        if row.reason == "stopped":
            may = {who, *OPERATORS, *(each.envelope.sender.id for each in ledger.turns[row.turn_id or ""])}
            if not stops[row.place] & may:
                raise Violation("whose word", f"in-{row.id} of {sorted(may)} was stopped, by {sorted(stops[row.place])}")
        if row.envelope.text == "/new" and row.reason == "command" and who not in OPERATORS and who not in wrote[row.place]:
            raise Violation("whose word", f"in-{row.id}: {who} had written nothing there, and began a new session")


def _answers_hold_the_newest_text(world: "World", ledger: Ledger) -> None:
    edits: dict[tuple[str, str | None], list[InRow]] = defaultdict(list)
    for row in ledger.inbound:
        if row.envelope.kind == "edit":
            edits[row.place, row.envelope.message_id].append(row)
    for question in ledger.questions:
        for row in _answer_of(ledger, question):
            later = [edit for edit in edits[row.place, row.envelope.message_id] if edit.id > row.id]
            known = [edit for edit in later if _was_known(edit, question)]
            text = (known or [row])[-1].envelope.text
            said = () if text == "/skip" else (_OPTIONS.get(text, text),)
            if question.answers != said:
                raise Violation(
                    "whose word", f"{question.id} holds {question.answers}, and its answer in-{row.id} reads {text!r}"
                )


def _was_known(edit: InRow, question: QuestionedRow) -> bool:
    """It ended with the answer, or had been there for long."""
    ended = question.ended_at or 0.0
    return (edit.reason == "answer" and edit.ended_at == ended) or edit.envelope.received_at < ended - _SURELY_SECONDS


def _who_answers(world: "World", ledger: Ledger) -> None:
    """In groups whoever was asked; what a connector brings answers what was asked through it."""
    for question in ledger.questions:
        for answer in _answer_of(ledger, question):
            told = [row for row in ledger.turns[question.turn_id] if answer.envelope.via in (None, row.envelope.via)]
            if not told:
                raise Violation(
                    "whose word", f"in-{answer.id} was brought, and answered {question.id}, which was not asked there"
                )
            may = {row.envelope.sender.id for row in told} | {*OPERATORS}
            if answer.envelope.peer.kind != "dm" and answer.envelope.sender.id not in may:
                raise Violation("whose word", f"in-{answer.id} answered {question.id}, which somebody else was asked")


def _answer_of(ledger: Ledger, question: QuestionedRow) -> list[InRow]:
    """The message that answered a question: both are of one chat, and ended in one transaction."""
    if question.ended_at is None or question.state not in ("answered", "dismissed"):
        return []
    # turn-N begins with the message in-N.
    asked_in = next(row.place for row in ledger.inbound if row.id == int(question.turn_id.split("-")[1]))
    ended = [row for row in ledger.inbound if row.reason == "answer" and row.ended_at == question.ended_at]
    return [row for row in ended if row.envelope.kind == "message" and row.place == asked_in]


def _brought(world: "World", ledger: Ledger) -> None:
    rows = {row.id: row for row in ledger.inbound}
    owners: dict[int, object] = {}
    for connector in world.connectors:
        for (account, key), number in connector.taken.items():
            if owners.setdefault(number, (connector.name, account, key)) != (connector.name, account, key):
                raise Violation("taken once", f"in-{number} is of {owners[number]} and of {connector.name}, {account}, {key}")
            row, said = rows.get(number), connector.brought[account, key]
            if row is None or (row.envelope.text, row.envelope.via, row.envelope.given_key) != (said.text, said.via, key):
                raise Violation(
                    "nothing is lost", f"{key} of {connector.name} for {account} was taken as in-{number}, which is {row}"
                )
