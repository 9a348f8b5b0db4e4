"""The approval requests of one run of a turn, with the requests of its earlier runs.

While the store refuses, the turn waits. If it ended instead, its next attempt would repeat what it has done.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

import anyio

from gatewayd.hub.approvals.desk import ApprovalDesk, cannot_be_shown, hash_of
from gatewayd.hub.outbox.outbox import until_stored
from gatewayd.model.lifecycle import ApprovalState
from gatewayd.model.records.approval import Approval, Decision, ToolRequest
from gatewayd.ports.agent import TurnRequest
from gatewayd.ports.store import Approvals

_VOID_MAX = 1000
_FOUND_AGAIN: Final[Mapping[ApprovalState, bool]] = {
    "pending": True,
    "allowed": True,
    "denied": True,
    "expired": True,
    "withdrawn": False,
    "undeliverable": False,
}
"""Whether a later run of the turn reuses a request of an earlier run. If not, it asks anew."""


class ApprovalRequests:
    """The requests of one run of a turn. Requests of earlier runs are reused."""

    def __init__(self, desk: ApprovalDesk, store: Approvals, turn: TurnRequest) -> None:
        self._desk = desk
        self._store = store
        self._turn = turn
        self._lock = anyio.Lock()
        self._left: list[Approval] = []
        self._loaded = False
        self._count = 0
        self._asked: dict[str, str] = {}
        self._void: dict[str, str] = {}
        self._any_ref: set[str] = set()

    async def permission(self, request: ToolRequest) -> Decision:
        """Ask an operator and wait for the answer. A cancelled wait does not withdraw the request."""
        why_not = cannot_be_shown(request)
        if why_not is not None:
            self._desk.note_refused(self._turn, request, why_not)
            return Decision("undeliverable", note=why_not)
        async with self._lock:
            row = await self._find(request) or await self._add(request)
            if row is None:
                why_not = "too many requests are waiting for an operator"
                self._desk.note_refused(self._turn, request, why_not)
                return Decision("undeliverable", note=why_not)
            if request.ref is not None:
                self._asked[request.ref] = row.id
        if row.state == "pending":
            row = await self._wait(row)
        return await until_stored(partial(self._use, row, request.ref))

    async def withdraw(self, ref: str, *, why: str) -> None:
        """See ``ports.agent.Turn``."""
        if (approval_id := self._asked.get(ref)) is not None:
            await until_stored(partial(self._desk.settle, approval_id, "withdrawn", note=why))
        elif len(self._void) < _VOID_MAX:
            self._void[ref] = why

    async def forget_refs(self) -> None:
        """The core has lost the turn and its ids: requests with such an id cannot be answered any more."""
        await self._load()
        for row in self._left:
            if row.ref is not None and row.state == "pending":
                await until_stored(partial(self._desk.settle, row.id, "withdrawn", note="the agent has lost the turn that asked"))
        # A used permission stays used: the same id may come again, for something that would run a second time. A permission that
        # was not used yet holds for the same input, with any id.
        self._left = [row for row in self._left if row.ref is None or (row.state == "allowed" and row.consumed_at is None)]
        self._any_ref = {row.id for row in self._left}

    async def _wait(self, row: Approval) -> Approval:
        why = None if row.ref is None else self._void.get(row.ref)
        if why is not None:
            # Withdrawn while the row was being stored.
            await until_stored(partial(self._desk.settle, row.id, "withdrawn", note=why))
        return await until_stored(partial(self._desk.wait, row, self._turn))

    async def _find(self, request: ToolRequest) -> Approval | None:
        """The row of this same request: from this run, if the core gave it an id; or from an earlier run of this turn, if its
        answer can still be used."""
        await self._load()
        wanted = hash_of(request)
        asked = None if request.ref is None else self._asked.get(request.ref)
        if asked is not None and (row := await until_stored(partial(self._desk.get, asked))).input_hash == wanted:
            return row
        for row in self._left:
            if row.input_hash == wanted and (row.ref == request.ref or row.id in self._any_ref) and _can_be_used(row):
                # Read anew: it may have been decided meanwhile.
                found = await until_stored(partial(self._desk.get, row.id))
                self._left.remove(row)
                return found
        return None

    async def _load(self) -> None:
        if not self._loaded:
            rows = await until_stored(partial(self._store.approvals_of, self._turn.turn_id))
            for row in rows:
                if row.agent != self._turn.agent_id and row.state == "pending":
                    await until_stored(
                        partial(self._desk.settle, row.id, "withdrawn", note="another agent has taken the message")
                    )
            # A permission of one agent is none of another.
            self._left = [row for row in rows if row.agent == self._turn.agent_id]
            self._count = 1 + max((row.ordinal for row in rows), default=-1)
            self._loaded = True

    async def _add(self, request: ToolRequest) -> Approval | None:
        """Add a row, pending or decided by the policy. None: too many requests are pending."""
        await self._give_up_left()
        decided = await until_stored(partial(self._desk.decided_by_policy, self._turn, request))
        if decided is None and self._desk.full(self._turn.agent_id):
            return None
        while True:
            fresh = self._desk.fresh(self._turn, request, self._count)
            row = await until_stored(partial(self._desk.enter, fresh, decided))
            self._count += 1
            if row.id == fresh.id:
                return row
            # Another request has this ordinal.

    async def _give_up_left(self) -> None:
        """This run asks for something else than the last one: withdraw the pending requests of that run. Requests with an id of
        the core stay, because the core may ask them again in any order."""
        why = "the turn was run again and asks for something else"
        for row in self._left:
            if row.ref is None and row.state == "pending":
                await until_stored(partial(self._desk.settle, row.id, "withdrawn", note=why))
        self._left = [row for row in self._left if row.ref is not None]

    async def _use(self, row: Approval, ref: str | None) -> Decision:
        """Use a decision. ``ref`` is the id of the present request: the row gets it, so that a later run finds the row by it."""
        if row.state == "pending":
            raise AssertionError("a request that is pending is not used")
        used_before = row.state == "allowed" and not await self._store.consume_approval(row.id, ref=ref, now=self._desk.now())
        # A core with an id of its own runs the tool once, however often it gets the answer. The first answer may be lost.
        if used_before and ref is None:
            return Decision("withdrawn", note="this permission was used already")
        return Decision(row.state, by=row.decided_by, note=row.note)


def _can_be_used(row: Approval) -> bool:
    return _FOUND_AGAIN[row.state] and (row.consumed_at is None or row.ref is not None)
