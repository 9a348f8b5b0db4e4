"""What must hold in the memory of a daemon that has nothing to do: nothing is kept of what is over.

It is compared with a daemon that was made and never ran, part by part: whatever holds more than that one is looked at. So
what a part begins to keep tomorrow is looked at, too.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

import trio

from gatewayd.actor.mailbox import Mailbox
from gatewayd.hub.account import AccountActor
from gatewayd.hub.gateway import Gateway
from tests.simulation.trace import Violation

_MAY_GROW: Final = {
    "SessionMap._cache": 10_000,
    "AccessControl._announced": 1000,
    "AccessControl._pending": 1000,
    "AccessControl._paired": 1000,
    "Outbox._counts": 6,
    "Outbox._open": 100,
    "Presses._refusals": 1000,
    "EventLog.counts": 200,
}
"""What is kept on purpose, and how much of it at most."""
_CONTAINERS = (dict, set, list, deque)


def check_at_rest(gateway: Gateway, unused: Gateway) -> None:
    """``unused`` was made of the same configuration and never ran. :raises Violation: something fills up."""
    before = dict(_sizes(unused))
    for name, size in _sizes(gateway):
        allowed = max(before.get(name, 0), _MAY_GROW.get(name, 0))
        if size > allowed:
            raise Violation("nothing is kept", f"a daemon with nothing to do has {size} in {name}, and {allowed} are allowed")
    if gateway.inbox.waiting or gateway.turns.left_behind or gateway.agents.left_behind:
        raise Violation("nothing is kept", f"{gateway.inbox.waiting} messages wait, or a core was left behind")


def _sizes(gateway: Gateway) -> Iterator[tuple[str, int]]:
    parts = [part for part in vars(gateway).values() if type(part).__module__.startswith("gatewayd.hub.")]
    for part in parts:
        yield from _sizes_of(type(part).__name__, part)
    for account in gateway.manager.snapshot():
        where = f"{account.channel}/{account.account}"
        actor = gateway.manager.account(account.channel, account.account)
        yield f"{where} outbox", gateway.outbox.depth(account.channel, account.account)
        yield from _sizes_of(f"{where} account", actor)
        # Its rows stay where they are while it is away.
        if account.state == "connected":
            yield from _sizes_of(f"{where} sender", _inside(actor, "_sender"))


def _sizes_of(name: str, part: object) -> Iterator[tuple[str, int]]:
    for attribute, value in vars(part).items():
        if isinstance(value, _CONTAINERS):
            yield f"{name}.{attribute}", len(value)
        elif isinstance(value, trio.Semaphore):
            yield f"{name}.{attribute} (taken)", -value.value
        elif isinstance(value, Mailbox):
            yield f"{name}.{attribute}", value.statistics().used


def _inside(thing: AccountActor, name: str) -> object:
    """A private part: what nobody shows is what nobody bounds."""
    found: object = getattr(thing, name)
    return found
