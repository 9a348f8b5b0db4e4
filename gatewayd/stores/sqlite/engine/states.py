"""Conditions on states, from gatewayd.model.lifecycle, for statements that are built at import."""

from collections.abc import Sequence


def among(states: Sequence[str], column: str = "state") -> str:
    """The condition that a row is in one of these states, spelled as the partial indexes spell it."""
    return f"{column} = {quoted(*states)}" if len(states) == 1 else f"{column} IN ({quoted(*states)})"


def outside(states: Sequence[str], column: str = "state") -> str:
    """The condition that a row is in none of these states, spelled as the partial indexes spell it."""
    return f"{column} <> {quoted(*states)}" if len(states) == 1 else f"{column} NOT IN ({quoted(*states)})"


def quoted(*words: str) -> str:
    return ", ".join(f"'{word}'" for word in words)
