"""Agents under supervision: the pool, one agent with its core, and texts that a core sends outside of a turn.

No protocol of an agent server belongs here (gatewayd/agents), and no turn (gatewayd/hub/turns).
"""
