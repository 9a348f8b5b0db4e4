"""Tests of the agent cores, one module or folder each. The hub's side of an agent is tested in tests/hub/agents."""
