"""The commands of `gatewayctl`, one module for each group.

A view that several commands share belongs to gatewayd/cli/ctl/output, a request to gatewayd/cli/ctl/connection.
"""
