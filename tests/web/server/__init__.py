"""Tests of connections and bytes: hostile input, slow clients, limits, the stop. No resource belongs here."""
