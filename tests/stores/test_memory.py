"""The store of the guide keeps the promises of the port, too."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from contrib.examples.memory_store import MemoryStore
from gatewayd.ports.store import Store
from gatewayd.testing.store_contract import StoreContract


@asynccontextmanager
async def open_memory(now: Callable[[], float]) -> AsyncIterator[Store]:
    yield MemoryStore(now)


class TestMemoryStore(StoreContract):
    def opened(self, now: Callable[[], float]) -> AbstractAsyncContextManager[Store]:
        return open_memory(now)
