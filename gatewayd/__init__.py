"""gatewayd: a resident gateway between chat channels and AI agents."""

__version__ = "0.1.0"
