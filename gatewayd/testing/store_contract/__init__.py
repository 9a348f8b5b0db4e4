"""The contract that every store passes: a test for every promise of ``gatewayd.ports.store``, races included.

    class TestMyStore(StoreContract):
        def opened(self, now: Callable[[], float]) -> AbstractAsyncContextManager[Store]: ...

A store that is not complete yet inherits ``StoreFixtures`` and the parts for which it has the operations. The guide writes one
in this way: docs/how-to/write-a-store.md.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from gatewayd.ports.store import Store
from gatewayd.testing.store_contract.messages.inbox import InboxContract
from gatewayd.testing.store_contract.messages.outbox import OutboxContract
from gatewayd.testing.store_contract.messages.races import RacesContract
from gatewayd.testing.store_contract.messages.recovery import RecoveryContract
from gatewayd.testing.store_contract.messages.reports import ReportsContract
from gatewayd.testing.store_contract.messages.transcript import TranscriptContract
from gatewayd.testing.store_contract.operations.audit import AuditContract
from gatewayd.testing.store_contract.operations.dead_letters import DeadLettersContract
from gatewayd.testing.store_contract.operations.events import EventsContract
from gatewayd.testing.store_contract.operations.repair import RepairContract
from gatewayd.testing.store_contract.operations.retention import RetentionContract
from gatewayd.testing.store_contract.operations.trace import TraceContract
from gatewayd.testing.store_contract.people.approvals import ApprovalsContract
from gatewayd.testing.store_contract.people.pairings import PairingsContract
from gatewayd.testing.store_contract.people.questions import QuestionsContract
from gatewayd.testing.store_contract.people.tokens import TokensContract
from gatewayd.testing.store_contract.people.votes import VotesContract
from gatewayd.testing.store_contract.rows import Clock
from gatewayd.testing.store_contract.state import StateContract

__all__ = [
    "ApprovalsContract",
    "AuditContract",
    "DeadLettersContract",
    "EventsContract",
    "InboxContract",
    "OutboxContract",
    "PairingsContract",
    "QuestionsContract",
    "RacesContract",
    "RecoveryContract",
    "RepairContract",
    "ReportsContract",
    "RetentionContract",
    "StateContract",
    "StoreContract",
    "StoreFixtures",
    "TokensContract",
    "TraceContract",
    "TranscriptContract",
    "VotesContract",
]


class StoreFixtures:
    """What each part of the contract needs: a store that is empty, and its clock."""

    def opened(self, now: Callable[[], float]) -> AbstractAsyncContextManager[Store]:
        """``now`` gives Unix seconds."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    async def store(self, clock: Clock) -> AsyncIterator[Store]:
        async with self.opened(clock) as store:
            yield store


class StoreContract(
    StoreFixtures,
    InboxContract,
    OutboxContract,
    ReportsContract,
    TranscriptContract,
    DeadLettersContract,
    RepairContract,
    TraceContract,
    RetentionContract,
    ApprovalsContract,
    VotesContract,
    QuestionsContract,
    EventsContract,
    AuditContract,
    StateContract,
    PairingsContract,
    TokensContract,
    RecoveryContract,
    RacesContract,
):
    """All parts. Inherit, and open a store that is empty."""
