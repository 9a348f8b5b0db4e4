"""The keys of an agent in the configuration."""

from typing import Annotated

from msgspec import Meta, Struct


class LineSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """core = "lineagent": a program is the agent."""

    command: Annotated[tuple[str, ...], Meta(min_length=1)]
    """The program and its arguments. It is started for each turn."""
    directory: str = "."
    """Where it runs."""
