"""Questions of agents to their users. The chat shows a question, and the next message there or a button press answers it.

A question is a durable row. When its turn runs again after a crash, the turn finds the row. An answer and the end of its message
are one transaction, so a message is an answer or begins a turn, never both.
"""

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

import anyio
import structlog
from msgspec import Struct

from gatewayd.actor.wakeup import Wakeup
from gatewayd.hub.approvals.question_prompts import answers_of, as_it_reads, fits, may_answer, prompt, rewritten, shown_anew
from gatewayd.hub.approvals.shown import edits_of, is_due, prompts_of, why_lost
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.outbox.outbox import Outbox, until_stored
from gatewayd.hub.outbox.outcomes import ReplyOutcomes
from gatewayd.kit.text import sanitise
from gatewayd.model.errors import StoreRefused
from gatewayd.model.ids import ConversationId
from gatewayd.model.lifecycle import QuestionEnd, QuestionState
from gatewayd.model.message.envelope import InboundEnvelope, Writer
from gatewayd.model.records.question import Option, Question, QuestionRow
from gatewayd.ports.agent import TurnRequest
from gatewayd.ports.store import Account, InboundRow, Store

_log = structlog.get_logger("gatewayd.questions")
_OPTIONS_MAX = 20
_TEXT_MAX = 4000
_VOID_MAX = 1000
_EVERYTHING = 10_000_000
_FOUND_AGAIN: Final[Mapping[QuestionState, bool]] = {
    "pending": True,
    "answered": True,
    "dismissed": False,
    "expired": False,
    "withdrawn": False,
}
"""Whether a later run of the turn reuses a question of an earlier run. If not, it asks anew."""


class OpenQuestion(Struct):
    """A question that waits in this process. ``writers`` are the people who were asked, ``shown_as`` the ids of the messages that
    show it. ``taken``: it takes no answer, not yet or not any more."""

    row: QuestionRow
    conversation: ConversationId
    writers: frozenset[Writer]
    done: anyio.Event
    shown_as: set[str]
    taken: bool = True

    def note_shown(self, message_id: str) -> None:
        """A message with this id shows the question."""
        self.shown_as.add(message_id)

    def note_lost(self) -> None:
        """The question cannot be shown, so nobody waits for its answer."""
        self.taken = True
        self.done.set()

    def take(self) -> None:
        """Take it for one answer: later messages are no answers."""
        self.taken = True

    def fits(self, envelope: InboundEnvelope) -> bool:
        """Whether this can be the answer, if the sender may answer."""
        return self.conversation == envelope.conversation and fits(self.row, envelope)


Offer = Callable[[OpenQuestion], None]
"""Called with a question that was shown just now. Its answer may be there already."""


