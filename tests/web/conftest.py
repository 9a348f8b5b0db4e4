"""Fixtures of the HTTP tests."""

from collections.abc import Iterator

import pytest
import structlog.testing
import trio.testing
from structlog.typing import EventDict


@pytest.fixture
def clock() -> trio.testing.MockClock:
    """A clock that jumps when nothing happens for 10 ms: bytes on their way through the kernel are not nothing."""
    return trio.testing.MockClock(autojump_threshold=0.01)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[EventDict]]:
    """What was logged, as it was given to the logger."""
    with structlog.testing.capture_logs() as entries:
        yield entries
