"""What waits for people in a turn: requests for permission, and questions."""

from collections.abc import Callable, Sequence
from typing import Protocol

from gatewayd.model.approval import Approval, Vote
from gatewayd.model.audit import AuditDraft
from gatewayd.model.lifecycle import ApprovalState, Outcome, QuestionEnd
from gatewayd.model.question import QuestionRow


class Approvals(Protocol):
    """Every change takes the audit entry that is committed with it, in one transaction; what changes nothing adds no entry."""

    async def add_approval(self, approval: Approval, *, audit: AuditDraft | None = None) -> Approval:
        """Insert a row that is pending, or decided already. Idempotent by (turn_id, ordinal): if there is such a row, it is
        returned as it is now, whatever else it says, and nothing is changed."""

    async def get_approval(self, approval_id: str) -> Approval | None:
        """By id or, without regard to case, by code: of several rows with one code the newest."""

    async def approvals_of(self, turn_id: str) -> list[Approval]:
        """All of a turn, by ordinal."""

    async def list_approvals(self, state: ApprovalState | None, *, limit: int) -> list[Approval]:
        """In the order in which they were added: pending ones oldest first (they are a queue), all others, and None for every
        state, newest first."""

    async def vote_approval(
        self, approval_id: str, vote: Vote, *, person_of: Callable[[str], str], now: float, audit: AuditDraft
    ) -> Approval | None:
        """Add a vote to a pending row. One no denies it; the yes of as many people as its quorum allow it: ``person_of`` says
        whose identity one is. When every yes was for the session, the row's scope is that, and what was offered is granted.
        None: it is not pending, or this person has voted."""

    async def decide_approval(
        self, approval_id: str, state: Outcome, *, by: str, note: str | None, now: float, audit: AuditDraft | None = None
    ) -> Approval | None:
        """pending -> state. None, and nothing is changed: it is not pending (any more). Of two decisions at once one is made."""

    async def consume_approval(self, approval_id: str, *, ref: str | None = None, now: float) -> bool:
        """Use an allowed row for what the core knows as ``ref``, which the row has from then on. False, and nothing is changed:
        it is not allowed, or was used. Of two calls at once one gets True."""

    async def find_grant(self, session_key: str, session_id: str, tool: str, input_hash: str, *, any_input: bool) -> str | None:
        """The id of the approval that allowed this for the session, for exactly this input or, if that counts, for any."""


class Questions(Protocol):
    async def add_question(self, row: QuestionRow) -> QuestionRow:
        """Insert a pending row. Idempotent by (turn_id, ordinal): if there is such a row, it is returned as it is now."""

    async def questions_of(self, turn_id: str) -> list[QuestionRow]:
        """All of a turn, by ordinal."""

    async def pending_questions(self, *, limit: int) -> list[QuestionRow]:
        """Those that were added first, first."""

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
        """pending -> state; in the same transaction those of the inbound rows that have not ended are done, reason ``answer``.
        None, and nothing is changed: the question is not pending. Of two ends at once one is made."""
