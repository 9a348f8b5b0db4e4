"""The two commands: `gatewayd` runs the daemon, `gatewayctl` is for its operator."""
