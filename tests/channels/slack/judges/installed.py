"""The judges, as npm installs them."""

from pathlib import Path

import pytest

from tests import npm


def judges() -> Path:
    """The folder with their ``node_modules``. See :func:`tests.npm.installed`."""
    return npm.installed(Path(__file__).with_name("package.json"), "emulate")


def node(home: Path) -> Path:
    """A Node.js that is new enough for all of them. Skips the test where npm has none for this platform."""
    found = next(iter(home.glob("node_modules/node-*/bin/node")), None)
    if found is None:
        pytest.skip("npm has no Node.js 24 for this platform")
    return found
