"""The commands of `gatewayctl`, one module for each group.

No layout of a table belongs here (gatewayd/cli/ctl/output).
"""
