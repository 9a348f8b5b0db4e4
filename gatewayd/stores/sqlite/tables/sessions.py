"""The session map: the session of the agent core for each session key."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import astuple, replace

from gatewayd.model.ids import AccountId, ConversationId
from gatewayd.model.message.envelope import Peer
from gatewayd.ports.store import SessionRow
from gatewayd.stores.sqlite.engine.rows import decode_column
from gatewayd.stores.sqlite.engine.table import Tables

_COLUMNS: Final = (
    "session_key, agent_id, session_id, generation, created_at, last_used_at, core, left_over, made_by, conversation"
)
_NEWEST_TURN: Final = (
    "(SELECT turn_id FROM inbound WHERE inbound.session_key = session.session_key AND turn_id IS NOT NULL "
    "ORDER BY id DESC LIMIT 1)"
)


class _Conversation(Struct, frozen=True):
    """A conversation as the column has it."""

    channel: str
    account: str
    peer: Peer


_conversation: Final = msgspec.json.Decoder(_Conversation)


class SessionTable(Tables):
    async def get_session(self, session_key: str) -> SessionRow | None:
        sql = f"SELECT {_COLUMNS} FROM session WHERE session_key = ?"
        record = await self._read(lambda connection: connection.execute(sql, (session_key,)).fetchone())
        return None if record is None else _row(record)

    async def put_session(self, row: SessionRow) -> None:
        sql = f"INSERT OR REPLACE INTO session ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        values = (*astuple(row)[:-1], None if row.conversation is None else _encode(row.conversation))
        await self._write(lambda connection: connection.execute(sql, values).rowcount)

    async def find_session(self, agent_id: str, session_id: str) -> tuple[SessionRow, str | None] | None:
        sql = f"SELECT {_COLUMNS}, {_NEWEST_TURN} FROM session WHERE agent_id = ? AND session_id = ?"

        def read(connection: sqlite3.Connection) -> tuple[SessionRow, str | None] | None:
            record = connection.execute(sql, (agent_id, session_id)).fetchone()
            return None if record is None else (_row(record[:-1]), record[-1])

        return await self._read(read)


def _row(record: tuple[Any, ...]) -> SessionRow:
    *fields, conversation = record
    row = SessionRow(*fields)
    if conversation is None:
        return row
    found = decode_column(_conversation, conversation, f"session {row.session_key}")
    return replace(row, conversation=ConversationId(AccountId(found.channel, found.account), found.peer))


def _encode(conversation: ConversationId) -> bytes:
    account = conversation.account
    return msgspec.json.encode(_Conversation(account.channel, account.name, conversation.peer))
