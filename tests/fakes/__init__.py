"""Programs that stand in for the other side: platforms, models and agents, over real sockets, and tests of these fakes.

Nothing of gatewayd itself is faked here.
"""
