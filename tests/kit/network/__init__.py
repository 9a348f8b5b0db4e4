"""Tests of the tools for drivers of networks, against peers that do not keep to the protocol."""
