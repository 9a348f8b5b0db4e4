from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gatewayd.stores.sqlite import SqliteStore, run_inline
from gatewayd.testing.store_contract.rows import Clock
from tests.stores.opened_before import open_store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    async with open_store(tmp_path / "state", now=clock, run_blocking=run_inline) as opened:
        yield opened
