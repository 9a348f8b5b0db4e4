"""The connection of `gatewayctl` to the daemon: options, its address and token, requests, and errors.

No command belongs here, and nothing that prints.
"""
