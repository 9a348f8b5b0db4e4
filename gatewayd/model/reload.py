"""What a reload of the configuration did, for people and for programs. No field holds a value of the configuration."""

from typing import Literal

from msgspec import Struct


class Change(Struct, frozen=True, omit_defaults=True):
    """One thing that is not as it was. ``table`` is written as in the file, ``[channels.telegram.accounts.main]``; ``keys`` are
    those of it that changed, none when the whole table came or went. ``effect`` says what becomes of it, in words."""

    kind: Literal["added", "removed", "changed"]
    table: str
    keys: tuple[str, ...] = ()
    effect: str = ""

    def __str__(self) -> str:
        what = f"{self.table}: {', '.join(self.keys)}" if self.keys else self.table
        return f"{what} {self.kind}" + (f": {self.effect}" if self.effect else "")


class ReloadReport(Struct, frozen=True):
    """``applied`` is in force. ``needs_restart`` is not: there what was in force still is. ``pending`` names accounts
    (CHANNEL/NAME) and agents that still finish what they do before they follow. ``warnings`` are those of the configuration."""

    source: str | None
    applied: tuple[Change, ...]
    needs_restart: tuple[Change, ...]
    unchanged_accounts: int
    unchanged_agents: int
    pending: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
