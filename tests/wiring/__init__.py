"""The hub as it is wired: one of each thing from end to end, and a program that leaves out each part of the wiring in turn."""
