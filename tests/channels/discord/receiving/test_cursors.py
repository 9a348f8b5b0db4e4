"""What an account remembers: until which message all was received, threads, and direct messages."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gatewayd.channels.discord.receiving.cursors import (
    CLOCK_SECONDS,
    FRESH_SECONDS,
    NAMES_PER_SHARD,
    OVERLAP_SECONDS,
    OVERLAP_WITHIN_SECONDS,
    SHARDS,
    DiscordState,
    Seen,
    Talks,
)
from tests.channels.discord.receiving.reading import NOW, NoState, id_at

DAY = 86_400.0


def at(seconds: float) -> int:
    return int(id_at(seconds))


def seen_at(upto: float, *, began: float = NOW - 7 * DAY) -> Seen:
    seen = Seen()
    seen.begin(began)
    seen.begin_session(began)
    seen.note(at(upto), NOW)
    assert seen.advance()
    return seen


def test_the_first_session_of_all_has_nothing_before_it() -> None:
    seen = Seen()
    stored = seen.begin(NOW)
    assert stored is not None
    seen.begin_session(NOW)
    start = at(NOW - CLOCK_SECONDS)
    assert (seen.has_gap, seen.upto, seen.since(NOW)) == (False, start, start)
    seen.begin_session(NOW + 1)
    assert seen.has_gap
    again = Seen()
    again.read(stored)
    assert again.begin(NOW + 60) is None
    again.begin_session(NOW + 60)
    assert again.has_gap
    assert again.since(NOW + 60) == at(NOW - CLOCK_SECONDS)


def test_what_is_older_than_the_last_message_is_read_once_more_within_bounds() -> None:
    assert seen_at(NOW - 600).since(NOW) == at(NOW - 600 - OVERLAP_SECONDS)
    assert seen_at(NOW - 600, began=NOW - 610).since(NOW) == at(NOW - 610 - CLOCK_SECONDS)
    quiet = NOW - OVERLAP_WITHIN_SECONDS - 60
    assert seen_at(quiet).since(NOW) == at(quiet)


def test_nothing_moves_as_long_as_there_is_a_gap() -> None:
    seen = seen_at(NOW - 600)
    seen.begin_session(NOW - 60)
    gap = seen.gap
    seen.note(at(NOW - 5), NOW)
    assert not seen.advance()
    assert seen.read_back_to("1") == 0
    kept = Seen()
    kept.read(seen.note_read_back("1", at(NOW - 300)))
    assert (kept.has_gap, kept.read_back_to("1"), kept.upto) == (True, at(NOW - 300), at(NOW - 600))
    seen.begin_session(NOW - 30)
    assert not seen.close(gap)
    assert seen.has_gap
    assert seen.close(seen.gap)
    assert (seen.has_gap, seen.upto, seen.read_back_to("1")) == (False, at(NOW - 5), 0)


async def test_threads_and_direct_messages_are_known_after_a_restart_of_the_same_bot() -> None:
    state = DiscordState(NoState())
    await state.load("9")
    state.talks.join("100", at(NOW - 60))
    state.talks.note_direct("200", "300", at(NOW - 50))
    state.talks.touch("400", at(NOW))
    kept = dict(state.unsaved())
    assert dict(state.unsaved()) == {}
    again, other = DiscordState(NoState(kept)), DiscordState(NoState(kept))
    await again.load("9")
    await other.load("8")
    assert (again.talks.is_in("100"), again.talks.user_of("200"), again.talks.is_in("400")) == (True, "300", False)
    assert again.talks.newest_first() == [("200", "300", at(NOW - 50)), ("100", "", at(NOW - 60))]
    assert again.talks.is_in("200") is False
    assert other.talks.newest_first() == []


def test_a_shard_is_written_when_a_thread_is_new_or_was_quiet() -> None:
    talks = Talks()
    talks.join("100", at(NOW))
    assert len(list(talks.unsaved())) == 1
    talks.join("100", at(NOW + 60))
    assert list(talks.unsaved()) == []
    talks.touch("100", at(NOW + FRESH_SECONDS + 1))
    assert len(list(talks.unsaved())) == 1


@given(st.lists(st.tuples(st.sampled_from("123"), st.integers(-600, 60)), max_size=10), st.none() | st.integers(0, 60))
def test_what_was_read_back_counts_for_all_channels_until_the_session_began(
    read: list[tuple[str, int]], live: int | None
) -> None:
    """When the session ends in the middle of the reading, the channels that were read first may have more."""
    seen, began = seen_at(NOW - 600), NOW - 60
    seen.begin_session(began)
    for channel, after in read:
        seen.note_read_back(channel, at(began + after))
    if live is not None:
        seen.note(at(began + live), NOW)
    assert seen.close(seen.gap)
    newest = min(max((after for _, after in read), default=-540), -CLOCK_SECONDS)
    assert seen.upto == at(began + max(-540, newest, -540 if live is None else live))


class Rememberings(RuleBasedStateMachine):
    """Against a dictionary. What is stored at any time is what is remembered, but for the newest message."""

    def __init__(self) -> None:
        super().__init__()
        self.talks = Talks()
        self.model: dict[str, str] = {}
        self.stored: dict[int, str] = {}

    @rule(name=st.integers(0, 40).map(str), message=st.integers(1, 1 << 40))
    def join(self, name: str, message: int) -> None:
        self.talks.join(name, message)
        self.model[name] = ""

    @rule(name=st.integers(50, 90).map(str), user=st.sampled_from(["7", "8"]), message=st.integers(1, 1 << 40))
    def direct(self, name: str, user: str, message: int) -> None:
        self.talks.note_direct(name, user, message)
        self.model[name] = user

    @rule()
    def restart(self) -> None:
        self.stored.update(self.talks.unsaved())
        self.talks = Talks()
        for shard, value in self.stored.items():
            self.talks.read(shard, value)

    @invariant()
    def the_same(self) -> None:
        assert {name: user for name, user, _ in self.talks.newest_first()} == self.model


TestRememberings = Rememberings.TestCase


def test_the_quietest_are_forgotten_first() -> None:
    talks, many = Talks(), SHARDS * NAMES_PER_SHARD * 2
    for number in range(many):
        talks.join(str(number), number + 1)
    for number in range(50):
        talks.join(str(number * 7), many + number)
    assert len(talks.newest_first()) <= SHARDS * NAMES_PER_SHARD
    assert all(talks.is_in(str(number * 7)) for number in range(50))
    assert not talks.is_in("1")
