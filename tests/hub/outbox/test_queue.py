"""What waits for one account, against a store that holds more than fits, and the mailbox at its end."""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random

import anyio
import pytest
import trio
import trio.testing
from anyio.streams.memory import MemoryObjectReceiveStream
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.hub.configured import Configured
from gatewayd.hub.outbox.queue import OutboundQueue
from gatewayd.model.config import GatewayConfig, LimitsSection
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import RichText, SendText
from gatewayd.ports.store import OutboundRow
from tests.examples import examples
from tests.hub.street import EPOCH, now

Mailbox = MemoryObjectReceiveStream[OutboundRow]


class Shelf:
    """The store's part of it: what is not done is in it."""

    def __init__(self, size: int = 8) -> None:
        self.rows: dict[int, OutboundRow] = {}
        self.last = 0
        self.reads = self.rows_read = 0
        self.pause: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.configured = Configured(GatewayConfig(limits=LimitsSection(mailbox=size)), {})
        self.queue = OutboundQueue(self.numbers, self.read, self.configured, now=now)

    async def numbers(self, after: int, limit: int) -> list[int]:
        self.reads += 1
        await self.pause()
        return [number for number in sorted(self.rows) if number > after][:limit]

    async def read(self, numbers: Sequence[int]) -> list[OutboundRow]:
        self.reads += 1
        self.rows_read += len(numbers)
        await self.pause()
        found = [self.rows[number] for number in numbers if number in self.rows]
        await self.pause()
        return found

    def write(self, conversation: str, *, in_seconds: float | None = None, add: bool = True) -> OutboundRow:
        self.last += 1
        payload = SendText(Peer("dm", conversation), RichText(str(self.last)))
        at = None if in_seconds is None else now() + in_seconds
        row = OutboundRow(self.last, "loopback", "main", conversation, payload, "ready", 0, now(), at, queued_at=now())
        self.rows[row.id] = row
        if add:
            self.queue.add(row)
        return row

    def done(self, row: OutboundRow) -> None:
        del self.rows[row.id]
        assert self.queue.end(row.id)

    def retry(self, row: OutboundRow, seconds: float) -> None:
        self.rows[row.id] = replace(row, next_attempt_at=now() + seconds)
        self.queue.hold(self.rows[row.id])
        self.queue.put_back(row)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Mailbox]:
        """While the account can send, as the sender does it."""
        await self.queue.load()
        async with anyio.create_task_group() as tasks:
            with self.queue.open() as mailbox:
                tasks.start_soon(self.queue.feed)
                yield mailbox
                tasks.cancel_scope.cancel()


async def nothing_more(mailbox: Mailbox) -> bool:
    with trio.move_on_after(0.001) as scope:
        await mailbox.receive()
    return scope.cancelled_caught


