"""How fast the Web API is called."""

import pytest
import trio
from trio.testing import MockClock

from gatewayd.channels.slack.limits import KEPT, PATIENCE_SECONDS, POST, CallLimits
from gatewayd.model.errors import TryAgain


async def seconds_of(limits: CallLimits, method: str, channel: str = "") -> float:
    began = trio.current_time()
    await limits.wait(method, channel)
    return trio.current_time() - began


async def test_a_channel_takes_one_message_a_second_after_a_short_burst(autojump_clock: MockClock) -> None:
    limits = CallLimits()
    assert [await seconds_of(limits, POST, "C1") for _ in range(5)] == pytest.approx([0, 0, 0, 1, 1])
    assert await seconds_of(limits, POST, "C2") == 0


async def test_a_method_of_tier_3_takes_50_calls_a_minute(autojump_clock: MockClock) -> None:
    limits = CallLimits()
    for _ in range(25):
        assert await seconds_of(limits, "chat.update", "C1") == 0
    assert await seconds_of(limits, "chat.update", "C2") == pytest.approx(60 / 50)
    assert await seconds_of(limits, "users.info") == 0


async def test_those_that_ask_first_are_first(autojump_clock: MockClock) -> None:
    limits, order = CallLimits(), list[int]()

    async def call(number: int) -> None:
        await limits.wait(POST, "C1")
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(call, number)
            await trio.testing.wait_all_tasks_blocked()
    assert order == list(range(8))
    assert trio.current_time() == pytest.approx(5)


async def test_nobody_waits_for_long_in_a_call(autojump_clock: MockClock) -> None:
    limits = CallLimits()
    async with trio.open_nursery() as nursery:
        for _ in range(3 + int(PATIENCE_SECONDS)):
            nursery.start_soon(limits.wait, POST, "C1")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(TryAgain) as caught:
            await limits.wait(POST, "C1")
        assert caught.value.after_seconds == pytest.approx(PATIENCE_SECONDS + 1)
        assert caught.value.scope == "conversation"


async def test_a_refusal_is_about_one_channel_until_a_second_one_is_refused(autojump_clock: MockClock) -> None:
    limits = CallLimits()
    assert limits.refused(POST, "C1", 30) == "conversation"
    assert limits.seconds_until(POST, "C1") == 30
    assert limits.seconds_until(POST, "C2") == 0
    with pytest.raises(TryAgain) as caught:
        await limits.wait(POST, "C1")
    assert caught.value.after_seconds == 30
    assert limits.refused(POST, "C2", 149) == "sends"
    assert limits.seconds_until(POST, "C3") == 149
    await trio.sleep(149)
    assert limits.refused(POST, "C4", 5) == "conversation"
    assert limits.seconds_until(POST, "C3") == 0


async def test_a_refusal_of_another_method_is_about_all_its_calls(autojump_clock: MockClock) -> None:
    limits = CallLimits()
    assert limits.refused("chat.update", "C1", 30) == "conversation"
    assert limits.seconds_until("chat.update", "C2") == 30
    assert limits.seconds_until(POST, "C2") == 0
    limits.refused("chat.update", "C1", 5)
    assert limits.seconds_until("chat.update", "C2") == 30


async def test_who_waits_for_a_turn_hears_of_a_refusal_meanwhile(autojump_clock: MockClock) -> None:
    limits, refused = CallLimits(), list[float | None]()

    async def call() -> None:
        try:
            await limits.wait(POST, "C1")
        except TryAgain as error:
            refused.append(error.after_seconds)

    for _ in range(3):
        await limits.wait(POST, "C1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        limits.refused(POST, "C1", 30)
    assert refused == [pytest.approx(29)]


async def test_room_is_left_for_what_matters_more(autojump_clock: MockClock) -> None:
    limits = CallLimits()
    assert limits.seconds_until("chat.update", leave=20) == 0
    for _ in range(10):
        await limits.wait("chat.update")
    assert limits.seconds_until("chat.update", leave=20) == pytest.approx(6 * 60 / 50)
    assert limits.seconds_until("chat.update") == 0


async def test_memory_is_bounded_and_a_limit_in_force_is_kept(autojump_clock: MockClock) -> None:
    limits = CallLimits()
    for number in range(KEPT + 50):
        await trio.sleep(1)
        await limits.wait(POST, f"C{number}")
    for _ in range(3):
        await limits.wait(POST, "C0")
    for number in range(KEPT + 50):
        await limits.wait(POST, f"D{number}") if number % 10 == 0 else None
    assert limits.seconds_until(POST, "C0") > 0
    assert len(limits._paces) <= KEPT + 1
