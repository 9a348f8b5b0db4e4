"""Approvals and questions of a turn, which people answer."""

from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from msgspec import Struct

from gatewayd.model.lifecycle import ApprovalState, Outcome, QuestionEnd
from gatewayd.model.records.approval import Approval
from gatewayd.model.records.audit import AuditDraft
from gatewayd.model.records.question import QuestionRow
from gatewayd.ports.store.messages import Account

ANY_INPUT: Final = ""
"""Stands for the hash of an input in a grant that allows any input."""


class VoteResult(Struct, frozen=True):
    """The result of a vote: the ``row`` after it, and the hashes of the inputs for which the session may use the tool."""

    row: Approval
    grants: tuple[str, ...] = ()


VoteRule = Callable[[Approval], VoteResult | None]


class Approvals(Protocol):
    """The audit entry of a change is committed in the same transaction. A call that changes nothing adds no entry."""

    async def add_approval(self, approval: Approval, *, audit: AuditDraft | None = None) -> Approval:
        """Insert a row that is pending or decided. Idempotent by (turn_id, ordinal): if there is such a row, it is returned as it
        is now, and nothing is changed."""

    async def get_approval(self, approval_id: str) -> Approval | None:
        """Find a row by its id, or else the newest row by its code, which is compared without case."""

    async def approvals_of(self, turn_id: str) -> list[Approval]:
        """All rows of a turn, by ordinal."""

    async def list_approvals(
        self, state: ApprovalState | None, *, limit: int, accounts: Collection[Account] | None = None
    ) -> list[Approval]:
        """Pending rows oldest first, because they are a queue; rows of another state, or of every state (None), newest first.
        ``accounts``: without the rows whose turn has a message of another account."""

    async def vote_approval(self, approval_id: str, rule: VoteRule, *, audit: AuditDraft) -> Approval | None:
        """Replace a pending row by the one that ``rule`` gives: votes, scope, state, and the decision with its author, time and
        note. The grants are committed with it. A grant replaces the one for the same session, tool and input, and the grants of
        the session key in other sessions are deleted. Returns the new row.

        None, and nothing is changed: the row is not pending (then ``rule`` is not called), or ``rule`` gives None. Of two votes
        at once the second one sees the first.
        """

    async def decide_approval(
        self, approval_id: str, state: Outcome, *, by: str, note: str | None, now: float, audit: AuditDraft | None = None
    ) -> Approval | None:
        """pending -> ``state``. None, and nothing is changed: the row is not pending. Of two decisions at once one is made."""

    async def consume_approval(self, approval_id: str, *, ref: str | None = None, now: float) -> bool:
        """Mark an allowed row as used, and store the core's id of the request (``ref``) in it. False, and nothing is changed: the
        row is not allowed, or was used. Of two calls at once one gets True."""

    async def find_grant(self, session_key: str, session_id: str, tool: str, inputs: Collection[str]) -> str | None:
        """The id of an approval that granted the session this tool for one of these hashes."""


class Questions(Protocol):
    async def add_question(self, row: QuestionRow) -> QuestionRow:
        """Insert a pending row. Idempotent by (turn_id, ordinal): if there is such a row, it is returned as it is now."""

    async def get_question(self, question_id: str) -> QuestionRow | None: ...

    async def questions_of(self, turn_id: str) -> list[QuestionRow]:
        """All rows of a turn, by ordinal."""

    async def pending_questions(self, *, limit: int, accounts: Collection[Account] | None = None) -> list[QuestionRow]:
        """Oldest first. ``accounts``: without the rows whose turn has a message of another account."""

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
        """pending -> ``state``. In the same transaction the inbound rows that have not ended become ``done``, reason ``answer``.
        None, and nothing is changed: the question is not pending. Of two calls at once one ends it."""
