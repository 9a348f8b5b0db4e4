"""What one run of a turn asks of the approval desk, and how it finds again what an earlier run asked.

The store is waited for while it refuses: a turn that was begun again because of it would do again what it has done.
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
"""Whether a turn that is run again takes up what an earlier run of it asked; or else it asks anew."""


class ApprovalRequests:
    """The requests of one run of a turn. What an earlier run of it asked is taken up again."""

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
        """Ask an operator and wait, also for a store that refuses. A wait that is cancelled withdraws nothing."""
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
        """The core has lost the turn, and its ids with it: what it asked under them can be answered no more."""
        await self._load()
        for row in self._left:
            if row.ref is not None and row.state == "pending":
                await until_stored(partial(self._desk.settle, row.id, "withdrawn", note="the agent has lost the turn that asked"))
        # One that was used stays used: the same id may come again, for something that would run a second time. One that was
        # not used yet holds for the very same, under whatever id it is asked now.
        self._left = [row for row in self._left if row.ref is None or (row.state == "allowed" and row.consumed_at is None)]
        self._any_ref = {row.id for row in self._left}

    async def _wait(self, row: Approval) -> Approval:
        why = None if row.ref is None else self._void.get(row.ref)
        if why is not None:
            # Withdrawn while it was on its way into the store.
            await until_stored(partial(self._desk.settle, row.id, "withdrawn", note=why))
        return await until_stored(partial(self._desk.wait, row, self._turn))

    async def _find(self, request: ToolRequest) -> Approval | None:
        """The row of this very request: of this run, when the core has an id of its own for it, or of an earlier run of this
        turn, if its answer can still be used."""
        await self._load()
        wanted = hash_of(request)
        asked = None if request.ref is None else self._asked.get(request.ref)
        if asked is not None and (row := await until_stored(partial(self._desk.get, asked))).input_hash == wanted:
            return row
        for row in self._left:
            if row.input_hash == wanted and (row.ref == request.ref or row.id in self._any_ref) and _can_be_used(row):
                # As it is now: it may have been decided since it was read.
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
            # What one agent was allowed, another one was not.
            self._left = [row for row in rows if row.agent == self._turn.agent_id]
            self._count = 1 + max((row.ordinal for row in rows), default=-1)
            self._loaded = True

    async def _add(self, request: ToolRequest) -> Approval | None:
        """A new row: pending, or decided by the policy. None when too many are pending."""
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
            # This number of the turn was another request's.

    async def _give_up_left(self) -> None:
        """The turn asks for something else than the last time: what was asked then is void. What the core knows by its own id
        may still be asked, in any order."""
        why = "the turn was run again and asks for something else"
        for row in self._left:
            if row.ref is None and row.state == "pending":
                await until_stored(partial(self._desk.settle, row.id, "withdrawn", note=why))
        self._left = [row for row in self._left if row.ref is not None]

    async def _use(self, row: Approval, ref: str | None) -> Decision:
        """``ref``: under which id it is asked now. The row has it from then on: the next life finds what it is used for."""
        if row.state == "pending":
            raise AssertionError("a request that is pending is not used")
        used_before = row.state == "allowed" and not await self._store.consume_approval(row.id, ref=ref, now=self._desk.now())
        # A core that gave its own id runs it once, however often it is told: the answer may not have reached it.
        if used_before and ref is None:
            return Decision("withdrawn", note="this permission was used already")
        return Decision(row.state, by=row.decided_by, note=row.note)


def _can_be_used(row: Approval) -> bool:
    return _FOUND_AGAIN[row.state] and (row.consumed_at is None or row.ref is not None)
