"""What an account remembers of its threads and of what it has received."""

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.channels.slack.receiving.threads import FRESH_SECONDS, NAMES_PER_SHARD, SHARDS, Seen, SlackState, Threads
from tests.channels.slack.receiving.reading import NoState

names = st.tuples(st.integers(0, 30).map(lambda number: f"C{number}"), st.integers(0, 9).map(lambda number: f"{number}.000001"))
times = st.integers(1, 10**9).map(lambda number: f"{number}.000001")


class Kept(NoState):
    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def load(self, key: str) -> str | None:
        return self.values.get(key)


async def test_what_is_stored_is_known_after_a_restart_and_for_this_workspace_alone() -> None:
    kept = Kept()
    state = SlackState(kept)
    await state.load("T01")
    state.threads.join("C01", "1.000001", "5000.000001")
    state.note("C02", "6000.000001")
    kept.values.update({state.seen_key: state.seen.close(state.seen.gap, 1.0), **state.unsaved()})
    again, other = SlackState(kept), SlackState(kept)
    await again.load("T01")
    await other.load("T02")
    assert again.threads.has("C01", "1.000001")
    assert again.threads.last_in("C02") == 6000.000001
    assert again.seen.upto == 6000.000001
    assert not other.threads.has("C01", "1.000001")
    assert other.seen.upto is None


def test_a_thread_is_written_when_it_is_joined_and_then_once_in_a_while() -> None:
    threads = Threads()
    threads.join("C01", "1.000001", "5000.000001")
    assert len(list(threads.unsaved())) == 1
    threads.touch("C01", "1.000001", "5001.000001")
    threads.touch("C01", "2.000001", "5001.000001")
    assert not list(threads.unsaved())
    threads.touch("C01", "1.000001", f"{5000 + FRESH_SECONDS:.0f}.000001")
    assert len(list(threads.unsaved())) == 1
    assert not threads.has("C01", "2.000001")


def test_the_quietest_threads_are_forgotten() -> None:
    threads = Threads()
    for number in range(SHARDS * NAMES_PER_SHARD * 2):
        threads.join("C01", f"{number}.000001", f"{10_000 + number}.000001")
    left = threads.newest_first()
    assert SHARDS * NAMES_PER_SHARD // 2 < len(left) <= SHARDS * NAMES_PER_SHARD
    newest = SHARDS * NAMES_PER_SHARD * 2 - 1
    assert left[0] == ("C01", f"{newest}.000001")
    assert not threads.has("C01", "0.000001")
    assert all(len(value) < 10_000 for _, value in threads.unsaved())


@given(st.lists(st.tuples(names, times), max_size=40))
def test_threads_come_with_the_newest_first_however_they_were_joined(joined: list[tuple[tuple[str, str], str]]) -> None:
    threads = Threads()
    last: dict[tuple[str, str], float] = {}
    for name, ts in joined:
        threads.join(*name, ts)
        last[name] = max(last.get(name, 0.0), float(ts))
    found = threads.newest_first()
    assert sorted(found) == sorted(last)
    assert [last[name] for name in found] == sorted(last.values(), reverse=True)


def test_in_a_gap_nothing_moves_what_was_received() -> None:
    seen = Seen()
    assert not seen.advance()
    seen.note("100.000001")
    assert not seen.advance()
    seen.close(seen.gap, 7.0)
    assert seen.upto == 100.000001
    seen.note("90.000001")
    assert not seen.advance()
    seen.note("110.000001")
    assert seen.advance()
    seen.open()
    seen.note("200.000001")
    assert not seen.advance()
    assert seen.upto == 110.000001


def test_what_is_read_back_counts_until_the_gap_is_closed_and_over_a_restart() -> None:
    seen = Seen()
    value = seen.note_read_back("C01", "50.000001")
    again = Seen()
    again.read(value)
    assert (again.read_back_to("C01"), again.read_back_to("C02"), again.upto) == (50.000001, 0.0, None)
    again.close(again.gap, 7.0)
    assert again.read_back_to("C01") == 0.0


def test_a_gap_in_a_gap_is_not_closed_with_the_first() -> None:
    seen = Seen()
    seen.close(seen.gap, 100.0)
    seen.open()
    first = seen.gap
    seen.note_read_back("C01", "150.000001")
    seen.open()
    seen.note("300.000001")
    seen.close(first, 400.0)
    assert not seen.advance()
    assert (seen.upto, seen.read_back_to("C01")) == (100.0, 150.000001)
    seen.close(seen.gap, 500.0)
    assert seen.upto == 300.000001


def test_an_account_that_was_never_connected_begins_now() -> None:
    seen = Seen()
    seen.close(seen.gap, 1234.5)
    assert seen.upto == 1234.5


async def test_a_first_life_that_ends_before_its_first_commit_leaves_a_gap_that_begins_with_it() -> None:
    first = Seen()
    stored = first.begin(1000.0)
    assert stored is not None
    assert first.upto is None  # there is nothing to read back in this life
    second = Seen()
    second.read(stored)
    assert second.begin(2000.0) is None
    assert (second.upto, second.began) == (998.0, 998.0)
    second.close(second.gap, 3000.0)
    second.note("4000.000001")
    assert second.advance()
    assert (second.upto, second.began) == (4000.000001, 998.0)
