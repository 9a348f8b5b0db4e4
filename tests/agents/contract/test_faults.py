"""The contract finds what it is for: each fault that is put into the reference core fails the test that is named with it."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gatewayd.ports.agent import AgentOpener
from gatewayd.testing.agent_contract import AgentContract
from tests.agents.contract.faults import FAULTS, Fault
from tests.agents.contract.reference import Core, an_agent, open_core

TESTS = sorted(
    name for name in dir(AgentContract) if name.startswith("test_") and inspect.iscoroutinefunction(getattr(AgentContract, name))
)


class Contract(AgentContract):
    harness = staticmethod(an_agent)

    def __init__(self, core: type[Core]) -> None:
        self._core = core

    def opener(self) -> AgentOpener:
        return partial(open_core, core=self._core)


def run(core: type[Core], name: str, directory: Path) -> None:
    """One test of the contract, once for each of its parameters."""
    test = getattr(Contract(core), name)
    rows: list[dict[str, Any]] = [{}]
    for mark in getattr(test, "pytestmark", []):
        names, values = mark.args
        rows = [{names: value} if isinstance(names, str) else dict(zip(names, value, strict=True)) for value in values]
    for number, row in enumerate(rows):
        place = directory / f"{core.__name__}-{number}"
        place.mkdir()
        trio.run(partial(test, place, **row), clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("name", TESTS)
def test_the_reference_core_keeps_every_promise(name: str, tmp_path: Path) -> None:
    run(Core, name, tmp_path)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.core.__name__)
def test_a_fault_is_found(fault: Fault, tmp_path: Path) -> None:
    with pytest.raises((Exception, pytest.fail.Exception)):
        run(fault.core, fault.test, tmp_path)


def test_each_test_of_the_contract_finds_a_fault() -> None:
    assert set(TESTS) == {fault.test for fault in FAULTS}