async def test_one_row_of_a_conversation_at_a_time_and_conversations_take_turns(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    for conversation in "aab":
        shelf.write(conversation)
    async with shelf.open() as mailbox:
        first, second = await mailbox.receive(), await mailbox.receive()
        assert [(row.id, row.conversation) for row in (first, second)] == [(1, "a"), (3, "b")]
        assert await nothing_more(mailbox)
        shelf.done(first)
        assert (await mailbox.receive()).id == 2
        assert shelf.queue.statistics().posted == 2


async def test_what_only_the_store_knows_is_found_when_the_account_is_back(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    async with shelf.open():
        for _ in range(3):
            shelf.write("a", add=False)
        shelf.write("a")
    async with shelf.open() as mailbox:
        for number in range(1, 5):
            row = await mailbox.receive()
            assert row.id == number
            shelf.done(row)
        assert await nothing_more(mailbox)
    assert shelf.queue.statistics().conversations == 0


async def test_what_was_not_taken_out_of_the_mailbox_comes_again(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    rows = [shelf.write(conversation) for conversation in "ab"]
    async with shelf.open() as mailbox:
        taken = await mailbox.receive()
        assert shelf.queue.statistics().posted == 2
    assert shelf.queue.statistics().posted == 1
    shelf.queue.put_back(taken, changed=False)
    async with shelf.open() as mailbox:
        assert sorted([(await mailbox.receive()).id for _ in rows]) == [row.id for row in rows]


async def test_a_row_with_a_time_waits_alone_and_with_its_conversation(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    shelf.write("a")
    shelf.write("a", in_seconds=149)
    shelf.write("b")
    async with shelf.open() as mailbox:
        assert (await mailbox.receive()).conversation == "b"
        assert (await mailbox.receive()).id == 1
        assert trio.current_time() == pytest.approx(149)


async def test_a_conversation_that_waits_keeps_its_order_and_no_memory(autojump_clock: MockClock) -> None:
    shelf = Shelf(size=16)
    for _ in range(4):
        shelf.write("a")
    async with shelf.open() as mailbox:
        row = await mailbox.receive()
        assert shelf.queue.statistics().used == 4
        shelf.retry(row, 60)
        assert (shelf.queue.statistics().used, shelf.queue.due) == (0, 0)
        shelf.write("a")
        assert await nothing_more(mailbox)
        for number in range(1, 6):
            row = await mailbox.receive()
            assert row.id == number
            shelf.done(row)
        assert trio.current_time() == pytest.approx(60)


async def test_conversations_that_wait_leave_room_for_others(autojump_clock: MockClock) -> None:
    shelf = Shelf(size=8)
    for _ in range(1000):
        shelf.write("slow")
    async with shelf.open() as mailbox:
        shelf.retry(await mailbox.receive(), 3600)
        assert await nothing_more(mailbox)
        reads = shelf.reads
        for n in range(100):
            shelf.write(f"quick{n}")
            row = await mailbox.receive()
            assert row.conversation == f"quick{n}"
            shelf.done(row)
    assert trio.current_time() < 1
    assert shelf.reads == reads, "what waits is not read again and again"


async def test_a_long_conversation_does_not_fill_the_mailbox(autojump_clock: MockClock) -> None:
    shelf = Shelf(size=8)
    for _ in range(500):
        shelf.write("long")
    shelf.write("short")
    async with shelf.open() as mailbox:
        assert [(await mailbox.receive()).conversation for _ in range(2)] == ["long", "short"]


async def test_a_backlog_is_read_in_pages(autojump_clock: MockClock) -> None:
    shelf = Shelf(size=40)
    for n in range(400):
        shelf.write(f"c{n % 7}")
    async with shelf.open() as mailbox:
        before = shelf.reads
        for _ in range(400):
            shelf.done(await mailbox.receive())
    assert shelf.reads - before <= 400 / 10 + 1


@pytest.mark.parametrize("layout", ["together", "in turns", "at random"])
async def test_no_text_of_a_backlog_is_read_again_and_again(layout: str, autojump_clock: MockClock) -> None:
    shelf = Shelf(size=40)
    rng = Random(1)
    numbers = {"together": [n // 10 for n in range(300)], "in turns": [n % 30 for n in range(300)]}
    for n in numbers.get(layout, [rng.randrange(30) for _ in range(300)]):
        shelf.write(f"c{n}")
    async with shelf.open() as mailbox:
        before = shelf.reads
        for _ in range(300):
            shelf.done(await mailbox.receive())
    assert shelf.reads - before <= 300 / 8
    assert shelf.rows_read <= 300 * 1.5


async def test_more_than_the_permits_stays_in_the_store(autojump_clock: MockClock) -> None:
    shelf = Shelf(size=2)
    for conversation in "abc":
        shelf.write(conversation)
    async with shelf.open() as mailbox:
        first, _ = await mailbox.receive(), await mailbox.receive()
        assert await nothing_more(mailbox)
        shelf.done(first)
        assert (await mailbox.receive()).conversation == "c"


async def test_what_is_handed_over_late_goes_before_a_later_one(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    async with shelf.open() as mailbox:
        out = shelf.write("a")
        assert await mailbox.receive() == out
        early, late = shelf.write("a", add=False), shelf.write("a", add=False)
        shelf.queue.add(late)
        shelf.queue.add(early)
        shelf.done(out)
        for row in (early, late):
            assert await mailbox.receive() == row
            shelf.done(row)


async def test_an_older_row_does_not_take_the_place_of_the_one_that_is_out(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    async with shelf.open() as mailbox:
        early, late = shelf.write("a", add=False), shelf.write("a", add=False)
        shelf.queue.add(late)
        assert await mailbox.receive() == late
        shelf.queue.add(early)
        assert await nothing_more(mailbox)
        shelf.done(late)
        assert await mailbox.receive() == early


async def test_a_row_that_is_added_twice_comes_once(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    async with shelf.open() as mailbox:
        row = shelf.write("a")
        shelf.queue.add(row)
        shelf.done(await mailbox.receive())
        assert await nothing_more(mailbox)


async def test_a_row_that_somebody_else_has_dealt_with_holds_up_nobody(autojump_clock: MockClock) -> None:
    shelf = Shelf(size=1)
    for _ in range(3):
        shelf.write("a")
    del shelf.rows[2]
    async with shelf.open() as mailbox:
        shelf.done(await mailbox.receive())
        assert (await mailbox.receive()).id == 3
    assert len(shelf.queue) == 1


async def test_an_error_of_the_store_loses_nothing(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    shelf.write("a", add=False)

    async def broken() -> None:
        await trio.lowlevel.checkpoint()
        raise OSError("disk")

    sound, shelf.pause = shelf.pause, broken
    with pytest.raises(OSError, match="disk"):
        async with shelf.open():
            pass
    shelf.pause = sound
    async with shelf.open() as mailbox:
        assert (await mailbox.receive()).id == 1


async def test_a_pause_is_over_for_who_comes_after_it(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    async with shelf.open() as mailbox:
        row = shelf.write("a")
        await mailbox.receive()
        shelf.queue.hold(replace(row, next_attempt_at=EPOCH + 100))
        shelf.done(row)  # given up, and its pause stays
        assert shelf.queue.statistics().conversations == 1
        await trio.sleep(101)
        assert shelf.queue.statistics().conversations == 0, "nobody would forget it"
        shelf.write("a")
        await mailbox.receive()
        assert trio.current_time() == pytest.approx(101)


# A busy day: writers that hand over later than they commit, a slow store, lives that end, and results in any order.


class Day:
    """One conversation has one writer, so what it writes has to come in order; everything else is drawn from the seed."""

    def __init__(self, seed: int, size: int, conversations: int) -> None:
        self.rng = Random(seed)
        self.shelf = Shelf(size)
        self.conversations = [chr(ord("a") + n) for n in range(conversations)]
        self.written: dict[str, list[int]] = defaultdict(list)
        self.finished: dict[str, list[int]] = defaultdict(list)
        self.out: set[str] = set()
        self.shelf.pause = self.pause

    async def pause(self) -> None:
        await trio.sleep(self.rng.choice([0.0, 0.0, 0.0, 0.01, 0.02, 0.1]))

    async def write(self, conversation: str) -> None:
        for _ in range(self.rng.randrange(12)):
            rows = [self.shelf.write(conversation, add=False) for _ in range(self.rng.randrange(1, 5))]
            self.written[conversation] += [row.id for row in rows]
            # Two writers whose rows are in one commit are woken in any order, and with no wait between them.
            self.rng.shuffle(rows)
            for row in rows:
                self.shelf.queue.add(row)
            await self.pause()

    async def deal_with(self, row: OutboundRow) -> None:
        assert row.conversation not in self.out, "two of one conversation are out"
        self.out.add(row.conversation)
        await self.pause()
        self.out.discard(row.conversation)
        if self.rng.random() < 0.3:
            self.shelf.retry(row, self.rng.choice([0.0, 0.05, 0.5]))
        elif self.rng.random() < 0.2:
            self.shelf.queue.put_back(row, changed=False)
        else:
            self.finished[row.conversation].append(row.id)
            self.shelf.done(row)

    async def take(self, nursery: trio.Nursery) -> None:
        while True:
            with trio.move_on_after(self.rng.choice([0.05, 1, 3000])):
                async with self.shelf.open() as mailbox:
                    async for row in mailbox:
                        assert self.shelf.queue.statistics().used <= self.shelf.queue.statistics().size
                        if row.id in self.shelf.rows:
                            nursery.start_soon(self.deal_with, row)
                        else:  # read from the store, and dealt with before it was known here: who sends asks the store
                            self.shelf.queue.note_marked(row.id, False)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.take, nursery)
            async with trio.open_nursery() as writers:
                for conversation in self.conversations:
                    writers.start_soon(self.write, conversation)
            # By then everything has had its turn many times over.
            await trio.sleep(1000)
            nursery.cancel_scope.cancel()


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 10))
def test_every_row_comes_once_and_in_the_order_of_its_conversation(seed: int, size: int, conversations: int) -> None:
    day = Day(seed, size, conversations)
    trio.run(day.run, clock=MockClock(autojump_threshold=0))
    assert not day.shelf.rows, "something is kept and never comes"
    assert {name: numbers for name, numbers in day.written.items() if numbers} == day.finished
    assert day.shelf.queue.statistics().used == 0


async def test_a_pause_is_no_longer_than_a_row_may_wait(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    began = trio.current_time()
    async with shelf.open() as mailbox:
        shelf.queue.pause("a", 31_536_000)
        row = shelf.write("a")
        assert (await mailbox.receive()).id == row.id
        assert trio.current_time() - began == shelf.configured.config.outbox.stale_after_seconds
        shelf.done(row)
