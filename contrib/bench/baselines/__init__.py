"""The least code that does the same job: what a figure of gatewayd is compared with."""
