"""The audit log: the orders of operators, and failed authentications.

An entry is committed before its order is carried out, so the log has every order. If the order then fails, a second entry says
so. The entry of an approval's decision is in the transaction of the decision (stores/sqlite/tables/approvals.py).
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from gatewayd.kit.text import sanitise
from gatewayd.model.errors import GatewayError, StoreRefused
from gatewayd.model.records.audit import AuditDraft, AuditHead, AuditRow, DetailValue, detail_of
from gatewayd.ports.store import AuditRows

LONGEST_TEXT: Final = 500
"""Characters of one text of an entry; the rest is cut."""
NOBODY: Final = "nobody"
"""The actor of a failed authentication."""

log = structlog.get_logger("gatewayd.audit")


class AuditLog:
    """Adds entries and reads them. ``now`` gives Unix seconds."""

    def __init__(self, store: AuditRows, *, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    async def record(self, actor: str, action: str, subject: str, **detail: DetailValue) -> AuditRow:
        """Add an entry. ``detail`` holds names, ids and sizes: never a secret, never a message's text.

        :raises StoreRefused: it could not be written. The caller must not carry out the order then.
        """
        text = detail_of(**{key: _cut(value) if isinstance(value, str) else value for key, value in detail.items()})
        return await self._store.add_audit(AuditDraft(self._now(), _cut(actor), action, _cut(subject), text))

    @asynccontextmanager
    async def doing(self, actor: str, action: str, subject: str, **detail: DetailValue) -> AsyncIterator[None]:
        """Around an order of an operator: record it before the body, and once more if the body refuses it.

        :raises StoreRefused: it could not be recorded; the body was not run.
        """
        await self.record(actor, action, subject, **detail)
        try:
            yield
        except GatewayError as error:
            await self.record(actor, f"{action}.refused", subject, reason=error.reason)
            raise

    async def record_failure(self, source: str, what: str, *, last: bool) -> None:
        """Record a failed authentication from a network address. The caller limits their number; ``last``: further ones of this
        minute are not recorded. It never raises, because the response does not depend on the disk."""
        try:
            await self.record(NOBODY, "auth.failed", source, what=what, more_are_not_recorded=True if last else None)
        except StoreRefused as error:
            log.warning("audit_not_written", action="auth.failed", reason=error.reason)

    async def after(self, seq: int, *, limit: int) -> list[AuditRow]:
        """Entries with a greater number, in order."""
        return await self._store.audit_after(seq, limit=limit)

    async def head(self) -> AuditHead | None:
        """The newest entry's number and hash; None while there is none."""
        row = await self._store.audit_head()
        return None if row is None else AuditHead(row.seq, row.hash)


def _cut(text: str) -> str:
    """Names come from elsewhere: they may hold half a character, or a megabyte."""
    text = sanitise(text[: LONGEST_TEXT + 1])
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
