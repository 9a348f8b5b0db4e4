"""The inbox: a message is journaled, then admitted or dropped, then dispatched. It is acknowledged when it is in the store."""

from collections import deque
from collections.abc import Sequence
from typing import Literal, Protocol

import anyio
import msgspec
from msgspec import Struct

from gatewayd.actor.wakeup import Wakeup
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.inbox.access import AccessControl
from gatewayd.hub.inbox.backlog import Backlog
from gatewayd.hub.inbox.routing import known_as, resolve_route
from gatewayd.hub.outbox.outbox import Outbox, until_stored
from gatewayd.model.errors import NotFound
from gatewayd.model.lifecycle import DroppedReason
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.intents import Intent, classify
from gatewayd.model.message.roles import Role
from gatewayd.model.message.route import Route
from gatewayd.model.records.storable import refuse_unusable, refuse_unusable_report, refuse_unusable_state
from gatewayd.ports.store import Account, AccountReport, InboundRow, StateValue, Store

_RECOVERY_PAGE = 1000
_REJECTED_AT_ONCE = 256
SORRY_MANY = (
    "Sorry, too many of your messages are waiting. I do not read new messages from you until I have answered some of them."
)
NOT_YOURS = "This question is for somebody else."


class Lanes(Protocol):
    """The lanes of admitted messages: hub/turns/runner.py."""

    def role_of(self, envelope: InboundEnvelope) -> Role:
        """The role of the sender in this chat now."""

    def add(self, row: InboundRow, route: Route, intent: Intent) -> None: ...

    def waits(self, row: InboundRow, route: Route, intent: Intent) -> bool:
        """Whether the row would wait for a turn. Commands that are acted on at once and answers do not wait."""

    def is_for_somebody_else(self, envelope: InboundEnvelope) -> bool:
        """Whether it is a button press under a question to somebody else."""

    def end_removed(self, rows: Sequence[InboundRow]) -> None:
        """End rows whose account is not configured any more, and stop the turns that they began."""


class Responses(Protocol):
    """The approval responses: hub/approvals/responses.py."""

    def take(self, row: InboundRow, intent: Intent, *, admitted: bool) -> bool: ...

    def acknowledge(self, envelope: InboundEnvelope, text: str = "") -> None: ...


class _Rejected(Struct, frozen=True):
    """A row that goes to no agent. ``pair``: its sender gets a pairing code; ``notify``: its sender is told of the limit."""

    row: InboundRow
    reason: DroppedReason
    answer: Literal["none", "pair", "notify"] = "none"


