"""A gap is closed from histories that go either way, that change while they are read, and that fail in the middle."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.kit.network.backfill import Fetched, Gap, Page
from gatewayd.model.errors import TryAgain
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.report import DeliveryReport
from gatewayd.ports.channel import NO_STATE


def item(number: int) -> Fetched:
    """Every fifth message is our own, and none that is delivered."""
    envelope = InboundEnvelope("net", "main", f"e{number}", "message", Peer("dm", "1"), Sender("1"), text=str(number))
    return Fetched(str(number), None if number % 5 == 0 else envelope)


class Journal:
    """What was committed. It fails instead of the commit with the number ``fails_at``."""

    def __init__(self, cursor: int, fails_at: int | None = None) -> None:
        self.texts: list[int] = []
        self.state: dict[str, str] = {"cursor": str(cursor)}
        self.fails_at = fails_at
        self.commits = 0

    async def deliver(
        self,
        envelopes: Sequence[InboundEnvelope],
        *,
        state: Mapping[str, str] = NO_STATE,
        reports: Sequence[DeliveryReport] = (),
    ) -> None:
        self.commits += 1
        if self.commits == self.fails_at:
            raise TryAgain("the store is away")
        assert all(envelope.missed for envelope in envelopes)
        self.texts += [int(envelope.text) for envelope in envelopes]
        self.state.update(state)

    def gap(self) -> Gap:
        return Gap(self.deliver, cursor=self.state["cursor"], order=int, state=lambda cursor: {"cursor": cursor})


class History:
    """A platform's messages, by number. Somebody may write while it is read; pages are in disorder, and some repeat a message."""

    def __init__(self, numbers: Sequence[int], size: int, *, writes: Sequence[int] = (), fails_at: int | None = None) -> None:
        self.numbers = sorted(numbers)
        self.size = size
        self.writes = list(writes)
        self.fails_at = fails_at
        self.fetched = 0

    def _begin(self) -> None:
        self.fetched += 1
        if self.fetched == self.fails_at:
            raise TryAgain("the history is away")
        if self.writes:
            self.numbers.append(max(self.numbers, default=0) + self.writes.pop())

    def after(self, cursor: str) -> Callable[[str | None], Awaitable[Page]]:
        async def fetch(token: str | None) -> Page:
            self._begin()
            start = int(token or cursor)
            found = [number for number in self.numbers if number > start][: self.size]
            return Page([item(number) for number in reversed(found)], str(found[-1]) if len(found) == self.size else None)

        return fetch

    async def before(self, token: str | None) -> Page:
        """Its pages are counted from the newest message, as platforms with an offset do: what is new shifts them."""
        self._begin()
        at = int(token or 0)
        found = self.numbers[::-1][at : at + self.size]
        return Page([item(number) for number in [*found[1:], *found]], str(at + self.size) if len(found) == self.size else None)


def expected(numbers: Sequence[int], cursor: int) -> list[int]:
    return [number for number in sorted(numbers) if number > cursor and number % 5]


numbers = st.lists(st.integers(1, 400), unique=True, max_size=300)
writes = st.lists(st.integers(1, 3), max_size=4)


@given(numbers, st.integers(0, 400), st.integers(1, 60), writes)
def test_a_gap_is_closed_in_order_each_message_once(said: list[int], cursor: int, size: int, writes: list[int]) -> None:
    async def go() -> None:
        for way in ("forward", "backward"):
            history, journal = History(said, size, writes=writes), Journal(cursor)
            gap = journal.gap()
            if way == "forward":
                assert await gap.fill_forward(history.after(str(cursor)), pages=1000)
                assert journal.texts == expected(history.numbers, cursor)
            else:
                assert await gap.fill_backward(history.before, pages=1000)
                seen = journal.texts[-1] if journal.texts else 0  # what was written later comes by the connection
                assert journal.texts == [number for number in expected(history.numbers, cursor) if number <= seen]
                assert set(expected(said, cursor)) <= set(journal.texts)
            assert gap.delivered == len(journal.texts)
            assert gap.cursor == journal.state["cursor"]

    trio.run(go)


