"""The contract that every store passes: every promise of ``gatewayd.ports.store``, races included. How to use it, with an example
of a store: docs/how-to/store.md.

    class TestMyStore(StoreContract):
        def opened(self, now: Callable[[], float]) -> AbstractAsyncContextManager[Store]: ...
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from gatewayd.ports.store import Store
from gatewayd.testing.store_contract.approvals import ApprovalsContract
from gatewayd.testing.store_contract.audit import AuditContract
from gatewayd.testing.store_contract.events import EventsContract
from gatewayd.testing.store_contract.inbox import InboxContract
from gatewayd.testing.store_contract.letters import LettersContract
from gatewayd.testing.store_contract.outbox import OutboxContract
from gatewayd.testing.store_contract.pairings import PairingsContract
from gatewayd.testing.store_contract.questions import QuestionsContract
from gatewayd.testing.store_contract.races import RacesContract
from gatewayd.testing.store_contract.recovery import RecoveryContract
from gatewayd.testing.store_contract.repair import RepairContract
from gatewayd.testing.store_contract.retention import RetentionContract
from gatewayd.testing.store_contract.rows import Clock
from gatewayd.testing.store_contract.state import StateContract
from gatewayd.testing.store_contract.tokens import TokensContract
from gatewayd.testing.store_contract.trace import TraceContract
from gatewayd.testing.store_contract.transcript import TranscriptContract
from gatewayd.testing.store_contract.votes import VotesContract


class StoreContract(
    InboxContract,
    OutboxContract,
    TranscriptContract,
    LettersContract,
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
    """Inherit, and open a store that is empty."""

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
