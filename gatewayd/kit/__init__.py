"""Tools that channels and agent cores share: HTTP, JSON, child processes, the user's own code, and texts (``text``).

Code that knows one channel or one core does not belong here, and nothing here knows the hub.
"""
