"""The contract finds what it is for: each fault that is put into the reference core fails the test that is named with it."""

from functools import partial
from pathlib import Path

import pytest

from gatewayd.ports.agent import AgentOpener
from gatewayd.testing.agent_contract import AgentContract
from tests.agents.contract.faults import FAULTS, Fault
from tests.agents.contract.reference import Core, an_agent, open_core
from tests.agents.contract.run import TESTS, run


class Contract(AgentContract):
    harness = staticmethod(an_agent)

    def __init__(self, core: type[Core]) -> None:
        self._core = core

    def opener(self) -> AgentOpener:
        return partial(open_core, core=self._core)


@pytest.mark.parametrize("name", TESTS)
def test_the_reference_core_keeps_every_promise(name: str, tmp_path: Path) -> None:
    run(Contract(Core), name, tmp_path)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.core.__name__)
def test_a_fault_is_found(fault: Fault, tmp_path: Path) -> None:
    with pytest.raises((Exception, pytest.fail.Exception)):
        run(Contract(fault.core), fault.test, tmp_path)


def test_each_test_of_the_contract_finds_a_fault() -> None:
    assert set(TESTS) == {fault.test for fault in FAULTS}
