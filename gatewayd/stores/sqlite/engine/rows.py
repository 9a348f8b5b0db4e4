"""How a struct is stored as a row: one column for each field. Some fields are stored as JSON."""

# ruff: noqa: S608 -- only constants of the tables' modules are put into the SQL

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from msgspec import DecodeError, Struct
from msgspec.json import Decoder, encode

from gatewayd.model.errors import StoreRefused

S = TypeVar("S", bound=Struct)
T = TypeVar("T")
Values = Sequence[Any] | Mapping[str, Any]


class Rows(Generic[S]):
    """Reads and inserts the rows of one table. ``blobs`` and ``texts`` are the fields that are stored as JSON, ``renamed`` those
    whose column has another name. ``name`` is the field that an error message shows."""

    def __init__(
        self,
        table: str,
        kind: type[S],
        *,
        name: str = "id",
        blobs: Mapping[str, Decoder[Any]] | None = None,
        texts: Mapping[str, Decoder[Any]] | None = None,
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        fields = kind.__struct_fields__
        self._table = table
        self._kind = kind
        self._name = fields.index(name)
        self._decoders = [(fields.index(field), decoder) for field, decoder in {**(blobs or {}), **(texts or {})}.items()]
        self._texts = frozenset(fields.index(field) for field in texts or ())
        self.columns = ", ".join((renamed or {}).get(field, field) for field in fields)
        self._into = f"INTO {table} ({self.columns}) VALUES ({', '.join('?' for _ in fields)})"

    def insert(self, connection: sqlite3.Connection, row: S, *, verb: str = "INSERT", conflict: str = "") -> bool:
        """Whether a row was added."""
        values = [getattr(row, field) for field in self._kind.__struct_fields__]
        for index, _ in self._decoders:
            values[index] = encode(values[index]).decode() if index in self._texts else encode(values[index])
        return connection.execute(f"{verb} {self._into} {conflict}", values).rowcount > 0

    def select(self, connection: sqlite3.Connection, condition: str, values: Values = ()) -> list[S]:
        """``condition`` is a constant of the tables' modules. An order and a limit may follow it."""
        sql = f"SELECT {self.columns} FROM {self._table} row WHERE {condition}"
        return [self.read(record) for record in connection.execute(sql, values)]

    def find(self, connection: sqlite3.Connection, condition: str, values: Values = ()) -> S | None:
        """The first of these rows."""
        return next(iter(self.select(connection, condition, values)), None)

    def read(self, record: Sequence[Any]) -> S:
        """The row of a record of ``columns``. :raises StoreRefused: a column does not have what was stored."""
        values = list(record)
        for index, decoder in self._decoders:
            if values[index] is not None:
                values[index] = decode_column(decoder, values[index], f"{self._table} row {record[self._name]}")
        return self._kind(*values)


def decode_column(decoder: Decoder[T], data: bytes | str, where: str) -> T:
    """:raises StoreRefused: the column does not have what was written. SQLite's own check cannot see such damage."""
    try:
        return decoder.decode(data)
    except DecodeError as error:
        raise StoreRefused(f"{where} of the store cannot be read: {error}") from error
