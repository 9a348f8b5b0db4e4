"""One tool request that waits for an operator, and what became of it."""

from typing import Literal

from msgspec import Struct

from gatewayd.model.lifecycle import ApprovalState, Outcome

Scope = Literal["once", "session"]
SessionGrant = Literal["off", "input", "tool"]


class ToolRequest(Struct, frozen=True):
    """What an agent wants to do. ``input`` is the exact input as canonical JSON text: what is shown is what is bound.

    ``ref`` is the core's own id of the request. A core gives it only when it is unique for ever and answering it twice runs
    the tool once (OpenCode's ``per_…``): then an answer that was used but perhaps not handed over before a crash is given
    again under the same ref.

    ``whole``: the tool gets nothing that ``input`` does not show. Of what is not shown, the rules take the worst.
    """

    tool: str
    input: str
    ref: str | None = None
    whole: bool = True


class Decision(Struct, frozen=True, omit_defaults=True):
    """The answer the agent gets. Time-out, denial, withdrawal and undeliverable stay different things."""

    outcome: Outcome
    by: str | None = None
    note: str | None = None

    @property
    def allowed(self) -> bool:
        return self.outcome == "allowed"


class Vote(Struct, frozen=True, omit_defaults=True):
    """One person's yes or no. ``by`` is the identity that gave it: "operator:NAME" (a token) or "CHANNEL:ID" (somebody in a
    chat). Whose that is, is looked up when votes are counted. ``inbound_id`` is the press or message that gave it, so that one
    that is handled again after a crash is known."""

    by: str
    allow: bool
    at: float
    scope: Scope = "once"
    note: str | None = None
    inbound_id: int | None = None


class Approval(Struct, frozen=True, omit_defaults=True):
    """A row of the approval desk. Times are Unix seconds; ``consumed_at`` is set once, by the turn that asked.

    ``code`` is what people write in a chat. ``origin`` is where the message came from (CHANNEL:ACCOUNT:KIND:ID) and
    ``asked_by`` who wrote it (CHANNEL:ID). It is allowed when ``quorum`` different people have said yes, denied by one no.
    ``groups`` are those whom it is shown to, in the order of escalation. ``scope`` session: the yes holds for the session.
    ``session_grant`` is what that covers, as it was offered when it was asked: exactly this input, or the tool with any.
    """

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
    code: str = ""
    session_id: str = ""
    asked_by: str | None = None
    ref: str | None = None
    groups: tuple[str, ...] = ()
    quorum: int = 1
    votes: tuple[Vote, ...] = ()
    scope: Scope = "once"
    session_grant: SessionGrant = "off"

    def for_session(self, tool: str) -> str:
        """What a yes for the session covers, in words. ``tool`` is the tool's name as it can be shown where they stand."""
        return f"every use of {tool}" if self.session_grant == "tool" else "exactly this input"
