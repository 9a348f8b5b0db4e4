"""The list of dead letters: its order over two tables, its pages and filters, and what it costs."""

import tempfile
from pathlib import Path

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayd.model.records.dead_letter import DeadLetter, DeadLetterCursor
from gatewayd.stores.sqlite import open_store, run_inline
from gatewayd.testing.store_contract.operations.dead_letters import ALL
from gatewayd.testing.store_contract.rows import ended, settled
from tests.examples import examples


@given(
    dead_letters=st.lists(st.tuples(st.sampled_from(["in", "unknown", "dead"]), st.sampled_from([1.0, 1.5, 2.0])), max_size=12),
    size=st.integers(1, 5),
)
@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_pages_are_the_list_whatever_their_size(dead_letters: list[tuple[str, float]], size: int) -> None:
    """Also where many ended at the same instant, as after a crash."""

    async def go() -> None:
        with tempfile.TemporaryDirectory() as state_dir:
            async with open_store(Path(state_dir), now=lambda: 0.0, run_blocking=run_inline) as store:
                for kind, at in dead_letters:
                    if kind == "in":
                        await ended(store, at=at)
                    else:
                        await settled(store, kind, at=at)  # type: ignore[arg-type]
                whole = await store.list_dead_letters(ALL, before=None, limit=100)
                assert len(whole) == len(dead_letters)
                assert [dead_letter.cursor for dead_letter in whole] == sorted(
                    (dead_letter.cursor for dead_letter in whole), reverse=True
                )
                paged: list[DeadLetter] = []
                while page := await store.list_dead_letters(ALL, before=paged[-1].cursor if paged else None, limit=size):
                    paged += page
                assert paged == whole
                oldest: list[DeadLetterCursor] = []
                while cursors := await store.oldest_dead_letters(ALL, after=oldest[-1] if oldest else None, limit=size):
                    oldest += cursors
                assert oldest == [dead_letter.cursor for dead_letter in reversed(whole)]

    trio.run(go)
