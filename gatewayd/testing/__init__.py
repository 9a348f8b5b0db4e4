"""For authors of plug-ins: the contracts that channels, agent cores and stores pass.

Needs pytest and pytest-trio. The daemon imports none of it.
"""

import pytest

# So that a failed assertion shows its values there, as in a test module.
for _name in ("channel_contract", "agent_contract", "store_contract", "manifest"):
    pytest.register_assert_rewrite(f"gatewayd.testing.{_name}")
