"""Conditions that the statements of several tables have in common: on accounts, on the newest rows of a key, and on states.
Statements are built of them once, at import."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

from collections.abc import Collection, Sequence
from typing import Final

from msgspec.json import encode

from gatewayd.ports.store import Account

_ACCOUNTS: Final = "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:accounts))"
OF_ACCOUNTS: Final = f"(+channel, +account) IN {_ACCOUNTS}"
"""The condition that a message or reply belongs to one of ``:accounts``. Another condition has to select the index: most rows
of an account are over."""
TURN_OF_ACCOUNTS: Final = f"""
    NOT EXISTS (SELECT 1 FROM inbound i WHERE i.turn_id = row.turn_id AND (i.channel, i.account) NOT IN {_ACCOUNTS})
"""
"""The condition that all messages of the turn of ``row`` belong to ``:accounts``."""


def accounts_value(accounts: Collection[Account]) -> str:
    """The value of ``:accounts``: any number of accounts."""
    return encode(list(accounts)).decode()


def newest_by(key: str, value: str, account: Account | None, limit: int | None) -> tuple[str, tuple[str | int, ...]]:
    """The condition and its values for the newest rows with this value, the newest first. It uses the index on the key: an
    index on the account would lead to all rows of the account."""
    of_account = "" if account is None else "AND +channel = ? AND +account = ?"
    return f"{key} = ? {of_account} ORDER BY id DESC LIMIT ?", (value, *(account or ()), -1 if limit is None else limit)


def among(states: Sequence[str], column: str = "state") -> str:
    """The condition that a row is in one of these states, spelled as the partial indexes spell it."""
    return f"{column} = {quoted(*states)}" if len(states) == 1 else f"{column} IN ({quoted(*states)})"


def outside(states: Sequence[str], column: str = "state") -> str:
    """The condition that a row is in none of these states, spelled as the partial indexes spell it."""
    return f"{column} <> {quoted(*states)}" if len(states) == 1 else f"{column} NOT IN ({quoted(*states)})"


def quoted(*words: str) -> str:
    return ", ".join(f"'{word}'" for word in words)
