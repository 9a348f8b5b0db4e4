"""For authors of plugins: the contracts that a channel and a store pass. Needs pytest and pytest-trio; the daemon imports none of
it."""

import pytest

# So that a failed assertion shows its values there, as in a test module.
pytest.register_assert_rewrite("gatewayd.testing.channel_contract", "gatewayd.testing.store_contract")
