"""The contract that every agent core passes: the promises of ``gatewayd.ports.agent``. How to use it, with an example of a core:
docs/how-to/write-an-agent-core.md.

    class TestMyCore(AgentContract):
        plugin = PLUGIN
        manifest_module = "my_package"

        def harness(self, directory: Path) -> AbstractAsyncContextManager[AgentHarness]: ...

A core may lack an ability. Its harness does not list the act then, and the tests that need it are skipped.
"""

from gatewayd.testing.agent_contract.endings import EndingsContract
from gatewayd.testing.agent_contract.harness import COLOURS, Act, AgentFailure, AgentHarness, HubTurn, Services
from gatewayd.testing.agent_contract.opening import OpeningContract
from gatewayd.testing.agent_contract.people import PeopleContract
from gatewayd.testing.agent_contract.turns import TurnsContract

__all__ = ["COLOURS", "Act", "AgentContract", "AgentFailure", "AgentHarness", "HubTurn", "Services"]


class AgentContract(OpeningContract, TurnsContract, PeopleContract, EndingsContract):
    """Inherit, name the manifest, give a harness."""
