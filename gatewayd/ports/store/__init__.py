"""The socket for stores: a protocol per concern, and ``Store``, which is all of them in one object.

What every operation of every store promises, beside what its own docstring says:

- A write is one transaction: all that its docstring names, or nothing. It returns after the commit, which is durable: a power
  cut after the return loses nothing that the disk did not lie about.
- Operations of several tasks have the effect of one after the other, in some order. Of two that compete for a row, the one that
  comes second finds it as the first left it.
- A read sees at least what was committed before it was called.
- Rows change as ``gatewayd.model.lifecycle`` says and in no other way: in another state a row stays as it is.
- A caller that is cancelled does not learn whether its write was done; it was done whole or not at all.
- Every operation may raise StoreRefused (the disk is full, the file is damaged): then nothing was stored, and the caller must
  not acknowledge.
- Times are Unix seconds. Numbers of rows grow in the order in which they are added, and none is used again for another row.

What a row is allowed to become is no matter of a store. Where that depends on the rows as they are at that moment, the operation
takes the rule as a function: docs/decisions/0012-rules-are-arguments.md.
"""

from collections.abc import Callable
from typing import Protocol

from gatewayd.ports.store.approvals import ANY_INPUT, Approvals, Questions, VoteResult, VoteRule
from gatewayd.ports.store.auth import Pairings, TokenRow, Tokens
from gatewayd.ports.store.dead_letters import (
    DeadLetterFacts,
    DeadLetterRow,
    DeadLetters,
    DropRule,
    Repair,
    Repaired,
    Repairs,
    RetryRule,
    dead_letter_of,
    ref_of,
    shown_text,
)
from gatewayd.ports.store.history import (
    AuditRows,
    EventDraft,
    EventRows,
    KeepRule,
    OldRow,
    Referrer,
    RetentionKind,
    RetentionResult,
    RetentionRows,
)
from gatewayd.ports.store.messages import (
    Account,
    InboundKey,
    InboundRow,
    Inbox,
    NoticeRule,
    OutboundDraft,
    OutboundKey,
    OutboundRow,
    OutboxRows,
    TranscriptRow,
)
from gatewayd.ports.store.state import Accounts, SessionRow, Sessions, State, StateRows, StoreStatistics

__all__ = [
    "ANY_INPUT",
    "Account",
    "Accounts",
    "Approvals",
    "AuditRows",
    "DeadLetterFacts",
    "DeadLetterRow",
    "DeadLetters",
    "DropRule",
    "EventDraft",
    "EventRows",
    "InboundKey",
    "InboundRow",
    "Inbox",
    "KeepRule",
    "NoticeRule",
    "OldRow",
    "OutboundDraft",
    "OutboundKey",
    "OutboundRow",
    "OutboxRows",
    "Pairings",
    "Questions",
    "Referrer",
    "Repair",
    "Repaired",
    "Repairs",
    "RetentionKind",
    "RetentionResult",
    "RetentionRows",
    "RetryRule",
    "SessionRow",
    "Sessions",
    "State",
    "StateRows",
    "Store",
    "StoreStatistics",
    "TokenRow",
    "Tokens",
    "TranscriptRow",
    "VoteResult",
    "VoteRule",
    "dead_letter_of",
    "ref_of",
    "shown_text",
]


class Store(
    Inbox,
    OutboxRows,
    DeadLetters,
    RetentionRows,
    Accounts,
    Sessions,
    Approvals,
    Questions,
    AuditRows,
    EventRows,
    StateRows,
    Pairings,
    Tokens,
    Protocol,
):
    """All of it, one object. Any number of tasks may use it at once."""

    def watch(self, call: Callable[[str | None], None]) -> None:
        """Have ``call`` called, in the event loop, with the reason when the store begins to refuse, and with None when it writes
        again. Each call of ``watch`` adds one."""

    def statistics(self) -> StoreStatistics:
        """No I/O."""
