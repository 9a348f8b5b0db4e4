"""Questions: answered once, with the end of the messages that answer."""

from typing import get_args

import pytest
from msgspec.structs import replace

from gatewayd.model.lifecycle import QuestionEnd
from gatewayd.model.records.question import Option, Question, QuestionRow
from gatewayd.ports.store import Store
from gatewayd.testing.store_contract.rows import EVERY_ACCOUNT, envelope


def question(number: int, *, turn_id: str = "turn-1") -> QuestionRow:
    asked = Question("Where to?", (Option("North", "over the hill"), Option("South")), multiple=True, ref="q1")
    return QuestionRow(f"qu_{number}", turn_id, number, "key", asked, "pending", 1.0, 2.0)


class QuestionsContract:
    async def test_a_question_that_is_asked_again_is_the_first_row(self, store: Store) -> None:
        assert await store.add_question(question(1)) == question(1)
        assert await store.add_question(replace(question(2), ordinal=1)) == question(1)
        await store.add_question(question(3, turn_id="turn-2"))
        await store.add_question(question(2))
        assert await store.questions_of("turn-1") == [question(1), question(2)]
        assert [row.id for row in await store.pending_questions(limit=10)] == ["qu_1", "qu_3", "qu_2"]
        assert [row.id for row in await store.pending_questions(limit=1)] == ["qu_1"]

    async def test_a_question_ends_once(self, store: Store) -> None:
        await store.add_question(question(1))
        ended = await store.end_question("qu_1", "answered", now=5.0, answers=("North", "é"), by="chat:7")
        expected = replace(question(1), state="answered", ended_at=5.0, answers=("North", "é"), answered_by="chat:7")
        assert ended == expected
        assert await store.end_question("qu_1", "dismissed", now=6.0) is None
        assert await store.end_question("qu_9", "dismissed", now=6.0) is None
        assert await store.questions_of("turn-1") == [expected]
        assert await store.pending_questions(limit=10) == []

    async def test_the_message_that_answered_ends_with_the_question(self, store: Store) -> None:
        [first, second] = (await store.add_inbound([envelope("1"), envelope("2")])).rows
        await store.add_question(question(1))
        assert await store.end_question("qu_1", "answered", now=5.0, answers=("x",), by="chat:7", inbound_ids=[first.id])
        done = await store.get_inbound(first.id)
        assert done is not None
        assert (done.state, done.reason, done.ended_at) == ("done", "answer", 5.0)
        # What comes too late to be an answer is a message still.
        assert await store.end_question("qu_1", "answered", now=6.0, answers=("y",), by="chat:7", inbound_ids=[second.id]) is None
        assert [row.id for row in await store.pending_inbound(EVERY_ACCOUNT, after_id=0, limit=10)] == [second.id]

    async def test_a_message_that_has_ended_already_keeps_its_reason(self, store: Store) -> None:
        [row] = (await store.add_inbound([envelope("1")])).rows
        await store.end_inbound([row.id], state="dropped", reason="stopped", now=4.0)
        await store.add_question(question(1))
        await store.end_question("qu_1", "answered", now=5.0, inbound_ids=[row.id])
        found = await store.get_inbound(row.id)
        assert found is not None
        assert (found.state, found.reason) == ("dropped", "stopped")

    @pytest.mark.parametrize("state", get_args(QuestionEnd))
    async def test_every_end_is_kept(self, store: Store, state: QuestionEnd) -> None:
        await store.add_question(question(1))
        ended = await store.end_question("qu_1", state, now=5.0)
        assert ended is not None
        assert ended.state == state
