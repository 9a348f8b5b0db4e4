from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gatewayd.stores.sqlite import SqliteStore, run_inline
from tests.stores.opened_before import open_store


class Clock:
    """Unix seconds that a test sets."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    async with open_store(tmp_path / "state", now=clock, run_blocking=run_inline) as opened:
        yield opened
