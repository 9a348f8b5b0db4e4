"""Hypothesis keeps nothing in the folder of the package."""

from hypothesis import settings

settings.register_profile("irc", deadline=None, database=None)
settings.load_profile("irc")
