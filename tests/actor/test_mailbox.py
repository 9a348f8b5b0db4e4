"""The mailbox against a source that holds more than fits."""

import math
from collections import defaultdict
from collections.abc import Awaitable, Callable
from random import Random

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from gatewayd.actor.mailbox import Mailbox
from tests.examples import examples


class Letter(Struct, frozen=True):
    number: int
    line: str
    due: float = -math.inf


class Shelf:
    """A durable queue: what is not done is in it."""

    def __init__(self, size: int = 8) -> None:
        self.letters: dict[int, Letter] = {}
        self.last = 0
        self.reads = 0
        self.pause: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.mailbox = Mailbox(
            size,
            self.read,
            line_of=lambda letter: letter.line,
            number_of=lambda letter: letter.number,
            due_of=lambda letter: letter.due,
        )

    async def read(self, after: int, limit: int) -> list[Letter]:
        self.reads += 1
        await self.pause()
        found = [self.letters[number] for number in sorted(self.letters) if number > after][:limit]
        await self.pause()
        return found

    def write(self, line: str, due: float = -math.inf, *, post: bool = True) -> Letter:
        self.last += 1
        letter = Letter(self.last, line, due)
        self.letters[letter.number] = letter
        if post:
            self.mailbox.post(letter)
        return letter

    def done(self, letter: Letter) -> None:
        del self.letters[letter.number]
        self.mailbox.done(letter)

    def retry(self, letter: Letter, seconds: float) -> None:
        self.letters[letter.number] = replace(letter, due=trio.current_time() + seconds)
        self.mailbox.put_back(self.letters[letter.number])


async def nothing_more(shelf: Shelf) -> bool:
    with trio.move_on_after(0.001) as scope:
        await shelf.mailbox.take()
    return scope.cancelled_caught


async def test_one_item_of_a_line_at_a_time_and_lines_take_turns(autojump_clock: trio.testing.MockClock) -> None:
    shelf = Shelf()
    for line in "aab":
        shelf.write(line)
    first, second = await shelf.mailbox.take(), await shelf.mailbox.take()
    assert [(letter.number, letter.line) for letter in (first, second)] == [(1, "a"), (3, "b")]
    assert await nothing_more(shelf)
    shelf.done(first)
    assert (await shelf.mailbox.take()).number == 2
    assert shelf.mailbox.statistics().taken == 2


async def test_what_was_there_before_is_read_first(autojump_clock: trio.testing.MockClock) -> None:
    shelf = Shelf()
    for _ in range(3):
        shelf.write("a", post=False)
    shelf.write("a")
    assert shelf.mailbox.statistics().used == 0
    for number in range(1, 5):
        letter = await shelf.mailbox.take()
        assert letter.number == number
        shelf.done(letter)
    assert await nothing_more(shelf)
    assert shelf.mailbox.statistics().behind is False


async def test_what_was_never_posted_is_found_by_looking_again(autojump_clock: trio.testing.MockClock) -> None:
    shelf = Shelf()
    shelf.done(await take_after(shelf, shelf.write("a")))
    letter = shelf.write("a", post=False)
    assert await nothing_more(shelf)
    shelf.mailbox.look_again()
    assert await shelf.mailbox.take() == letter


async def test_an_item_with_a_time_waits_alone(autojump_clock: trio.testing.MockClock) -> None:
    shelf = Shelf()
    shelf.write("a", due=149)
    shelf.write("a")
    shelf.write("b")
    assert (await shelf.mailbox.take()).line == "b"
    assert (await shelf.mailbox.take()).number == 1
    assert trio.current_time() == 149


async def test_a_line_that_was_put_back_keeps_its_order_and_one_place(autojump_clock: trio.testing.MockClock) -> None:
    shelf = Shelf(size=16)
    for _ in range(4):
        shelf.write("a")
    letter = await shelf.mailbox.take()
    assert shelf.mailbox.statistics().used == 4
    shelf.retry(letter, 60)
    assert shelf.mailbox.statistics().used == 1
    shelf.write("a")
    assert await nothing_more(shelf)
    for number in range(1, 6):
        letter = await shelf.mailbox.take()
        assert letter.number == number
        shelf.done(letter)
    assert trio.current_time() == 60


