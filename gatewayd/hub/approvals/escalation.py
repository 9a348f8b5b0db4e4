"""Escalation: a request is shown to one group of approvers after the other."""

from collections.abc import Sequence
from typing import Protocol

import anyio

from gatewayd.model.records.approval import Approval
from gatewayd.ports.agent import TurnRequest
from gatewayd.ports.store import Account


class Prompts(Protocol):
    """Where requests are shown to people: hub/approvals/prompts.py."""

    async def show(self, approval: Approval, group: str, turn: TurnRequest) -> str | None:
        """Show a request to a group, once. Return why nobody in the group can see it, or None."""

    async def still_shown(self, approval: Approval, groups: Sequence[str]) -> str | None:
        """Check that at least one of these groups still sees it. Return why not, or None."""

    async def update(self, approval: Approval) -> None:
        """Show the present state of the request in all its prompts. Nothing is written twice."""

    async def show_anew(self, approval: Approval, account: Account, *, before: float) -> None:
        """Show a request once more where it has buttons in the chats of this account, if it is pending and was not sent since
        ``before``, in Unix seconds."""


class Stages:
    """The groups of one request, in order. A later run of the turn goes through them again, and shows nothing twice."""

    def __init__(self, prompts: Prompts, approval: Approval, turn: TurnRequest, *, every_seconds: float, now: float) -> None:
        """``every_seconds`` is the time before the next group is asked. ``now``, in Unix seconds, gives the age of the request at
        this moment. After that the monotonic clock counts, so that a wall clock that is set back delays no group."""
        self._prompts = prompts
        self._approval = approval
        self._turn = turn
        self._seconds = every_seconds
        self._asked_at = anyio.current_time() - max(0.0, now - approval.created_at)
        self._passed = 0
        self._see_it = 0

    async def show(self) -> str | None:
        """Show the request to each group whose time has come. A group that cannot see it is passed over at once. Return why
        nobody can see the request, or None."""
        groups = self._approval.groups
        why_not = await self._prompts.still_shown(self._approval, groups[: self._passed]) if self._passed else "nobody was asked"
        while self._passed < len(groups) and (why_not is not None or anyio.current_time() >= self._due()):
            refused = await self._prompts.show(self._approval, groups[self._passed], self._turn)
            self._passed += 1
            self._see_it += refused is None
            why_not = None if refused is None or why_not is None else refused
        return why_not

    def seconds_to_next(self) -> float:
        return max(0.0, self._due() - anyio.current_time()) if self._passed < len(self._approval.groups) else float("inf")

    def _due(self) -> float:
        return self._asked_at + self._see_it * self._seconds
