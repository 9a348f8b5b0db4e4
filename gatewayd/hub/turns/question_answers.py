"""Messages that are being committed as answers to questions, with the edits that come meanwhile."""

from msgspec import Struct

from gatewayd.hub.approvals.questions import OpenQuestion, QuestionDesk
from gatewayd.hub.inbox.backlog import Backlog
from gatewayd.hub.turns.lane import is_waiting_edit_of
from gatewayd.hub.turns.turn import WaitingMessage
from gatewayd.model.message.intents import Edit, Intent, Skip
from gatewayd.model.message.route import Route
from gatewayd.ports.store import InboundRow


class AnswerInCommit(Struct, eq=False):
    """A message with its edits so far (``rows``), and the question that it answers."""

    rows: list[InboundRow]
    intent: Intent
    route: Route
    question: OpenQuestion


class AnswerCommits:
    def __init__(self, questions: QuestionDesk, backlog: Backlog) -> None:
        self._questions = questions
        self._backlog = backlog
        self._in_commit: list[AnswerInCommit] = []

    def begin(self, answer: AnswerInCommit) -> None:
        """Let later edits of the message join it; see ``commit``."""
        self._in_commit.append(answer)

    def join(self, edit: InboundRow) -> bool:
        """Whether this is an edit of a message that is being committed; then it joins that message."""
        answer = next((each for each in self._in_commit if is_waiting_edit_of(edit, each.rows[0], each.intent)), None)
        if answer is not None:
            answer.rows.append(edit)
        return answer is not None

    async def commit(self, answer: AnswerInCommit) -> list[WaitingMessage]:
        """Commit an answer. Returns the rows that have not ended with it: all of them if the question was over, else edits that
        came too late."""
        rows = answer.rows
        ended = await self._questions.answer(answer.question, rows, skips=isinstance(answer.intent, Skip))
        self._in_commit.remove(answer)
        self._backlog.dequeue(ended)
        self._backlog.complete(ended)
        intents = [answer.intent, *(Edit() for _ in rows[1:])]
        left = [WaitingMessage(row.id, row, answer.route, intent) for row, intent in zip(rows, intents, strict=True)]
        return left[len(ended) :]
