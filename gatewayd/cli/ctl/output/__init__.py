"""What `gatewayctl` prints: the screen, tables, wording, exit codes.

Nothing here asks the daemon.
"""
