"""The parts of gatewayctl: its commands, the connection to the daemon, and the output.

The daemon imports none of it. A command imports slow modules (httpx2, rich) only when it runs.
"""
