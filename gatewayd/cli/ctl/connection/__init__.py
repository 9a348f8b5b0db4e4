"""The way from `gatewayctl` to the daemon: options, where it listens, requests, and errors.

No command belongs here.
"""
