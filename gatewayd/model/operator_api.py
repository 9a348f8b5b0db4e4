"""The JSON bodies of the operators' HTTP API: gatewayd/web and gatewayctl read and write the same structs.

What a body carries (an approval, a status, …) is in model/records and model/status.py. The name of a request begins with a verb.
A request refuses unknown fields, and gatewayctl sends no field that has its default.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gatewayd.model.errors import ConfigProblem
from gatewayd.model.records.approval import Approval, Scope
from gatewayd.model.records.audit import AuditHead, AuditRow
from gatewayd.model.records.dead_letter import (
    MOST_AT_ONCE,
    DeadLetter,
    DeadLetterCounts,
    DeadLetterFilter,
    RepairAction,
    Skipped,
)
from gatewayd.model.records.pairing import PairingRow
from gatewayd.model.status import AccountStatus, AgentStatus

Note = Annotated[str, Meta(max_length=2000)]
ConsolePage = Literal["approvals", "dead-letters", "trace"]
Cursor = Annotated[str, Meta(max_length=200)]
_Ref = Annotated[str, Meta(max_length=40)]
_Text = Annotated[str, Meta(min_length=1, max_length=256)]


class Request(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of a request. This one is empty: ``{}``."""


class ErrorDetail(Struct, frozen=True):
    """``code`` is one of web/http/errors.py; ``message`` is for people."""

    code: str
    message: str


class ErrorBody(Struct, frozen=True):
    """The body of every response that is not 2xx."""

    error: ErrorDetail


class ConfigErrorBody(ErrorBody, frozen=True):
    """A configuration was refused. ``problems`` holds all that is wrong, in the order of the file."""

    problems: tuple[ConfigProblem, ...]


class AccountList(Struct, frozen=True):
    accounts: tuple[AccountStatus, ...]


class ChooseAccounts(Request, frozen=True):
    """One account of a channel; None: all of them."""

    account_id: str | None = None


class AgentList(Struct, frozen=True):
    agents: tuple[AgentStatus, ...]


class AgentReport(Struct, frozen=True):
    """``output`` holds the last lines that the core's process wrote."""

    agent: AgentStatus
    output: tuple[str, ...]


class ApprovalList(Struct, frozen=True):
    approvals: tuple[Approval, ...]


class DecideApproval(Request, frozen=True):
    decision: Literal["allow", "deny"]
    note: Note | None = None
    scope: Scope = "once"


class AuditPage(Struct, frozen=True):
    """Entries in order. ``head`` is the newest entry of the whole log, None while the log is empty."""

    entries: tuple[AuditRow, ...]
    head: AuditHead | None


class DeadLetterList(Struct, frozen=True):
    """``next`` is the cursor of the older ones; ``counts`` are of all dead letters, whatever the filter."""

    dead_letters: tuple[DeadLetter, ...]
    next: str | None
    counts: DeadLetterCounts


class OneDeadLetter(Struct, frozen=True):
    """A dead letter as a retry or a drop has left it."""

    dead_letter: DeadLetter


class DeadLetterView(OneDeadLetter, frozen=True):
    """With its whole ``text``, and why it cannot be retried."""

    text: str
    can_retry: bool
    why_not: str | None


class RepairOne(Request, frozen=True):
    action: RepairAction
    note: Note | None = None


class RepairMany(RepairOne, frozen=True):
    """Either ``refs`` or a ``filter``; ``after`` is the ``next`` of the response to the same filter."""

    refs: Annotated[tuple[_Ref, ...], Meta(min_length=1, max_length=MOST_AT_ONCE)] | None = None
    filter: DeadLetterFilter | None = None
    after: Cursor | None = None


class RepairedMany(Struct, frozen=True):
    done: int
    skipped: tuple[Skipped, ...]
    more: bool
    next: str | None


class EventGap(Struct, frozen=True):
    """Data of ``gateway.gap``: the events between ``after`` and ``next`` are not stored."""

    after: int
    next: int


class PairingList(Struct, frozen=True):
    pending: tuple[PairingRow, ...]
    paired: tuple[PairingRow, ...]


class DecidePairing(Request, frozen=True):
    decision: Literal["approve", "deny"]


class RevokePairing(Request, frozen=True):
    channel: _Text
    account: _Text
    sender_id: _Text


class MakeConsoleLink(Request, frozen=True):
    page: ConsolePage = "approvals"


class LoginLink(Struct, frozen=True):
    """``url`` logs in once, until ``expires_at`` (Unix seconds)."""

    url: str
    expires_at: float
