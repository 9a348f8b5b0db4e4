"""The clock of these tests."""

import pytest
from trio.testing import MockClock


@pytest.fixture
def autojump_clock() -> MockClock:
    """It jumps only when nothing has happened for a while: on a busy machine the kernel takes a moment to carry bytes over."""
    return MockClock(autojump_threshold=0.01)
