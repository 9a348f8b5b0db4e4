from pathlib import Path

import pytest

from tests.agents.acp.rig import Services


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(tmp_path / "agent")
