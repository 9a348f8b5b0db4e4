"""Tests of the routes that channels have of their own, with a channel that gatewayd does not know."""
