"""What agents asked their users, and what was answered."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from gatewayd.model.lifecycle import END_QUESTION, QUESTION, QUESTION_OPEN, TAKE_AS_ANSWER, QuestionEnd
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.ports.store import Account
from gatewayd.stores.sqlite.engine.columns import OF_NO_OTHERS, accounts_value, decode_column
from gatewayd.stores.sqlite.engine.states import among, quoted
from gatewayd.stores.sqlite.engine.table import Tables

# The order of the struct's fields.
_COLUMNS = ", ".join(QuestionRow.__struct_fields__)
_PLACES = ", ".join("?" for _ in QuestionRow.__struct_fields__)
_PENDING: Final = f"SELECT {_COLUMNS} FROM question row WHERE {among(QUESTION_OPEN)} ORDER BY seq LIMIT :limit"
_PENDING_OF: Final = f"""
    SELECT {_COLUMNS} FROM question row WHERE {among(QUESTION_OPEN)} AND {OF_NO_OTHERS} ORDER BY seq LIMIT :limit
"""
_END: Final = f"""
    UPDATE question SET state = ?, answers = ?, answered_by = ?, ended_at = ? WHERE id = ? AND {among(END_QUESTION.sources)}
"""
_TAKE: Final = f"""
    UPDATE inbound SET state = {quoted(TAKE_AS_ANSWER.target)}, reason = ?, ended_at = ?
    WHERE id = ? AND {among(TAKE_AS_ANSWER.sources)}
"""
_QUESTION = msgspec.json.Decoder(Question)
_ANSWERS = msgspec.json.Decoder(tuple[str, ...])
_encode = msgspec.json.Encoder().encode


class QuestionTable(Tables):
    async def add_question(self, row: QuestionRow) -> QuestionRow:
        assert row.state in QUESTION.made["add_question"], f"no question begins as {row.state}"
        insert = f"INSERT INTO question ({_COLUMNS}) VALUES ({_PLACES}) ON CONFLICT (turn_id, ordinal) DO NOTHING"
        values = {name: getattr(row, name) for name in QuestionRow.__struct_fields__}
        values |= {"question": _encode(row.question), "answers": _encode(row.answers)}

        def add(connection: sqlite3.Connection) -> QuestionRow:
            connection.execute(insert, tuple(values.values()))
            [found] = select_questions(connection, "turn_id = ? AND ordinal = ?", (row.turn_id, row.ordinal))
            return found

        return await self._write(add)

    async def get_question(self, question_id: str) -> QuestionRow | None:
        return await self._read(lambda connection: next(iter(select_questions(connection, "id = ?", (question_id,))), None))

    async def questions_of(self, turn_id: str) -> list[QuestionRow]:
        return await self._read(lambda connection: select_questions(connection, "turn_id = ? ORDER BY ordinal", (turn_id,)))

    async def pending_questions(self, *, limit: int, accounts: Collection[Account] | None = None) -> list[QuestionRow]:
        sql = _PENDING if accounts is None else _PENDING_OF
        values = {"accounts": accounts_value(accounts or ()), "limit": limit}
        return await self._read(lambda connection: [_row(record) for record in connection.execute(sql, values)])

    async def end_question(
        self,
        question_id: str,
        state: QuestionEnd,
        *,
        now: float,
        answers: tuple[str, ...] = (),
        by: str | None = None,
        inbound_ids: Sequence[int] = (),
    ) -> QuestionRow | None:
        def end(connection: sqlite3.Connection) -> QuestionRow | None:
            if connection.execute(_END, (state, _encode(answers), by, now, question_id)).rowcount == 0:
                return None
            connection.executemany(_TAKE, [(TAKE_AS_ANSWER.reason, now, inbound_id) for inbound_id in inbound_ids])
            [found] = select_questions(connection, "id = ?", (question_id,))
            return found

        return await self._write(end)


def select_questions(connection: sqlite3.Connection, condition: str, values: tuple[str | int, ...]) -> list[QuestionRow]:
    """``condition`` is of our own making; it may go on with an order and a limit."""
    sql = f"SELECT {_COLUMNS} FROM question WHERE {condition}"
    return [_row(record) for record in connection.execute(sql, values)]


def _row(record: tuple[Any, ...]) -> QuestionRow:
    row = QuestionRow(*record)
    where = f"question {row.id}"
    question = decode_column(_QUESTION, record[QuestionRow.__struct_fields__.index("question")], where)
    answers = decode_column(_ANSWERS, record[QuestionRow.__struct_fields__.index("answers")], where)
    return replace(row, question=question, answers=answers)