@given(numbers, st.integers(0, 400), st.integers(1, 60), st.integers(1, 6), st.integers(1, 250))
def test_the_bounds_hold_and_are_told(said: list[int], cursor: int, size: int, pages: int, messages: int) -> None:
    async def go() -> None:
        behind = [number for number in said if number > cursor]
        history, journal = History(said, size), Journal(cursor)
        closed = await journal.gap().fill_forward(history.after(str(cursor)), pages=pages, messages=messages)
        assert history.fetched <= pages
        assert len(journal.texts) <= messages
        assert journal.texts == expected(said, cursor)[: len(journal.texts)]
        if closed:
            assert journal.texts == expected(said, cursor)
        while not closed:  # the next one goes on there
            gap = journal.gap()
            closed = await gap.fill_forward(history.after(gap.cursor), pages=pages, messages=messages)
        assert journal.texts == expected(said, cursor)

        history, journal = History(said, size), Journal(cursor)
        closed = await journal.gap().fill_backward(history.before, pages=pages, messages=messages)
        assert history.fetched <= pages
        newest = sorted(behind)[-messages:]
        assert closed or len(behind) >= messages or history.fetched == pages
        assert set(journal.texts) <= {number for number in newest if number % 5}
        assert journal.texts == sorted(journal.texts)
        if closed:
            assert journal.texts == expected(said, cursor)

    trio.run(go)


@given(numbers, st.integers(0, 400), st.integers(1, 150), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_a_backfill_that_is_cut_goes_on_and_loses_and_repeats_nothing(
    said: list[int], cursor: int, size: int, fetch_fails: int, commit_fails: int, forward: bool
) -> None:
    async def go() -> None:
        history, journal = History(said, size, fails_at=fetch_fails), Journal(cursor, fails_at=commit_fails)
        for attempt in range(4):
            gap = journal.gap()
            try:
                if forward:
                    await gap.fill_forward(history.after(gap.cursor), pages=1000)
                else:
                    await gap.fill_backward(history.before, pages=1000)
                break
            except TryAgain:
                assert gap.cursor == journal.state["cursor"]
                assert attempt < 3
        assert journal.texts == expected(said, cursor)

    trio.run(go)


@pytest.mark.parametrize("size", [1, 2, 100])
async def test_a_cursor_whose_message_was_deleted_keeps_its_place(size: int) -> None:
    history, journal = History([1, 2, 4, 6], size), Journal(3)
    assert await journal.gap().fill_backward(history.before)
    assert journal.texts == [4, 6]
    assert history.fetched <= 3


async def test_our_own_messages_move_the_cursor() -> None:
    journal = Journal(1)
    assert await journal.gap().fill_forward(History([5, 10], 10).after("1"))
    assert (journal.texts, journal.state) == ([], {"cursor": "10"})


async def test_nothing_new_is_no_commit() -> None:
    journal = Journal(10)
    assert await journal.gap().fill_forward(History([5, 10], 10).after("10"))
    assert await journal.gap().fill_backward(History([5, 10], 10).before)
    assert journal.commits == 0


@pytest.mark.parametrize(
    ("messages", "size", "told", "closed"), [(4, 3, [6, 7, 8, 9], False), (6, 20, [4, 6, 7, 8, 9], False), (9, 20, None, True)]
)
async def test_backward_the_newest_are_kept_and_what_is_lost_is_told(
    messages: int, size: int, told: list[int] | None, closed: bool
) -> None:
    journal = Journal(0)
    assert await journal.gap().fill_backward(History(range(1, 10), size).before, messages=messages) is closed
    assert journal.texts == (told or expected(range(1, 10), 0))


async def test_forward_the_rest_of_a_page_is_left_for_the_next_time() -> None:
    journal = Journal(0)
    assert not await journal.gap().fill_forward(History(range(1, 10), 20).after("0"), messages=6)
    assert (journal.texts, journal.state) == ([1, 2, 3, 4, 6], {"cursor": "6"})
