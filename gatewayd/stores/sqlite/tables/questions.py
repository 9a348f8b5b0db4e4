"""Questions of agents to their users, and the answers."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from gatewayd.model.lifecycle import END_QUESTION, QUESTION, QUESTION_OPEN, TAKE_AS_ANSWER, QuestionEnd
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.ports.store import Account
from gatewayd.stores.sqlite.engine.conditions import TURN_OF_ACCOUNTS, accounts_value, among, quoted
from gatewayd.stores.sqlite.engine.rows import Rows
from gatewayd.stores.sqlite.engine.table import Tables

QUESTIONS: Final = Rows(
    "question",
    QuestionRow,
    blobs={"question": msgspec.json.Decoder(Question), "answers": msgspec.json.Decoder(tuple[str, ...])},
)
_PENDING: Final = f"{among(QUESTION_OPEN)} ORDER BY seq LIMIT :limit"
_PENDING_OF: Final = f"{among(QUESTION_OPEN)} AND {TURN_OF_ACCOUNTS} ORDER BY seq LIMIT :limit"
_END: Final = f"""
    UPDATE question SET state = ?, answers = ?, answered_by = ?, ended_at = ? WHERE id = ? AND {among(END_QUESTION.sources)}
"""
_TAKE: Final = f"""
    UPDATE inbound SET state = {quoted(TAKE_AS_ANSWER.target)}, reason = ?, ended_at = ?
    WHERE id = ? AND {among(TAKE_AS_ANSWER.sources)}
"""
_encode = msgspec.json.Encoder().encode


class QuestionTable(Tables):
    async def add_question(self, row: QuestionRow) -> QuestionRow:
        assert row.state in QUESTION.made["add_question"], f"no question begins as {row.state}"

        def add(connection: sqlite3.Connection) -> QuestionRow:
            QUESTIONS.insert(connection, row, conflict="ON CONFLICT (turn_id, ordinal) DO NOTHING")
            [found] = QUESTIONS.select(connection, "turn_id = ? AND ordinal = ?", (row.turn_id, row.ordinal))
            return found

        return await self._write(add)

    async def get_question(self, question_id: str) -> QuestionRow | None:
        return await self._read(lambda connection: QUESTIONS.find(connection, "id = ?", (question_id,)))

    async def questions_of(self, turn_id: str) -> list[QuestionRow]:
        return await self._read(lambda connection: QUESTIONS.select(connection, "turn_id = ? ORDER BY ordinal", (turn_id,)))

    async def pending_questions(self, *, limit: int, accounts: Collection[Account] | None = None) -> list[QuestionRow]:
        condition = _PENDING if accounts is None else _PENDING_OF
        values = {"accounts": accounts_value(accounts or ()), "limit": limit}
        return await self._read(lambda connection: QUESTIONS.select(connection, condition, values))

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
            [found] = QUESTIONS.select(connection, "id = ?", (question_id,))
            return found

        return await self._write(end)
