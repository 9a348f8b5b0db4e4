"""Approvals: requests of agents to use a tool, with the votes and the decision."""

from typing import Literal

from msgspec import Struct

from gatewayd.model.lifecycle import ApprovalState, Outcome

Scope = Literal["once", "session"]
SessionGrant = Literal["off", "input", "tool"]


class ToolRequest(Struct, frozen=True):
    """A tool that an agent wants to use. ``input`` is the exact input as canonical JSON text: people allow exactly what they see.

    ``ref`` is the core's own id of the request. A core gives it only if it is unique for ever, and if two answers to it run the
    tool once (OpenCode's ``per_…``). Then an answer that was used, and perhaps not delivered before a crash, is given again.

    ``whole``: the tool gets nothing that ``input`` does not show. For hidden input, the rules assume the worst.
    """

    tool: str
    input: str
    ref: str | None = None
    whole: bool = True


class Decision(Struct, frozen=True, omit_defaults=True):
    """The answer to the agent. Time-out, denial, withdrawal and an undeliverable request have different outcomes."""

    outcome: Outcome
    by: str | None = None
    note: str | None = None

    @property
    def allowed(self) -> bool:
        return self.outcome == "allowed"


class Vote(Struct, frozen=True, omit_defaults=True):
    """The yes or no of one person. ``by`` is the identity that voted: "operator:NAME" (a token) or "CHANNEL:ID" (a sender in a
    chat). The person behind an identity is looked up when votes are counted. ``inbound_id`` is the message or button press of the
    vote: so the same one is not counted again after a crash."""

    by: str
    allow: bool
    at: float
    scope: Scope = "once"
    note: str | None = None
    inbound_id: int | None = None


class Approval(Struct, frozen=True, omit_defaults=True):
    """A row of the approval desk. Times are Unix seconds. ``consumed_at`` is set once, by the turn that asked.

    ``code`` is what people write in a chat. ``origin`` is the conversation of the message (CHANNEL:ACCOUNT:KIND:ID), ``asked_by``
    its sender (CHANNEL:ID). The request is allowed when ``quorum`` different people have said yes, and denied by one no.
    ``groups`` are the groups of approvers that see it, in the order of escalation. ``scope`` session: the yes is valid for the
    session. ``session_grant`` is what such a yes covers: exactly this input, or the tool with any input.
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
        """The cover of a yes for the session, in words. ``tool`` is the name of the tool in the markup of the text around it."""
        return f"every use of {tool}" if self.session_grant == "tool" else "exactly this input"
