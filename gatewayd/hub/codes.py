"""Codes that people read aloud and type: of pairings, of requests, and of replies that are shown again."""

import secrets
from typing import Final

ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ23456789"
"""No vowels, so a code never spells a word; and no characters that look alike."""


def new_code(length: int) -> str:
    """A random code of so many characters."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
