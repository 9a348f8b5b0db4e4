"""Planted bugs, and the hunt that shows that the simulation, or a named test, finds each of them."""
