"""The approval desk: the only door between an agent and anything dangerous.

A request is a durable row bound to what is shown. It is found again by ``(turn_id, ordinal)`` when the turn is run again
after a crash, so a press before, during or after the restart counts, and counts once.
"""

import hashlib
import secrets
from collections.abc import Callable, Collection, Sequence
from typing import Literal

import anyio
import msgspec

from gatewayd.hub.events import EventLog
from gatewayd.model.approval import Approval, ApprovalState, Decision, ToolRequest
from gatewayd.model.config import ApprovalsSection
from gatewayd.model.errors import Conflict, NotFound
from gatewayd.ports.agent import TurnRequest
from gatewayd.ports.store import Approvals

_LIST_MAX = 1000
_EVERYTHING = 10_000_000
_INPUT_MAX = 100_000
_SHOWN_MAX = 200


class ApprovalDesk:
    """Holds what is pending, wakes who waits, and lets each ``allowed`` be used once."""

    def __init__(self, store: Approvals, events: EventLog, config: ApprovalsSection, *, now: Callable[[], float]) -> None:
        self._store = store
        self._events = events
        self._config = config
        self._now = now
        self._pending: dict[str, Approval] = {}
        self._decided: dict[str, anyio.Event] = {}

    async def load(self, live_turns: Collection[str | None]) -> None:
        """At start: requests whose turn will run again stay pending, the others are withdrawn, the overdue expire."""
        now = self._now()
        for row in await self._store.list_approvals("pending", limit=_EVERYTHING):
            self._pending[row.id] = row
            if row.expires_at <= now:
                await self._settle(row.id, "expired", by="gatewayd", note=None)
            elif row.turn_id not in live_turns:
                await self._settle(row.id, "withdrawn", by="gatewayd", note="the turn that asked is gone")

    async def ask(
        self, turn: TurnRequest, request: ToolRequest, ordinal: int, *, shown: Callable[[Approval], None]
    ) -> tuple[Decision, int]:
        """Ask an operator and wait. Returns the decision and the ordinal it was given under.

        ``ordinal`` numbers the requests of one turn from 0. ``shown`` is called once the request is pending and durable.
        A wait that is cancelled withdraws nothing: see :meth:`withdraw`.
        """
        if len(request.input) + len(request.tool) > _INPUT_MAX:
            return Decision("undeliverable", note="the request is too long to be shown to an operator"), ordinal
        if len(self._pending) >= self._config.max_pending and not self._requests_of(turn.turn_id):
            return Decision("undeliverable", note="too many requests are waiting for an operator"), ordinal
        approval, ordinal = await self._find_or_add(turn, request, ordinal)
        if approval.state == "pending":
            approval = await self._wait(approval, shown)
        return await self._use(approval), ordinal

    async def withdraw(self, turn_id: str, *, why: str) -> None:
        """The turn ended without waiting for its answer (stopped, timed out)."""
        for row in self._requests_of(turn_id):
            await self._settle(row.id, "withdrawn", by="gatewayd", note=why)

    async def list(self, state: ApprovalState | None = "pending", *, limit: int = 100) -> list[Approval]:
        """Rows in one state, or all, oldest first."""
        return await self._store.list_approvals(state, limit=min(limit, _LIST_MAX))

    async def get(self, approval_id: str) -> Approval:
        """:raises NotFound:"""
        row = await self._store.get_approval(approval_id)
        if row is None:
            raise NotFound(f"there is no approval {approval_id!r}")
        return row

    async def decide(self, approval_id: str, *, allow: bool, by: str, note: str | None = None) -> Approval:
        """Answer a pending request.

        :raises NotFound: no such request.
        :raises Conflict: it is not pending (any more); the message says what it is.
        """
        known = self._pending.get(approval_id)
        if known is not None and known.expires_at <= self._now():
            await self._settle(approval_id, "expired", by="gatewayd", note=None)
        row = await self._settle(approval_id, "allowed" if allow else "denied", by=by, note=note)
        if row is None:
            found = await self.get(approval_id)
            raise Conflict(f"approval {approval_id} is not pending: it was {found.state} by {found.decided_by}")
        return row

    async def wait_decided(self, approval_id: str) -> Approval:
        """Returns when the request is not pending any more. :raises NotFound:"""
        event = self._decided.setdefault(approval_id, anyio.Event()) if approval_id in self._pending else None
        if event is not None:
            await event.wait()
        return await self.get(approval_id)

    def _requests_of(self, turn_id: str) -> Sequence[Approval]:
        return [row for row in self._pending.values() if row.turn_id == turn_id]

    def pending_count(self) -> int:
        return len(self._pending)

    async def _find_or_add(self, turn: TurnRequest, request: ToolRequest, ordinal: int) -> tuple[Approval, int]:
        """The row of this request: a new one, or the one that the same turn made before a crash and has not used up."""
        wanted = hash_of(request)
        while True:
            row = await self._add(self._new_row(turn, request, ordinal))
            if row.input_hash == wanted and row.consumed_at is None and row.state != "withdrawn":
                return row, ordinal
            # Used up before the crash, or the turn asks for something else this time: what was answered does not count.
            if row.state == "pending":
                await self._settle(row.id, "withdrawn", by="gatewayd", note="the turn was run again and asks for something else")
            ordinal += 1

    async def _add(self, fresh: Approval) -> Approval:
        # Shielded: a row that is committed is known here, so that a turn that is stopped meanwhile withdraws it.
        with anyio.CancelScope(shield=True):
            row = await self._store.add_approval(fresh)
        if row.state == "pending":
            self._pending[row.id] = row
        if row.id == fresh.id:
            self._events.emit(
                "approval.pending",
                id=row.id,
                agent=row.agent,
                session_key=row.session_key,
                turn_id=row.turn_id,
                tool=row.tool[:_SHOWN_MAX],
                expires_at=row.expires_at,
            )
        return row

    async def _wait(self, approval: Approval, shown: Callable[[Approval], None]) -> Approval:
        event = self._decided.setdefault(approval.id, anyio.Event())
        if (current := await self.get(approval.id)).state != "pending":
            # Decided while the row was on its way back to us: nobody will set the event any more.
            self._forget(approval.id)
            return current
        shown(approval)
        # A clock that was set back must not make a request wait for longer than any may.
        left = min(approval.expires_at - self._now(), self._config.timeout_seconds)
        with anyio.move_on_after(max(0.0, left)):
            await event.wait()
        await self._settle(approval.id, "expired", by="gatewayd", note=None)
        return await self.get(approval.id)

    async def _use(self, approval: Approval) -> Decision:
        if approval.state == "allowed" and not await self._store.consume_approval(approval.id, now=self._now()):
            return Decision("withdrawn", note="this permission was used already")
        if approval.state == "pending":
            raise AssertionError("a request that is pending is not used")
        return Decision(approval.state, by=approval.decided_by, note=approval.note)

    async def _settle(
        self, approval_id: str, state: Literal["allowed", "denied", "expired", "withdrawn"], *, by: str, note: str | None
    ) -> Approval | None:
        # Shielded: who pressed may go away meanwhile, but who waits for the press must hear of it.
        with anyio.CancelScope(shield=True):
            row = await self._store.decide_approval(approval_id, state, by=by, note=note, now=self._now())
        self._forget(approval_id)
        if row is not None:
            self._events.emit(f"approval.{state}", id=row.id, tool=row.tool[:_SHOWN_MAX], turn_id=row.turn_id, by=by)
        return row

    def _forget(self, approval_id: str) -> None:
        self._pending.pop(approval_id, None)
        event = self._decided.pop(approval_id, None)
        if event is not None:
            event.set()

    def _new_row(self, turn: TurnRequest, request: ToolRequest, ordinal: int) -> Approval:
        now = self._now()
        return Approval(
            id="ap_" + secrets.token_hex(5),
            agent=turn.agent_id,
            session_key=turn.session_key,
            turn_id=turn.turn_id,
            ordinal=ordinal,
            tool=request.tool,
            input=request.input,
            input_hash=hash_of(request),
            state="pending",
            created_at=now,
            expires_at=now + self._config.timeout_seconds,
            origin=f"{turn.channel}:{turn.account}:{turn.peer.kind}:{turn.peer.id}",
        )


def hash_of(request: ToolRequest) -> str:
    """SHA-256 hex over the tool's name and its exact input: what was shown is what is allowed."""
    return hashlib.sha256(msgspec.json.encode([request.tool, request.input])).hexdigest()
