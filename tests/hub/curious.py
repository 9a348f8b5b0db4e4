"""A script that asks its user, for the tests of questions."""

import trio

from gatewayd.model.records.question import Option, Question, QuestionRow
from gatewayd.ports.agent import Turn
from tests.hub.house import House

WHERE = Question("Where to?", (Option("North", "over the hill"), Option("South")))
WHY = Question("Why?")
USER, TG_USER = "chat:main:dm:7", "tg:main:dm:7"


class Curious:
    """Asks its questions in order, and replies with the answers."""

    def __init__(self, *questions: Question) -> None:
        self.questions = questions
        self.answers: list[tuple[str, ...] | None] = []

    async def __call__(self, turn: Turn) -> str:
        if turn.request.text.startswith("go"):
            for question in self.questions:
                self.answers.append(await turn.question(question))
            return f"told {self.answers[-1]}"
        return f"re: {turn.request.text}"


async def open_question(house: House) -> QuestionRow:
    await trio.testing.wait_all_tasks_blocked()
    [row] = await house.store.pending_questions(limit=10)
    return row


async def state_of(house: House, row: QuestionRow) -> str:
    found = await house.questions.get(row)
    return found.state
