"""The process on its machine: signals, log lines, the service manager, process 1, and a watch over the event loop.

No part of the gateway itself belongs here. Each module stands alone: none imports another.
"""
