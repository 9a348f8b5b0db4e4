"""What waits for people in a turn: requests for permission, and questions."""

from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from msgspec import Struct

from gatewayd.model.lifecycle import ApprovalState, Outcome, QuestionEnd
from gatewayd.model.records.approval import Approval
from gatewayd.model.records.audit import AuditDraft
from gatewayd.model.records.question import QuestionRow
from gatewayd.ports.store.messages import Account

ANY_INPUT: Final = ""
"""Stands for the hash of an input where any will do."""


class VoteResult(Struct, frozen=True):
    """What a vote makes of a request: the ``row`` as it is then, and the hashes of the inputs for which its session is granted
    its tool."""

    row: Approval
    grants: tuple[str, ...] = ()


VoteRule = Callable[[Approval], VoteResult | None]


class Approvals(Protocol):
    """Every change takes the audit entry that is committed with it, in one transaction; what changes nothing adds no entry."""

    async def add_approval(self, approval: Approval, *, audit: AuditDraft | None = None) -> Approval:
        """Insert a row that is pending, or decided already. Idempotent by (turn_id, ordinal): if there is such a row, it is
        returned as it is now, whatever else it says, and nothing is changed."""

    async def get_approval(self, approval_id: str) -> Approval | None:
        """By id or, without regard to case, by code: of several rows with one code the newest."""

    async def approvals_of(self, turn_id: str) -> list[Approval]:
        """All of a turn, by ordinal."""

    async def list_approvals(
        self, state: ApprovalState | None, *, limit: int, accounts: Collection[Account] | None = None
    ) -> list[Approval]:
        """In the order in which they were added: pending ones oldest first (they are a queue), all others, and None for every
        state, newest first. ``accounts``: without those whose turn has a message of another account."""

    async def vote_approval(self, approval_id: str, rule: VoteRule, *, audit: AuditDraft) -> Approval | None:
        """Put what ``rule`` makes of a pending row in its place: its votes, its scope, its state, and who decided it, when and
        why. The grants are committed with it: each replaces the one before for the same session, tool and input, and what the
        session key was granted in other sessions is over. Returns the row as it is then.

        None, and nothing is changed: it is not pending (then ``rule`` is not called), or ``rule`` says None. Of two votes at once
        the second sees the first.
        """

    async def decide_approval(
        self, approval_id: str, state: Outcome, *, by: str, note: str | None, now: float, audit: AuditDraft | None = None
    ) -> Approval | None:
        """pending -> state. None, and nothing is changed: it is not pending (any more). Of two decisions at once one is made."""

    async def consume_approval(self, approval_id: str, *, ref: str | None = None, now: float) -> bool:
        """Use an allowed row for what the core knows as ``ref``, which the row has from then on. False, and nothing is changed:
        it is not allowed, or was used. Of two calls at once one gets True."""

    async def find_grant(self, session_key: str, session_id: str, tool: str, inputs: Collection[str]) -> str | None:
        """The id of an approval that granted the session this tool for one of these hashes."""


class Questions(Protocol):
    async def add_question(self, row: QuestionRow) -> QuestionRow:
        """Insert a pending row. Idempotent by (turn_id, ordinal): if there is such a row, it is returned as it is now."""

    async def get_question(self, question_id: str) -> QuestionRow | None: ...

    async def questions_of(self, turn_id: str) -> list[QuestionRow]:
        """All of a turn, by ordinal."""

    async def pending_questions(self, *, limit: int, accounts: Collection[Account] | None = None) -> list[QuestionRow]:
        """Those that were added first, first. ``accounts``: without those whose turn has a message of another account."""

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
