"""Runs tests of the contract on a fake clock, one at a time."""

import inspect
from functools import partial

import trio
from trio.testing import MockClock

from gatewayd.actor.border import sole
from gatewayd.testing.channel_contract import ChannelContract

TESTS = sorted(
    name
    for name in dir(ChannelContract)
    if name.startswith("test_") and inspect.iscoroutinefunction(getattr(ChannelContract, name))
)


def run(contract: ChannelContract, name: str) -> None:
    """The test of this name. The clock jumps at once when every task waits."""
    contract.excuse(name)
    try:
        trio.run(partial(getattr(contract, name)), clock=MockClock(autojump_threshold=0.0))
    except BaseExceptionGroup as group:
        raise sole(group) from None