class QuestionDesk:
    """Shows questions, waits for their answers, and recognises these."""

    def __init__(self, context: Context, configured: Configured, outbox: Outbox, outcomes: ReplyOutcomes) -> None:
        self._store: Store = context.store
        self._events = context.events
        self._now = context.now
        self._configured = configured
        self._outbox = outbox
        self._outcomes = outcomes
        self._slots_used = 0
        self._open: dict[str, OpenQuestion] = {}
        self._asked = Wakeup()
        # Between the look at the prompts and the write. Two tasks at once would write beside each other.
        self._lock = anyio.Lock()

    @property
    def _seconds(self) -> float:
        """How long a question waits, in seconds."""
        return self._configured.config.approvals.question_timeout_seconds

    @contextmanager
    def slot(self, *, known: bool) -> Iterator[bool]:
        """One of the bounded number of open questions, each of which keeps a turn in memory; False: the limit is reached. A
        question that is ``known`` from before a restart is not limited."""
        may = known or self._slots_used < self._configured.config.approvals.max_pending
        self._slots_used += may
        try:
            yield may
        finally:
            self._slots_used -= may

    async def load(self, live_turns: Collection[str | None], accounts: Collection[Account]) -> None:
        """At the start, withdraw the questions of these accounts whose turn is gone."""
        for row in await self._store.pending_questions(limit=_EVERYTHING, accounts=accounts):
            if row.turn_id not in live_turns:
                await self._end(row, "withdrawn")

    def begin(self, turn: TurnRequest, offer: Offer) -> "UserQuestions":
        """The questions of one run of a turn."""
        return UserQuestions(self, self._store, turn, offer)

    def waits_for(self, session_key: str, envelope: InboundEnvelope) -> bool:
        """Whether this answers the open question of its conversation. See :meth:`take`."""
        found = self._open.get(session_key)
        return found is not None and not found.taken and self.is_answered_by(found, envelope)

    def is_answered_by(self, found: "OpenQuestion", envelope: InboundEnvelope) -> bool:
        """Whether this is an answer, from a sender who may answer."""
        return found.fits(envelope) and self._may_answer(found, envelope)

    def is_not_for(self, envelope: InboundEnvelope) -> bool:
        """Whether this is a button press under a question by a sender who may not answer it."""
        under = (found for found in self._open.values() if envelope.kind == "button" and found.fits(envelope))
        return any(not self._may_answer(found, envelope) for found in under)

    def _may_answer(self, found: "OpenQuestion", envelope: InboundEnvelope) -> bool:
        account = self._configured.accounts.get((envelope.channel, envelope.account))
        return account is not None and may_answer(envelope, account.frame, found.writers, found.shown_as)

    def take(self, session_key: str) -> "OpenQuestion":
        """Take the open question for one answer: later messages are no answers."""
        found = self._open[session_key]
        found.take()
        return found

    async def answer(self, found: "OpenQuestion", rows: Sequence[InboundRow], *, skips: bool) -> Sequence[InboundRow]:
        """Commit an answer and the end of its rows: a message, with the edits that ``rows`` has at that moment. ``skips``: it
        dismisses the question. Returns the rows that ended; none: the question was over."""

        async def give() -> Sequence[InboundRow]:
            given = tuple(rows)
            envelope = as_it_reads(given)
            said = None if skips else answers_of(found.row, envelope)
            state: QuestionEnd = "dismissed" if said is None else "answered"
            by = f"{envelope.channel}:{envelope.sender.id}"
            ids = [row.id for row in given]
            ended = await self._end_once(found.row, state, answers=said or (), by=by, inbound_ids=ids)
            return () if ended is None else given

        return await until_stored(give)

    async def wait(self, row: QuestionRow, turn: TurnRequest, offer: Offer) -> QuestionRow:
        """Show a pending question and wait until it ends."""
        writers = frozenset(message.writer for message in turn.messages)
        mine = OpenQuestion(row, turn.conversation, writers, anyio.Event(), set())
        self._open[turn.session_key] = mine
        try:
            with self._outcomes.subscribe(row.id, sent=mine.note_shown, lost=mine.note_lost):
                await until_stored(partial(self._show, mine, turn))
                if not mine.done.is_set():
                    mine.taken = False
                    offer(mine)
                    self._asked.notify()
                with anyio.move_on_after(max(0.0, min(row.expires_at - self._now(), self._seconds))):
                    await mine.done.wait()
                await self._end(row, "expired")  # unless it has ended
        finally:
            if self._open.get(turn.session_key) is mine:
                del self._open[turn.session_key]
        return await until_stored(partial(self.get, row))

    async def get(self, row: QuestionRow) -> QuestionRow:
        return next(found for found in await self._store.questions_of(row.turn_id) if found.id == row.id)

    async def withdraw(self, row: QuestionRow) -> None:
        """The core has its answer from elsewhere, or the turn is over."""
        await self._end(row, "withdrawn")

    async def withdraw_turn(self, turn_id: str) -> None:
        """The turn is over: withdraw its pending questions."""
        for row in await self._store.questions_of(turn_id):
            if row.state == "pending":
                await self.withdraw(row)

    async def wait_asked(self, inbound_id: int) -> QuestionRow:
        """Wait until the turn of this message waits for an answer, and return the question."""
        while True:
            asked = self._asked.upcoming()
            row = await self._store.get_inbound(inbound_id)
            for found in self._open.values():
                if row is not None and found.row.turn_id == row.turn_id and not found.taken:
                    return found.row
            await asked.wait()

    def find_pending(self, *, agent: str, ref: str) -> QuestionRow | None:
        """The open question to which the agent's core gave this id."""
        rows = (found.row for key, found in self._open.items() if key.startswith(f"{agent}:"))
        return next((row for row in rows if row.question.ref == ref), None)

    async def decide(self, question_id: str, answers: tuple[str, ...] | None, *, by: str) -> bool:
        """Answer (None: dismiss) an open question from elsewhere than the chat. False: it is not open any more."""
        found = next((found for found in self._open.values() if found.row.id == question_id and not found.taken), None)
        if found is None:
            return False
        found.take()
        state: QuestionEnd = "dismissed" if answers is None else "answered"
        return await self._end(found.row, state, answers=answers or (), by=by) is not None

    def fresh(self, turn: TurnRequest, question: Question, ordinal: int) -> QuestionRow:
        now = self._now()
        bounded = Question(
            text=_bounded(question.text),
            options=tuple(Option(_bounded(o.label), _bounded(o.description)) for o in question.options[:_OPTIONS_MAX]),
            multiple=question.multiple,
            ref=question.ref,
        )
        return QuestionRow(
            id="qu_" + secrets.token_hex(5),
            turn_id=turn.turn_id,
            ordinal=ordinal,
            session_key=turn.session_key,
            question=bounded,
            state="pending",
            created_at=now,
            expires_at=now + self._seconds,
        )

    async def _end(
        self, row: QuestionRow, state: QuestionEnd, *, answers: tuple[str, ...] = (), by: str | None = None
    ) -> QuestionRow | None:
        """Move a pending question to ``state``. None if it was not pending."""
        return await until_stored(partial(self._end_once, row, state, answers=answers, by=by))

    async def _end_once(
        self,
        row: QuestionRow,
        state: QuestionEnd,
        *,
        answers: tuple[str, ...],
        by: str | None,
        inbound_ids: Sequence[int] = (),
    ) -> QuestionRow | None:
        # Shielded: the end of a question must be shown and reported.
        with anyio.CancelScope(shield=True):
            now = self._now()
            ended = await self._store.end_question(row.id, state, now=now, answers=answers, by=by, inbound_ids=inbound_ids)
            if ended is not None:
                self._note_ended(ended)
                await self.rewrite(ended)
        return ended

    def _note_ended(self, row: QuestionRow) -> None:
        self._events.emit(f"question.{row.state}", id=row.id, turn_id=row.turn_id, by=row.answered_by)
        for found in self._open.values():
            if found.row.id == row.id:
                found.done.set()

    async def _show(self, mine: OpenQuestion, turn: TurnRequest) -> None:
        row = mine.row
        shown = await self._store.outbound_by("subject", row.id)
        if any(why_lost(prompts) is not None for prompts in prompts_of(shown).values()):
            mine.note_lost()
        for each in shown:
            if each.receipt is not None and each.receipt.message_id is not None:
                mine.note_shown(each.receipt.message_id)
        if shown:
            return  # before the restart
        plugin = self._configured.plugin_for(turn.channel, turn.account, turn.peer)
        await self._outbox.write(prompt(row, turn.conversation, plugin))
        self._events.emit("question.pending", id=row.id, turn_id=row.turn_id, session_key=row.session_key)

    async def rewrite(self, row: QuestionRow) -> None:
        """Replace the buttons by the outcome, once. If the store refuses, that does no harm."""
        try:
            async with self._lock:
                rows = await self._store.outbound_by("subject", row.id)
                shown = [each for prompts in prompts_of(rows).values() for each in prompts if not edits_of(each, rows)]
                plugin = self._configured.plugins.get(shown[0].channel) if shown else None
                if plugin is not None and plugin.edits:
                    await self._outbox.write([rewritten(row, each, plugin) for each in shown])
        except StoreRefused as error:
            _log.warning("question_not_updated", question=row.id, reason=error.reason)

    async def show_anew(self, account: Account, *, before: float) -> None:
        """Show the open questions once more where they have buttons in the chats of this account, and were not sent since
        ``before``, in Unix seconds."""
        for row in await self._store.pending_questions(limit=_EVERYTHING, accounts=[account]):
            async with self._lock:
                rows = await self._store.outbound_by("subject", row.id, account=account)
                due = [prompts[-1] for prompts in prompts_of(rows).values() if is_due(prompts, before=before)]
                if due and (await self.get(row)).state == "pending":
                    plugin = self._configured.plugin_for(*account, due[0].payload.peer)
                    await self._outbox.write([draft for shown in due for draft in shown_anew(row, shown, plugin)])


