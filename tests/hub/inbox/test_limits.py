"""Admission control: bounded in all and for each account, in order, and no account waits because another one is full."""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gatewayd.hub.inbox.limits import Account, AdmissionControl, SenderLimit
from tests.hub.house import now

A: Account = ("chat", "a")
B: Account = ("chat", "b")
C: Account = ("chat", "c")


class Door:
    """Deliveries one after the other, with the order in which they came in."""

    def __init__(self, admission: AdmissionControl, nursery: trio.Nursery) -> None:
        self.admission = admission
        self.nursery = nursery
        self.entered: list[str] = []

    async def come(self, name: str, account: Account, count: int = 1) -> None:
        async def enter() -> None:
            await self.admission.acquire(account, count)
            self.entered.append(name)

        self.nursery.start_soon(enter)
        await wait_all_tasks_blocked()

    async def leave(self, account: Account, count: int = 1) -> None:
        self.admission.release(account, count)
        await wait_all_tasks_blocked()


async def test_a_full_account_waits_in_order_and_the_others_go_on(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        door = Door(AdmissionControl(100, 2, now=now), nursery)
        await door.come("a1", A, 2)
        await door.come("a2", A, 2)
        await door.come("a3", A)
        await door.come("b1", B)
        assert door.entered == ["a1", "b1"]
        assert (door.admission.why_full(A), door.admission.why_full(B)) == ("the inbox of chat/a is full", None)
        await door.leave(A)
        assert door.entered == ["a1", "b1"]  # a3 alone would fit, and is not first
        await door.leave(A)
        assert door.entered == ["a1", "b1", "a2"]
        await door.leave(A, 2)
        assert door.entered == ["a1", "b1", "a2", "a3"]
        assert (door.admission.used, door.admission.used_by(A), door.admission.used_by(C)) == (2, 1, 0)


async def test_when_the_inbox_is_full_the_accounts_get_what_becomes_free_in_turn(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        door = Door(AdmissionControl(2, 2, now=now), nursery)
        await door.come("a1", A)
        await door.come("a2", A)
        for name, account in (("b1", B), ("b2", B), ("b3", B), ("c1", C)):
            await door.come(name, account)
        assert door.entered == ["a1", "a2"]
        assert door.admission.why_full(C) == "the inbox is full"
        await door.leave(A)
        await door.leave(A)
        assert door.entered[2:] == ["b1", "c1"]
        await door.leave(B)
        await door.leave(B)
        assert door.entered[4:] == ["b2", "b3"]


async def test_more_than_there_are_gets_all_of_them(autojump_clock: MockClock) -> None:
    admission = AdmissionControl(5, 3, now=now)
    await admission.acquire(A, 50)
    assert (admission.used, admission.why_full(B)) == (50, "the inbox is full")
    admission.release(A, 50)
    assert (admission.used, admission.why_full(A)) == (0, None)


async def test_full_since_is_the_first_moment_although_messages_come_and_go(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        door = Door(AdmissionControl(100, 1000, now=now), nursery)
        await door.come("a1", A, 99)
        assert door.admission.why_full(A) is None
        await door.come("a2", A, 2)
        began_at = now()
        await door.come("a3", A, 1)
        for _ in range(5):
            await trio.sleep(60)
            await door.leave(A, 2)
            await door.come("more", A, 2)
        assert door.admission.full_since == began_at
        await door.leave(A, 2)
        assert door.admission.used == 100
        await door.leave(A, 9)
        assert door.admission.full_since == began_at
        await door.leave(A)
        assert door.admission.full_since is None


async def test_who_stops_waiting_at_the_door_leaves_it_open(autojump_clock: MockClock) -> None:
    admission = AdmissionControl(10, 1, now=now)
    await admission.acquire(A, 1)
    with trio.move_on_after(5) as scope:
        await admission.acquire(A, 1)
    assert scope.cancelled_caught
    assert (admission.used, admission.account_full_since(A)) == (1, now() - 5)
    admission.release(A, 1)
    assert (admission.why_full(A), admission.account_full_since(A)) == (None, None)


def test_a_sender_is_told_once_until_half_is_free_again() -> None:
    senders, who = SenderLimit(4), ("chat", "a", "7")
    for _ in range(4):
        assert senders.may_wait(who)
        senders.add(who)
    assert not senders.may_wait(who)
    assert senders.may_wait(("chat", "b", "7"))
    assert [senders.should_notify(who) for _ in range(3)] == [True, False, False]
    senders.remove(who)
    assert (senders.may_wait(who), senders.should_notify(who), senders.limited) == (True, False, 1)
    senders.remove(who)
    assert (senders.limited, senders.should_notify(who)) == (0, True)
    senders.remove(who)
    senders.remove(who)
    assert (senders._waiting, senders.limited) == ({}, 0)


def test_who_has_half_of_a_greater_limit_free_is_limited_no_more() -> None:
    senders, few, many = SenderLimit(4), ("chat", "a", "7"), ("chat", "a", "8")
    for who, waiting in ((few, 3), (many, 4)):
        for _ in range(waiting):
            senders.add(who)
        assert senders.should_notify(who)
    senders.resize(7)
    assert senders.limited == 1
    assert (senders.should_notify(few), senders.should_notify(many)) == (True, False)
