"""The port of stores: a protocol for each concern, and ``Store``, which joins them in one object.

Every operation of every store promises this, beside its own docstring:

- A write is one transaction: all that its docstring names, or nothing. It returns after the commit. The commit is durable: a
  power cut after it loses nothing, if the disk keeps what it has confirmed.
- Operations are serializable: those of several tasks have the effect of one after the other, in some order. Of two operations
  that compete for a row, the second one finds the row as the first one left it.
- A read sees at least all commits that were done before its call.
- The state of a row changes only as ``gatewayd.model.lifecycle`` allows. A row in another state stays as it is.
- A caller that is cancelled does not learn whether its write was done. It was done completely or not at all.
- Every operation may raise StoreRefused (the disk is full, the file is damaged). Then nothing was stored, and the caller must not
  acknowledge.
- Times are Unix seconds. The numbers of rows grow in the order in which rows are added, and no number is used twice.

A store has no rules. Where a change depends on the rows as they are at that moment, the operation takes the rule as a function:
docs/decisions/0012-rules-are-arguments.md.
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
    WAITING_REPORT_SECONDS,
    WAITING_REPORTS,
    Account,
    AccountReport,
    InboundKey,
    InboundRow,
    Inbox,
    Journaled,
    NoticeRule,
    OutboundDraft,
    OutboundKey,
    OutboundRow,
    OutboxRows,
    Reported,
    ResendRule,
    Settled,
    StateValue,
    TranscriptRow,
)
from gatewayd.ports.store.state import Accounts, SessionRow, Sessions, State, StateRows, StoreStatistics

__all__ = [
    "ANY_INPUT",
    "WAITING_REPORTS",
    "WAITING_REPORT_SECONDS",
    "Account",
    "AccountReport",
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
    "Journaled",
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
    "Reported",
    "ResendRule",
    "RetentionKind",
    "RetentionResult",
    "RetentionRows",
    "RetryRule",
    "SessionRow",
    "Sessions",
    "Settled",
    "State",
    "StateRows",
    "StateValue",
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
    """All operations in one object. Any number of tasks may use it at once."""

    def watch(self, call: Callable[[str | None], None]) -> None:
        """Add a function that the store calls in the event loop: with the reason when it begins to refuse, and with None when it
        writes again."""

    def statistics(self) -> StoreStatistics:
        """No I/O."""
