"""All rows of a store at the end of a run, as they are in the file."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.payload import OutboundPayload, Receipt
from gatewayd.model.records.approval import Vote
from tests.simulation.outside.platforms import place_of


class InRow(Struct, frozen=True):
    id: int
    channel: str
    account: str
    state: str
    reason: str | None
    turn_id: str | None
    ended_at: float | None
    envelope: InboundEnvelope

    @property
    def place(self) -> str:
        return place_of(self.channel, self.account, self.envelope.peer)


class OutRow(Struct, frozen=True):
    id: int
    channel: str
    account: str
    state: str
    reason: str | None
    turn_id: str | None
    subject: str | None
    delivered_at: float | None
    read_at: float | None
    sending_at: float | None
    payload: OutboundPayload
    message_id: str | None

    @property
    def place(self) -> str:
        return place_of(self.channel, self.account, self.payload.peer)


class AskedRow(Struct, frozen=True):
    """An approval."""

    id: str
    session_key: str
    session_id: str
    turn_id: str
    tool: str
    input: str
    state: str
    created_at: float
    expires_at: float
    decided_at: float | None
    decided_by: str | None
    consumed_at: float | None
    quorum: int
    session_grant: str
    agent: str
    votes: tuple[Vote, ...]


class QuestionedRow(Struct, frozen=True):
    """A question of an agent to its user."""

    id: str
    turn_id: str
    state: str
    ended_at: float | None
    answers: tuple[str, ...]


class Ledger:
    """All rows of a store. ``retried`` counts how often people had a dead letter run or sent again, by its ref. ``turns`` are the
    messages of each turn, also those that a person has had run again since, which is another turn."""

    def __init__(self, path: Path) -> None:
        with sqlite3.connect(path) as connection:
            self.inbound = list(_inbound(connection))
            self.outbound = list(_outbound(connection))
            self.asked = list(_asked(connection))
            self.questions = list(_questions(connection))
            by_hand = connection.execute("SELECT subject, detail FROM audit WHERE action = 'dead_letter.retried'").fetchall()
            self.retried = Counter(str(subject) for subject, _ in by_hand)
            was_in = {(str(subject), msgspec.json.decode(detail).get("turn_id")) for subject, detail in by_hand}
            self.turns = _turns(self.inbound, was_in)
        connection.close()


def _inbound(connection: sqlite3.Connection) -> Iterator[InRow]:
    sql = "SELECT id, channel, account, state, reason, turn_id, ended_at, envelope FROM inbound ORDER BY id"
    decode = msgspec.json.Decoder(InboundEnvelope).decode
    for *fields, envelope in connection.execute(sql):
        yield InRow(*(*fields, decode(envelope)))


def _turns(rows: list[InRow], was_in: set[tuple[str, str | None]]) -> dict[str, list[InRow]]:
    found: dict[str, list[InRow]] = defaultdict(list)
    by_ref = {f"in-{row.id}": row for row in rows}
    for ref, turn_id in {*((ref, row.turn_id) for ref, row in by_ref.items()), *was_in}:
        if turn_id is not None and ref in by_ref:
            found[turn_id].append(by_ref[ref])
    return found


def _outbound(connection: sqlite3.Connection) -> Iterator[OutRow]:
    columns = "id, channel, account, state, reason, turn_id, subject, delivered_at, read_at, sending_at, payload, receipt"
    sql = f"SELECT {columns} FROM outbound ORDER BY id"  # noqa: S608
    decode, receipt_of = msgspec.json.Decoder(OutboundPayload).decode, msgspec.json.Decoder(Receipt).decode
    for *fields, payload, receipt in connection.execute(sql):
        yield OutRow(*(*fields, decode(payload), None if receipt is None else receipt_of(receipt).message_id))


def _asked(connection: sqlite3.Connection) -> Iterator[AskedRow]:
    *names, last = AskedRow.__struct_fields__
    decode = msgspec.json.Decoder(tuple[Vote, ...]).decode
    for *fields, votes in connection.execute(f"SELECT {', '.join(names)}, {last} FROM approval ORDER BY seq"):  # noqa: S608
        yield AskedRow(*(*fields, decode(votes)))


def _questions(connection: sqlite3.Connection) -> Iterator[QuestionedRow]:
    decode = msgspec.json.Decoder(tuple[str, ...]).decode
    for *fields, answers in connection.execute("SELECT id, turn_id, state, ended_at, answers FROM question ORDER BY seq"):
        yield QuestionedRow(*(*fields, decode(answers)))
