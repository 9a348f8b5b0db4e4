"""The two commands: `gatewayd` runs the daemon, `gatewayctl` is the command of its operator.

They read arguments and print text. What the daemon does is in gatewayd/daemon.py and below it.
"""
