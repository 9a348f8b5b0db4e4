"""The mailbox against a source that holds more than fits."""

import math
from collections import defaultdict

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from gatewayd.actor.mailbox import Mailbox


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
        self.mailbox = Mailbox(
            size,
            self.read,
            line_of=lambda letter: letter.line,
            number_of=lambda letter: letter.number,
            due_of=lambda letter: letter.due,
        )

    async def read(self, after: int, limit: int) -> list[Letter]:
        self.reads += 1
        await trio.lowlevel.checkpoint()
        found = [self.letters[number] for number in sorted(self.letters) if number > after][:limit]
        await trio.lowlevel.checkpoint()
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
    for n in range(100):
        shelf.write(f"quick{n}")
        letter = await shelf.mailbox.take()
        assert letter.line == f"quick{n}"
        shelf.done(letter)
    assert trio.current_time() < 1
    assert shelf.reads < 20, "a line that waits is not looked for in the source again and again"


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


# A whole day of a mailbox: writers, a taker, results in any order.

Step = st.one_of(
    st.tuples(st.just("write"), st.sampled_from("abcdef"), st.integers(1, 6)),
    st.tuples(st.just("delayed"), st.sampled_from("abcdef"), st.integers(1, 6)),
    st.tuples(st.just("finish"), st.integers(0, 10), st.booleans()),
    st.tuples(st.just("wait"), st.integers(0, 5), st.none()),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(Step, max_size=60), st.integers(1, 12))
def test_every_item_comes_once_and_in_the_order_of_its_line(steps: list[tuple[str, object, object]], size: int) -> None:
    shelf = Shelf(size)
    finished: dict[str, list[int]] = defaultdict(list)
    written: dict[str, list[int]] = defaultdict(list)
    out: list[Letter] = []

    async def taker() -> None:
        while True:
            letter = await shelf.mailbox.take()
            if letter.number not in shelf.letters:
                # Posted after it was read from the source and dealt with: who takes has to ask the source, as here.
                shelf.mailbox.done(letter)
                continue
            assert all(other.line != letter.line for other in out), "two of one line are out"
            out.append(letter)

    async def play() -> None:
        unposted: list[Letter] = []
        for kind, first, second in steps:
            match kind, first, second:
                case "write", str(line), int(times):
                    for _ in range(times):
                        written[line].append(shelf.write(line).number)
                case "delayed", str(line), int(times):
                    for _ in range(times):
                        unposted.append(shelf.write(line, post=False))
                        written[line].append(unposted[-1].number)
                case "finish", int(which), bool(again) if out:
                    finish(out.pop(which % len(out)), again)
                case "wait", int(seconds), _:
                    await trio.sleep(seconds)
                case _:
                    pass
            assert shelf.mailbox.statistics().used <= size
            for letter in unposted:
                if len(unposted) > 2:
                    shelf.mailbox.post(letter)
            if len(unposted) > 2:
                unposted.clear()
        for letter in unposted:
            shelf.mailbox.post(letter)
        while True:
            await trio.sleep(100)
            if not shelf.letters:
                break
            assert out, "something is kept and never comes"
            while out:
                finish(out.pop(), again=False)

    def finish(letter: Letter, again: bool) -> None:
        if again:
            shelf.retry(letter, 7)
        else:
            finished[letter.line].append(letter.number)
            shelf.done(letter)

    async def go() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(taker)
            await play()
            nursery.cancel_scope.cancel()

    trio.run(go, clock=trio.testing.MockClock(autojump_threshold=0))
    assert {line: sorted(numbers) for line, numbers in finished.items()} == written
    assert shelf.mailbox.statistics().used == 0
    if not any(kind == "delayed" for kind, *_ in steps):
        assert finished == written
