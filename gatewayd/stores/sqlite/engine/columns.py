"""What a struct becomes in a column, and back; and accounts as the argument of a statement."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

from collections.abc import Collection
from typing import Final, TypeVar

from msgspec import DecodeError
from msgspec.json import Decoder, encode

from gatewayd.model.errors import StoreRefused
from gatewayd.ports.store import Account

T = TypeVar("T")


_ACCOUNTS: Final = "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:accounts))"
OF_ACCOUNTS: Final = f"(+channel, +account) IN {_ACCOUNTS}"
"""The condition that a message or a reply is of one of ``:accounts``. By another index: an account has more rows than wait."""
OF_NO_OTHERS: Final = f"""
    NOT EXISTS (SELECT 1 FROM inbound i WHERE i.turn_id = row.turn_id AND (i.channel, i.account) NOT IN {_ACCOUNTS})
"""
"""The condition that no message of the turn of ``row`` is of an account beside ``:accounts``."""


def accounts_value(accounts: Collection[Account]) -> str:
    """Any number of accounts as one value for a statement."""
    return encode(list(accounts)).decode()


def newest_by(key: str, value: str, account: Account | None, limit: int | None) -> tuple[str, tuple[str | int, ...]]:
    """The condition and its values for the newest rows with a value, the newest first. By the index on the key: with the account
    first, all rows of an account would be read."""
    of_account = "" if account is None else "AND +channel = ? AND +account = ?"
    return f"{key} = ? {of_account} ORDER BY id DESC LIMIT ?", (value, *(account or ()), -1 if limit is None else limit)


def decode_column(decoder: Decoder[T], data: bytes | str, where: str) -> T:
    """:raises StoreRefused: not what we wrote: the row is damaged in a way that SQLite's own check cannot see."""
    try:
        return decoder.decode(data)
    except DecodeError as error:
        raise StoreRefused(f"{where} of the store cannot be read: {error}") from error
