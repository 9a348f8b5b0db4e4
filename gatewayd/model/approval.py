"""One tool request that waits for an operator, and what became of it."""

from typing import Literal

from msgspec import Struct

ApprovalState = Literal["pending", "allowed", "denied", "expired", "withdrawn"]
Outcome = Literal["allowed", "denied", "expired", "withdrawn", "undeliverable"]


class ToolRequest(Struct, frozen=True):
    """What an agent wants to do. ``input`` is the exact input as canonical JSON text: what is shown is what is bound."""

    tool: str
    input: str


class Decision(Struct, frozen=True, omit_defaults=True):
    """The answer the agent gets. Time-out, denial, withdrawal and undeliverable stay different things."""

    outcome: Outcome
    by: str | None = None
    note: str | None = None

    @property
    def allowed(self) -> bool:
        return self.outcome == "allowed"


class Approval(Struct, frozen=True, omit_defaults=True):
    """A row of the approval desk. Times are Unix seconds; ``consumed_at`` is set once, by the turn that asked."""

    id: str
    agent: str
    session_key: str
    turn_id: str
    ordinal: int
    tool: str
    input: str
    input_hash: str
    state: ApprovalState
    created_at: float
    expires_at: float
    origin: str
    decided_at: float | None = None
    decided_by: str | None = None
    note: str | None = None
    consumed_at: float | None = None
