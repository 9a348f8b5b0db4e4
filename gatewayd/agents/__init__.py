"""Agent cores, one module or folder each. A core runs agents, and exports its manifest as ``PLUGIN``.

What several cores share belongs in ``kit``; the hub's side of an agent is in ``hub/agents``.
"""
