"""The hub decides and runs everything: accounts, inbox, turns, approvals, outbox. It has one instance of each part.

Drivers, the store and HTTP do not belong here (gatewayd/channels, gatewayd/agents, gatewayd/stores, gatewayd/web).
"""