class InboxDesk:
    """Takes envelopes from accounts and connectors. ``run`` drops the rejected ones."""

    def __init__(
        self,
        context: Context,
        configured: Configured,
        access: AccessControl,
        outbox: Outbox,
        backlog: Backlog,
        lanes: Lanes,
        responses: Responses,
    ) -> None:
        self._store: Store = context.store
        self._events = context.events
        self._now = context.now
        self._configured = configured
        self._access = access
        self._outbox = outbox
        self._backlog = backlog
        self._lanes = lanes
        self._responses = responses
        self._rejected: deque[_Rejected] = deque()
        self._wake = Wakeup()
        self.received = 0

    def availability(self) -> dict[tuple[str, str], str | None]:
        """The configured accounts, each with the reason why a delivery would have to wait now, or None."""
        return {account: self._backlog.why_full(*account) for account in self._configured.accounts}

    async def deliver(
        self,
        envelopes: Sequence[InboundEnvelope],
        *,
        state: Sequence[StateValue] = (),
        reports: Sequence[AccountReport] = (),
    ) -> list[InboundRow]:
        """Journal envelopes of one account and dispatch them, with delivery reports. Returns the new rows after the commit. Waits
        while the inbox, or the account's share of it, is full.

        :raises StoreRefused: nothing was stored; do not confirm to the platform.
        :raises NotFound: an envelope names an account that is not configured.
        :raises UnusableId: an id of an envelope or report, or a value of ``state``, cannot be stored. Nothing was stored.
        :raises ValueError: the envelopes are of several accounts.
        """
        for envelope in envelopes:
            if (envelope.channel, envelope.account) not in self._configured.accounts:
                raise NotFound(f"there is no account {envelope.channel}/{envelope.account} in the configuration")
            refuse_unusable(envelope)
        for *_, key, value in state:
            refuse_unusable_state(key, value)
        for *_, report in reports:
            refuse_unusable_report(report)
        accounts = {(envelope.channel, envelope.account) for envelope in envelopes}
        if len(accounts) > 1:
            raise ValueError("a delivery is of one account")
        now = self._now()
        known = [known_as(envelope, self._configured.config) for envelope in envelopes]
        stamped = [e if e.received_at else msgspec.structs.replace(e, received_at=now) for e in known]
        for account in accounts:
            await self._backlog.reserve(account, len(stamped))
        rows: list[InboundRow] = []
        try:
            # If the caller is cancelled during the commit, the rows must still be dispatched.
            with anyio.CancelScope(shield=True):
                journaled = await self._store.add_inbound(stamped, state=state, reports=reports)
                rows = journaled.rows
        finally:
            for account in accounts:
                self._backlog.release(account, len(stamped) - len(rows))
        self._outbox.note_reported(journaled.reported)
        self.received += len(rows)
        for row in rows:
            envelope = row.envelope
            self._events.emit(
                "inbound.received",
                id=row.id,
                channel=envelope.channel,
                account=envelope.account,
                peer=f"{envelope.peer.kind}:{envelope.peer.id}",
                event_kind=envelope.kind,
            )
            self._backlog.enter(row)
            self._dispatch(row, is_new=True)
        return rows

    async def pending(self, accounts: Sequence[Account]) -> list[InboundRow]:
        """At start: the rows of these accounts that have not ended, in order. The limit of the inbox bounds their number."""
        rows: list[InboundRow] = []
        while page := await self._store.pending_inbound(accounts, after_id=rows[-1].id if rows else 0, limit=_RECOVERY_PAGE):
            rows += page
        return rows

    def resume(self, rows: Sequence[InboundRow]) -> None:
        """Dispatch what :meth:`pending` found, before any account listens: newer messages must come after it."""
        for row in rows:
            self._backlog.enter_again(row)
            self._dispatch(row, is_new=False)

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Drop rejected rows, and answer strangers, until cancelled."""
        task_status.started()
        while True:
            await self._wake.take()
            while self._rejected:
                await self._drop_rejected()

    def _dispatch(self, row: InboundRow, *, is_new: bool) -> None:
        envelope = row.envelope
        settings = self._configured.accounts.get((envelope.channel, envelope.account))
        if settings is None and row.turn_id is not None:
            self._lanes.end_removed([row])
            return
        if settings is None:
            self._reject(_Rejected(row, "account_removed"))
            return
        intent = classify(envelope, self._lanes.role_of)
        verdict = self._access.judge(envelope, settings.frame, self._configured.plugins[envelope.channel])
        if self._responses.take(row, intent, admitted=verdict.kind == "admit"):
            return
        self._responses.acknowledge(envelope, NOT_YOURS if self._lanes.is_for_somebody_else(envelope) else "")
        if verdict.reason == "admitted" or row.state == "running":
            self._add_to_lane(row, resolve_route(envelope, self._configured.config), intent, is_new=is_new)
        else:
            self._reject(_Rejected(row, verdict.reason, "pair" if verdict.kind == "pair" else "none"))

    def _add_to_lane(self, row: InboundRow, route: Route, intent: Intent, *, is_new: bool) -> None:
        """Add it, unless its sender has too many waiting messages. Rows of an earlier life are always added."""
        if self._lanes.waits(row, route, intent):
            if is_new and not self._backlog.may_wait(row):
                self._reject(_Rejected(row, "sender_limit", "notify" if self._backlog.should_notify(row) else "none"))
                return
            self._backlog.count_for_sender(row)
        self._lanes.add(row, route, intent)

    def _reject(self, rejected: _Rejected) -> None:
        self._rejected.append(rejected)
        self._wake.notify()

    async def _drop_rejected(self) -> None:
        """Drop the oldest rejected row, and those right behind it with the same reason, in one commit: in a busy group most
        messages are not for the bot, and one commit for each would fill the inbox."""
        first = self._rejected.popleft()
        rows, reason = [first.row], first.reason
        while first.answer == "none" and len(rows) < _REJECTED_AT_ONCE and self._rejected:
            if (self._rejected[0].reason, self._rejected[0].answer) != (reason, "none"):
                break
            rows.append(self._rejected.popleft().row)
        await self._outbox.end_inbound(rows, "dropped", reason, text=await self._answer_to(first))
        self._backlog.dequeue(rows)
        self._backlog.complete(rows)

    async def _answer_to(self, rejected: _Rejected) -> str:
        if rejected.answer == "pair":
            return await until_stored(lambda: self._access.request_pairing(rejected.row.envelope)) or ""
        return SORRY_MANY if rejected.answer == "notify" else ""
