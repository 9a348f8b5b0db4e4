"""The life-cycles of rows as data: the states of each kind of row, the operations of the store that change them, and the reasons.

Only these tables define the legal moves. The store takes the conditions of its statements from here. Other code that depends on a
state has a table with an entry for each state. docs/decisions/0009-life-cycles-are-data.md says how to add a state.
"""

from collections.abc import Mapping
from typing import Any, Final, Generic, Literal, TypeVar, get_args

from msgspec import Struct

InboundState = Literal["received", "running", "done", "dropped", "dead"]
EndState = Literal["done", "dropped", "dead"]
OutboundState = Literal["ready", "sending", "sent", "unknown", "parked", "dead"]
SendOutcome = Literal["ready", "sent", "unknown", "parked", "dead"]
ApprovalState = Literal["pending", "allowed", "denied", "expired", "withdrawn", "undeliverable"]
Outcome = Literal["allowed", "denied", "expired", "withdrawn", "undeliverable"]
QuestionState = Literal["pending", "answered", "dismissed", "expired", "withdrawn"]
QuestionEnd = Literal["answered", "dismissed", "expired", "withdrawn"]
PairingState = Literal["pending", "approved", "denied"]
PairingDecision = Literal["approved", "denied"]
DeadLetterState = Literal["dead", "unknown", "parked"]
RowState = InboundState | OutboundState

DoneReason = Literal[
    "account_removed",
    "answer",
    "answered",
    "answered_cut",
    "answered_nothing",
    "approval_refused_again",
    "approval_refused_elsewhere",
    "approval_refused_forged",
    "approval_refused_late",
    "approval_refused_not_an_approver",
    "approval_refused_not_offered",
    "approval_refused_unknown",
    "approval_vote",
    "command",
    "command_refused",
    "interrupted",
    "reply_shown_again",
    "stopped",
]
DroppedReason = Literal[
    "account_removed",
    "deleted",
    "deleted_late",
    "dm_disabled",
    "edited_after_answer",
    "for_another_bot",
    "from_bot",
    "group_not_on_allow_list",
    "groups_disabled",
    "late_press",
    "membership",
    "not_addressed",
    "not_asked",
    "not_on_allow_list",
    "not_on_group_allow_list",
    "pairing_required",
    "reaction",
    "sender_limit",
    "service_message",
    "stopped",
]
FOR_ITS_SENDER: Final[frozenset[str]] = frozenset(
    ("command_refused", "approval_refused_elsewhere", "approval_refused_not_an_approver", "approval_refused_unknown")
)
"""The reasons of refusals. In a group only the sender needs to see the reply, where the channel can show it to one person."""
DeadReason = Literal["agent_failed", "attempts_exhausted", "turn_lost", "turn_timed_out"]
InboundReason = DoneReason | DroppedReason | DeadReason
StopReason = Literal["account_removed", "interrupted", "stopped"]
"""The reasons of the rows of a turn that is stopped."""
OutboundReason = Literal["interrupted", "stale"]
"""The reasons from the gateway itself. Every other reason of a reply is the answer of its platform."""

Stage = Literal["open", "dead_letter", "over"]
"""``open``: the gateway goes on with the row by itself, also after a restart. ``dead_letter``: it waits for an operator.
``over``: the gateway does not change it any more. Retention deletes rows that are not open."""
S = TypeVar("S", bound=str)


class Move(Struct, Generic[S], frozen=True):
    """A change of state by the operation ``by`` of the store. It is legal from each of ``sources`` to each of ``targets``.
    ``reason`` is the new reason of the row, if no caller gives one."""

    by: str
    sources: tuple[S, ...]
    targets: tuple[S, ...]
    reason: str | None = None

    @property
    def target(self) -> S:
        """The only target. :raises ValueError: there are several."""
        [target] = self.targets
        return target


