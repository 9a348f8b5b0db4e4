"""The deterministic simulation: the real daemon against simulated platforms, people and agents, crashes and failing disks.

One seed is one run; the same seed gives the same run. How to use it is told in docs/simulation.md.
"""
