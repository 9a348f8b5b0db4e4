"""Runs tests of the contract on a fake clock, one at a time."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gatewayd.actor.border import leaves
from gatewayd.testing.agent_contract import AgentContract

TESTS = sorted(
    name for name in dir(AgentContract) if name.startswith("test_") and inspect.iscoroutinefunction(getattr(AgentContract, name))
)


def run(contract: AgentContract, name: str, directory: Path, *, autojump_seconds: float = 0.0) -> None:
    """The test of this name, once for each of its parameters. The clock jumps when nothing has happened for so long."""
    test = getattr(contract, name)
    rows: list[dict[str, Any]] = [{}]
    for mark in getattr(test, "pytestmark", []):
        names, values = mark.args
        rows = [{names: value} if isinstance(names, str) else dict(zip(names, value, strict=True)) for value in values]
    skipped = 0
    for number, row in enumerate(rows):
        place = directory / str(number)
        place.mkdir()
        try:
            trio.run(partial(test, place, **row), clock=MockClock(autojump_threshold=autojump_seconds))
        except (pytest.skip.Exception, BaseExceptionGroup) as error:
            if not all(isinstance(leaf, pytest.skip.Exception) for leaf in leaves(error)):
                raise
            skipped += 1
    if skipped == len(rows):
        pytest.skip("the agent cannot do it")
