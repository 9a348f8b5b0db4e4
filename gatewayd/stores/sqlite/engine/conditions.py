"""Parts of statements that several tables use: JSON columns, accounts, the newest rows of a key."""

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
"""The condition that a message or reply belongs to one of ``:accounts``. Another condition has to select the index: most rows
of an account are over."""
OF_NO_OTHERS: Final = f"""
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


def decode_column(decoder: Decoder[T], data: bytes | str, where: str) -> T:
    """:raises StoreRefused: the column does not have what was written. SQLite's own check cannot see such damage."""
    try:
        return decoder.decode(data)
    except DecodeError as error:
        raise StoreRefused(f"{where} of the store cannot be read: {error}") from error
