"""What every test of a real agent server needs. Other tests of real ones import these fixtures from here."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.agents.real.installed import Project, install_opencode, make_openagentic_project, make_opencode_project, oa_command
from tests.fakes.model_server import ModelServer

__all__ = ["model", "oa_command", "openagentic_project", "opencode_binary", "opencode_project"]


@pytest.fixture(scope="session")
def opencode_binary() -> Path:
    """Skipped where there is no npm; see ``installed``."""
    return install_opencode()


@pytest.fixture(name="oa_command")
def _oa_command() -> list[str]:
    """The OpenAgentic SDK's command line."""
    return oa_command()


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    async with ModelServer.serve() as server:
        yield server


@pytest.fixture
async def opencode_project(tmp_path: Path, model: ModelServer) -> Project:
    return make_opencode_project(tmp_path / "opencode", model.url)


@pytest.fixture
async def openagentic_project(tmp_path: Path, model: ModelServer) -> Project:
    return make_openagentic_project(tmp_path / "openagentic", model.url)
