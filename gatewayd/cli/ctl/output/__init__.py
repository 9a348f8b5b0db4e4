"""What `gatewayctl` prints: the screen, tables, and the views of accounts, status, dead letters and traces.

Nothing here asks the daemon.
"""