class UserQuestions:
    """The questions of one run of a turn: one at a time."""

    def __init__(self, desk: QuestionDesk, store: Store, turn: TurnRequest, offer: Offer) -> None:
        self._desk = desk
        self._store = store
        self._turn = turn
        self._offer = offer
        self._lock = anyio.Lock()
        self._left: list[QuestionRow] = []
        self._loaded = False
        self._count = 0
        self._asked: dict[str, QuestionRow] = {}
        self._void: set[str] = set()

    async def question(self, question: Question) -> tuple[str, ...] | None:
        """See ``ports.agent.Turn``."""
        async with self._lock:
            if question.ref in self._void:
                return None
            found = await self._find(question)
            with self._desk.slot(known=found is not None) as may:
                if not may:
                    _log.warning("question_not_asked", reason="too many questions are open")
                    return None
                return await self._ask(question, found or await self._add(question))

    async def _ask(self, question: Question, row: QuestionRow) -> tuple[str, ...] | None:
        if question.ref is not None:
            self._asked[question.ref] = row
        if question.ref in self._void:
            await self._desk.withdraw(row)
            return None
        if row.state == "pending":
            row = await self._desk.wait(row, self._turn, self._offer)
        # It may have ended right before a crash, or while it was shown.
        await self._desk.rewrite(row)
        return row.answers if row.state == "answered" else None

    async def withdraw(self, ref: str) -> None:
        """See ``ports.agent.Turn``."""
        if (row := self._asked.get(ref)) is not None:
            await self._desk.withdraw(row)
        elif len(self._void) < _VOID_MAX:
            self._void.add(ref)

    async def forget_refs(self) -> None:
        """The core has lost the turn and its ids: questions with such an id cannot be answered any more."""
        await self._load()
        for row in self._left:
            if row.question.ref is not None and row.state == "pending":
                await self._desk.withdraw(row)

    async def _find(self, question: Question) -> QuestionRow | None:
        """The row of an earlier run of this turn, pending or answered; or of this run, by the id that the core gave."""
        await self._load()
        bounded = self._desk.fresh(self._turn, question, 0).question
        asked = None if question.ref is None else self._asked.get(question.ref)
        if asked is not None and asked.question == bounded:
            return await until_stored(partial(self._desk.get, asked))
        for row in self._left:
            if row.question == bounded and _FOUND_AGAIN[row.state]:
                found = await until_stored(partial(self._desk.get, row))
                self._left.remove(row)
                return found
        return None

    async def _add(self, question: Question) -> QuestionRow:
        while True:
            fresh = self._desk.fresh(self._turn, question, self._count)
            row = await until_stored(partial(self._store.add_question, fresh))
            self._count += 1
            if row.id == fresh.id:
                return row
            # Another question has this ordinal.

    async def _load(self) -> None:
        if not self._loaded:
            rows = await until_stored(partial(self._store.questions_of, self._turn.turn_id))
            # A session key names its agent. After a restart the message may belong to another agent.
            own = [row for row in rows if row.session_key == self._turn.session_key]
            for row in rows:
                if row not in own and row.state == "pending":
                    await self._desk.withdraw(row)
            self._left = own
            self._count = 1 + max((row.ordinal for row in rows), default=-1)
            self._loaded = True


def _bounded(text: str) -> str:
    return sanitise(text[:_TEXT_MAX])
