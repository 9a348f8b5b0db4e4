"""The parts of gatewayctl: one module per command, and what they share.

Nothing here is imported by the daemon. Modules that cost time to load (httpx2, rich) are imported by the commands when they run.
"""