async def test_blocked_lines_leave_room_for_others(autojump_clock: trio.testing.MockClock) -> None:
    shelf = Shelf(size=8)
    for _ in range(1000):
        shelf.write("slow")
    shelf.retry(await shelf.mailbox.take(), 3600)
    assert await nothing_more(shelf)
    reads = shelf.reads
    for n in range(100):
        shelf.write(f"quick{n}")
        letter = await shelf.mailbox.take()
        assert letter.line == f"quick{n}"
        shelf.done(letter)
    assert trio.current_time() < 1
    assert shelf.reads == reads, "a line that waits is not looked for in the source again and again"


async def test_one_long_line_does_not_fill_the_mailbox(autojump_clock: trio.testing.MockClock) -> None:
    shelf = Shelf(size=8)
    for _ in range(500):
        shelf.write("long", post=False)
    shelf.write("short", post=False)
    lines = [(await shelf.mailbox.take()).line for _ in range(2)]
    assert lines == ["long", "short"]


async def test_posting_late_what_was_committed_early_keeps_the_order(autojump_clock: trio.testing.MockClock) -> None:
    shelf = Shelf()
    shelf.done(await take_after(shelf, shelf.write("a")))
    early, late = shelf.write("a", post=False), shelf.write("a", post=False)
    shelf.mailbox.post(late)
    shelf.mailbox.post(early)
    assert await shelf.mailbox.take() == early


async def test_what_is_posted_late_takes_the_place_of_a_later_one(autojump_clock: trio.testing.MockClock) -> None:
    shelf = Shelf(size=8)
    out = await take_after(shelf, shelf.write("a"))
    early, late = shelf.write("a", post=False), shelf.write("a", post=False)
    shelf.mailbox.post(late)
    shelf.mailbox.post(early)  # the line's two places are taken, by the one that is out and by the later one
    shelf.done(out)
    for letter in (early, late):
        shelf.done(await take_after(shelf, letter))
    assert await nothing_more(shelf)


async def test_what_is_posted_late_goes_before_a_later_one_of_a_line_that_was_cut_short(
    autojump_clock: trio.testing.MockClock,
) -> None:
    shelf = Shelf(size=8)
    out = await take_after(shelf, shelf.write("a"))
    early, late, latest = (shelf.write("a", post=False) for _ in range(3))
    for letter in (late, latest, early):
        shelf.mailbox.post(letter)
    shelf.done(out)
    for letter in (early, late, latest):
        shelf.done(await take_after(shelf, letter))
    assert await nothing_more(shelf)


async def take_after(shelf: Shelf, letter: Letter) -> Letter:
    assert await shelf.mailbox.take() == letter
    return letter


async def test_an_item_posted_twice_comes_once(autojump_clock: trio.testing.MockClock) -> None:
    shelf = Shelf()
    shelf.done(await take_after(shelf, shelf.write("a")))
    letter = shelf.write("a")
    shelf.mailbox.post(letter)
    shelf.done(await take_after(shelf, letter))
    assert await nothing_more(shelf)


async def test_an_error_of_the_source_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    broken = True

    async def source(after: int, limit: int) -> list[Letter]:
        await trio.lowlevel.checkpoint()
        if broken:
            raise OSError("disk")
        return [Letter(1, "a")] if after < 1 else []

    mailbox: Mailbox[Letter] = Mailbox(
        4, source, line_of=lambda item: item.line, number_of=lambda item: item.number, due_of=lambda item: item.due
    )
    with pytest.raises(OSError, match="disk"):
        await mailbox.take()
    broken = False
    assert (await mailbox.take()).number == 1


async def test_an_older_item_does_not_take_the_place_of_the_one_that_is_out(autojump_clock: trio.testing.MockClock) -> None:
    shelf = Shelf()
    shelf.done(await take_after(shelf, shelf.write("a")))
    early, late = shelf.write("a", post=False), shelf.write("a", post=False)
    shelf.mailbox.post(late)
    assert await shelf.mailbox.take() == late
    shelf.mailbox.post(early)
    shelf.done(late)
    assert await shelf.mailbox.take() == early


