"""Tools that channels and agent cores share: HTTP, JSON, child processes, the user's own code, texts (``text``), and what
networks need beside HTTP (``network``).

Code that knows one channel or one core does not belong here, and nothing here knows the hub.
"""
