"""The report of a reload of the configuration. No field holds a value of the configuration."""

from typing import Literal

from msgspec import Struct


class Change(Struct, frozen=True, omit_defaults=True):
    """One change. ``table`` is written as in the file, ``[channels.telegram.accounts.main]``. ``keys`` are its changed keys, none
    if the whole table was added or removed. ``effect`` is a phrase for people."""

    kind: Literal["added", "removed", "changed"]
    table: str
    keys: tuple[str, ...] = ()
    effect: str = ""

    def __str__(self) -> str:
        what = f"{self.table}: {', '.join(self.keys)}" if self.keys else self.table
        return f"{what} {self.kind}" + (f": {self.effect}" if self.effect else "")


class ReloadReport(Struct, frozen=True):
    """Changes in ``applied`` are in force, changes in ``needs_restart`` are not. ``pending`` names accounts (CHANNEL/NAME) and
    agents that finish their work before they follow. ``warnings`` are the warnings about the configuration."""

    source: str | None
    applied: tuple[Change, ...]
    needs_restart: tuple[Change, ...]
    unchanged_accounts: int
    unchanged_agents: int
    pending: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
