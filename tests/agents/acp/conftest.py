from pathlib import Path

import pytest

from tests.agents.acp.rig import Kit


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path / "agent")