async def test_a_line_that_waits_is_not_filled_up_by_a_read(autojump_clock: trio.testing.MockClock) -> None:
    shelf = Shelf(size=8)
    for line in "abcdefgh":
        shelf.write(line, post=False)
    waiting = await shelf.mailbox.take()
    shelf.retry(waiting, 3600)
    for _ in range(5):
        shelf.write(waiting.line)
    shelf.write("new")
    while len(shelf.letters) > 6:
        shelf.done(await shelf.mailbox.take())
    assert await nothing_more(shelf)
    assert shelf.mailbox.statistics().used == 1
    assert shelf.mailbox.statistics().behind is True


async def test_a_place_that_comes_free_among_waiting_lines_is_used(autojump_clock: trio.testing.MockClock) -> None:
    shelf = Shelf(size=4)
    for line in "abcd":
        shelf.write(line, due=100 if line == "a" else 3600)
    assert await nothing_more(shelf)
    shelf.write("e")
    assert await nothing_more(shelf)
    assert shelf.mailbox.statistics().used == 4
    letter = await shelf.mailbox.take()
    assert letter.line == "a"
    shelf.done(letter)
    assert (await shelf.mailbox.take()).line == "e"
    assert trio.current_time() < 101


# A busy day: writers that post later than they commit, a slow source, and results in any order.


class Day:
    """One line has one writer, so what it writes has to come in order; everything else is drawn from the seed."""

    def __init__(self, seed: int, size: int, lines: int) -> None:
        self.rng = Random(seed)
        self.shelf = Shelf(size)
        self.lines = [chr(ord("a") + n) for n in range(lines)]
        self.written: dict[str, list[int]] = defaultdict(list)
        self.finished: dict[str, list[int]] = defaultdict(list)
        self.out: set[str] = set()
        self.shelf.pause = self.pause

    async def pause(self) -> None:
        await trio.sleep(self.rng.choice([0.0, 0.0, 0.0, 0.01, 0.02, 0.1]))

    async def write(self, line: str) -> None:
        for _ in range(self.rng.randrange(12)):
            letters = [self.shelf.write(line, post=False) for _ in range(self.rng.randrange(1, 5))]
            self.written[line] += [letter.number for letter in letters]
            await self.pause()
            # Two writers whose rows are in one commit are woken in any order.
            self.rng.shuffle(letters)
            for letter in letters:
                self.shelf.mailbox.post(letter)
            await self.pause()

    async def deal_with(self, letter: Letter) -> None:
        assert letter.line not in self.out, "two of one line are out"
        self.out.add(letter.line)
        await self.pause()
        self.out.discard(letter.line)
        if self.rng.random() < 0.3:
            self.shelf.retry(letter, self.rng.choice([0.0, 0.05, 0.5]))
        else:
            self.finished[letter.line].append(letter.number)
            self.shelf.done(letter)

    async def take(self, nursery: trio.Nursery) -> None:
        while True:
            letter = await self.shelf.mailbox.take()
            assert self.shelf.mailbox.statistics().used <= self.shelf.mailbox.statistics().size
            if letter.number not in self.shelf.letters:
                # Posted after it was read from the source and dealt with: who takes has to ask the source, as here.
                self.shelf.mailbox.done(letter)
            else:
                nursery.start_soon(self.deal_with, letter)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.take, nursery)
            async with trio.open_nursery() as writers:
                for line in self.lines:
                    writers.start_soon(self.write, line)
            # By then everything has had its turn many times over.
            await trio.sleep(1000)
            nursery.cancel_scope.cancel()


@settings(max_examples=examples(150), deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 10))
def test_every_item_comes_once_and_in_the_order_of_its_line(seed: int, size: int, lines: int) -> None:
    day = Day(seed, size, lines)
    trio.run(day.run, clock=trio.testing.MockClock(autojump_threshold=0))
    assert not day.shelf.letters, "something is kept and never comes"
    assert {line: numbers for line, numbers in day.written.items() if numbers} == day.finished
    assert day.shelf.mailbox.statistics().used == 0
