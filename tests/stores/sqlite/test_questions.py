import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from gatewayd.model.errors import StoreRefused
from gatewayd.stores.sqlite import SqliteStore, open_store, run_inline
from gatewayd.testing.store_contract.people.questions import question


@pytest.fixture
async def damaged(tmp_path: Path, store: SqliteStore) -> AsyncIterator[sqlite3.Connection]:
    """Another hand in the file."""
    await store.add_question(question(1))
    await store.add_question(question(2, turn_id="turn-2"))
    with closing(sqlite3.connect(tmp_path / "state" / "gatewayd.db", isolation_level=None)) as connection:
        yield connection


@pytest.mark.parametrize("column", ["question", "answers"])
@pytest.mark.parametrize("value", [b"", b"{", b"[1]", b"\xff"])
async def test_a_damaged_row_is_refused_in_words_and_harms_no_other(
    store: SqliteStore, damaged: sqlite3.Connection, column: str, value: bytes
) -> None:
    damaged.execute(f"UPDATE question SET {column} = ? WHERE id = 'qu_1'", (value,))  # noqa: S608
    with pytest.raises(StoreRefused, match="question row qu_1 of the store cannot be read"):
        await store.questions_of("turn-1")
    assert await store.questions_of("turn-2") == [question(2, turn_id="turn-2")]


async def test_questions_outlive_the_process(tmp_path: Path) -> None:
    for _ in range(2):
        async with open_store(tmp_path / "s", now=lambda: 0.0, run_blocking=run_inline) as store:
            assert await store.add_question(question(1)) == question(1)
