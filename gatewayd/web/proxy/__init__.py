"""The proxy for clients of an agent server: its routes, its access to the hub, and the forwarding of requests.

The allow list of one server belongs to its agent (gatewayd/agents/opencode/proxy).
"""
