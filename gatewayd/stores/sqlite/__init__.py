"""The store in one SQLite file in the state directory."""

from gatewayd.stores.sqlite.engine.blocking import RunBlocking, run_inline
from gatewayd.stores.sqlite.engine.directory import who_can_read
from gatewayd.stores.sqlite.store import SqliteStore, open_store

__all__ = ["RunBlocking", "SqliteStore", "open_store", "run_inline", "who_can_read"]