class LifeCycle(Struct, Generic[S], frozen=True):
    """One kind of row. ``table`` is its name, ``stages`` has its states in the order of the documentation. The other fields are
    by operation of the store: the states in which it inserts rows (``made``), writes into a row without a change of state
    (``marked``), and deletes rows (``deleted``)."""

    table: str
    stages: Mapping[S, Stage]
    made: Mapping[str, tuple[S, ...]]
    moves: tuple[Move[S], ...]
    marked: Mapping[str, tuple[S, ...]]
    deleted: Mapping[str, tuple[S, ...]]

    def at(self, stage: Stage) -> tuple[S, ...]:
        """The states of one stage."""
        return tuple(state for state, own in self.stages.items() if own == stage)

    def sources(self, by: str, target: S) -> tuple[S, ...]:
        """The states from which an operation may move a row to ``target``."""
        able = {state for move in self.moves if move.by == by and target in move.targets for state in move.sources}
        return tuple(state for state in self.stages if state in able)

    def targets(self, source: S) -> tuple[S, ...]:
        """The states to which a row in this state may move."""
        able = {state for move in self.moves if source in move.sources for state in move.targets}
        return tuple(state for state in self.stages if state in able)


# An inbound row.
START_TURN: Final = Move[InboundState]("start_turn", ("received", "running"), ("running",))
END_INBOUND: Final = Move[InboundState]("end_inbound", ("received", "running"), ("done", "dropped", "dead"))
TAKE_AS_ANSWER: Final = Move[InboundState]("end_question", ("received", "running"), ("done",), "answer")
RETRY_INBOUND: Final = Move[InboundState]("retry_dead_letters", ("dead",), ("received",))
INBOUND: Final = LifeCycle[InboundState](
    "inbound",
    {"received": "open", "running": "open", "done": "over", "dropped": "over", "dead": "dead_letter"},
    made={"add_inbound": ("received",)},
    moves=(START_TURN, END_INBOUND, TAKE_AS_ANSWER, RETRY_INBOUND),
    marked={"note_stop": ("running",), "drop_dead_letters": ("dead",)},
    deleted={"sweep": ("done", "dropped", "dead")},
)
INBOUND_OPEN: Final = INBOUND.at("open")
INBOUND_DEAD_LETTERS: Final = INBOUND.at("dead_letter")
INBOUND_OVER: Final = INBOUND.at("over")
REASONS: Final[Mapping[EndState, tuple[InboundReason, ...]]] = {
    "done": get_args(DoneReason),
    "dropped": get_args(DroppedReason),
    "dead": get_args(DeadReason),
}

