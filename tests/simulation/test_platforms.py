"""The simulated platform promises what real ones do: what nobody was given, nobody can confirm."""

from random import Random
from typing import cast

import trio
from trio.testing import MockClock

from gatewayd.model.errors import GatewayError
from gatewayd.model.message.envelope import Peer, Sender
from tests.simulation.life import Life
from tests.simulation.outside.platforms import Account, Update, Weather
from tests.simulation.trace import Trace


class Alive:
    """A life of the daemon that does not end."""

    dead = False

    def check_alive(self) -> None:
        pass

    def pass_point(self, point: str) -> None:
        pass


async def poll(account: Account, offset: int) -> list[Update]:
    """A poll that may fail in any way that the weather knows."""
    with trio.move_on_after(100):
        try:
            return await account.get_updates(cast("Life", Alive()), offset)
        except (GatewayError, ValueError):
            pass
    return []


async def test_an_offset_behind_all_that_a_poll_gave_skips_nothing(autojump_clock: MockClock) -> None:
    account = Account("telegram", "bot", Weather(Random(3), 0.9), Trace(), trio.current_time)
    account.is_in_process = False
    given: set[int] = set()
    offset = 1
    for _ in range(30):
        for _ in range(14):
            account.happen("message", Peer("dm", "101"), Sender("101"), "hello")
        page = [update.number for update in await poll(account, offset)]
        given.update(page)
        offset = max(page, default=offset - 1) + 1
        assert given >= set(range(1, offset))
    assert len(account.confirmed) > 100
