"""Tests of clients that attach to the server of an agent through gatewayd. The protocol of that server belongs to
tests/agents/opencode.
"""