# An outbound row. If the call was not made, it stays ready. If it may have been seen, it has a doubt: then it becomes ready by
# itself only where a second send is seen once or the platform can be asked, and it ends in no state of NEVER_SEEN. ``FAIL``: its
# platform took it, and reports later that it could not be delivered.
SEND: Final = Move[OutboundState]("mark_sending", ("ready",), ("sending",))
SETTLE: Final = Move[OutboundState]("settle_outbound", ("sending",), ("sent", "unknown", "dead"))
PUT_BACK: Final = Move[OutboundState]("settle_outbound", ("ready", "sending"), ("ready",))
PARK: Final = Move[OutboundState]("settle_outbound", ("ready",), ("parked",), "stale")
LEAVE_IN_DOUBT: Final = Move[OutboundState]("settle_outbound", ("ready",), ("unknown",), "stale")
RESEND: Final = Move[OutboundState]("recover_outbound", ("sending",), ("ready",), "interrupted")
CUT: Final = Move[OutboundState]("recover_outbound", ("sending",), ("unknown",), "interrupted")
PARK_AT_START: Final = Move[OutboundState]("recover_outbound", ("ready",), ("parked",), "stale")
LEAVE_IN_DOUBT_AT_START: Final = Move[OutboundState]("recover_outbound", ("ready",), ("unknown",), "stale")
FAIL: Final = Move[OutboundState]("add_inbound", ("sent",), ("dead",))
RETRY_OUTBOUND: Final = Move[OutboundState]("retry_dead_letters", ("unknown", "parked", "dead"), ("ready",))
OUTBOUND: Final = LifeCycle[OutboundState](
    "outbound",
    {
        "ready": "open",
        "sending": "open",
        "sent": "over",
        "unknown": "dead_letter",
        "parked": "dead_letter",
        "dead": "dead_letter",
    },
    made=dict.fromkeys(("add_outbound", "end_inbound", "settle_outbound", "recover_outbound"), ("ready",)),
    moves=(
        SEND,
        SETTLE,
        PUT_BACK,
        PARK,
        LEAVE_IN_DOUBT,
        RESEND,
        CUT,
        PARK_AT_START,
        LEAVE_IN_DOUBT_AT_START,
        FAIL,
        RETRY_OUTBOUND,
    ),
    marked={"add_inbound": ("sent", "dead"), "settle_outbound": ("sent",), "drop_dead_letters": ("unknown", "parked", "dead")},
    deleted={"sweep": ("sent", "unknown", "parked", "dead")},
)
OUTBOUND_OPEN: Final = OUTBOUND.at("open")
OUTBOUND_DEAD_LETTERS: Final = OUTBOUND.at("dead_letter")
OUTBOUND_OVER: Final = OUTBOUND.at("over")
SEEN: Final[Mapping[OutboundState, Literal["not yet", "perhaps", "yes", "never"]]] = {
    "ready": "not yet",
    "sending": "perhaps",
    "sent": "yes",
    "unknown": "perhaps",
    "parked": "never",
    "dead": "never",
}
"""Whether the user has seen a reply in this state. ``never``: and will not, unless an operator retries it. A row that is ready
with a doubt is ``perhaps``."""
NEVER_SEEN: Final = tuple(state for state, seen in SEEN.items() if seen == "never")
"""A row with a doubt does not get one of these states. It becomes ``unknown`` instead."""

# An approval. A decision of a rule, or of an operator at the core, is inserted as a decided row.
VOTE: Final = Move[ApprovalState]("vote_approval", ("pending",), ("pending", "allowed", "denied"))
DECIDE: Final = Move[ApprovalState]("decide_approval", ("pending",), get_args(Outcome))
APPROVAL: Final = LifeCycle[ApprovalState](
    "approval",
    {
        "pending": "open",
        "allowed": "over",
        "denied": "over",
        "expired": "over",
        "withdrawn": "over",
        "undeliverable": "over",
    },
    made={"add_approval": ("pending", "allowed", "denied")},
    moves=(VOTE, DECIDE),
    marked={"consume_approval": ("allowed",)},
    deleted={"sweep": get_args(Outcome)},
)
APPROVAL_OPEN: Final = APPROVAL.at("open")
APPROVAL_USABLE: Final = APPROVAL.marked["consume_approval"]
"""The states that let a tool run, once."""

END_QUESTION: Final = Move[QuestionState]("end_question", ("pending",), get_args(QuestionEnd))
QUESTION: Final = LifeCycle[QuestionState](
    "question",
    {"pending": "open", "answered": "over", "dismissed": "over", "expired": "over", "withdrawn": "over"},
    made={"add_question": ("pending",)},
    moves=(END_QUESTION,),
    marked={},
    deleted={"sweep": get_args(QuestionEnd)},
)
QUESTION_OPEN: Final = QUESTION.at("open")

# A decision about a pairing is a new row that replaces the earlier rows of the sender.
PAIRING: Final = LifeCycle[PairingState](
    "pairing",
    {"pending": "open", "approved": "over", "denied": "over"},
    made={"add_pairing": ("pending",), "decide_pairing": get_args(PairingDecision)},
    moves=(),
    marked={},
    deleted={"add_pairing": ("pending",), "decide_pairing": get_args(PairingState), "revoke_pairing": ("approved",)},
)
PAIRING_OPEN: Final = PAIRING.at("open")
PAIRED: Final = PAIRING.deleted["revoke_pairing"]
"""The states of people who may talk."""

LIFE_CYCLES: Final[tuple[LifeCycle[Any], ...]] = (INBOUND, OUTBOUND, APPROVAL, QUESTION, PAIRING)
