"""What a platform says later of a message that it took."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

ReportKind = Literal["delivered", "read", "failed"]


class DeliveryReport(Struct, frozen=True, omit_defaults=True):
    """``message_id`` is that of the receipt of the send, unique within the account. ``at`` is the platform's time in Unix
    seconds; None: now. ``reason`` says in the platform's words why it could not be delivered. A report may come before the
    receipt, more than once, and in any order."""

    message_id: str
    kind: ReportKind
    at: float | None = None
    reason: str | None = None


def failure_in(reports: Sequence[DeliveryReport]) -> DeliveryReport | None:
    """The report that a message could not be delivered; None: there is none, or another one says that it was."""
    by_kind = {report.kind: report for report in reversed(reports)}
    return None if by_kind.keys() & {"delivered", "read"} else by_kind.get("failed")
