"""SQLite's store keeps the promises of the port."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from gatewayd.ports.store import Store
from gatewayd.stores.sqlite import run_inline
from gatewayd.testing.store_contract import StoreContract
from tests.stores.opened_before import open_store


@asynccontextmanager
async def open_somewhere(now: Callable[[], float]) -> AsyncIterator[Store]:
    with TemporaryDirectory(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")) as directory:
        async with open_store(Path(directory) / "state", now=now, run_blocking=run_inline) as store:
            yield store


class TestSqliteStore(StoreContract):
    def opened(self, now: Callable[[], float]) -> AbstractAsyncContextManager[Store]:
        return open_somewhere(now)
