"""What must hold in the memory of a daemon that has nothing to do: nothing is kept of what is over.

It is compared with a daemon that was made and never ran, part by part: whatever holds more than that one is looked at. So
what a part begins to keep tomorrow is looked at, too.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

import trio

from gatewayd.hub.gateway import Gateway
from tests.simulation.trace import Violation

_MAY_GROW: Final = {
    "SessionMap._cache": 10_000,
    "AccessControl._announced": 1000,
    "AccessControl._pending": 1000,
    "AccessControl._paired": 1000,
    "Outbox._counts": 6,
    "Outbox._queues": 100,
    # Conversations that wait, with nothing in them.
    "OutboundQueue._lines": 100,
    "OutboundQueue._timed": 100,
    "ApprovalResponses._refusals": 1000,
    "EventLog.counts": 200,
    "AdmissionControl._shares": 100,
    # What a driver has said, until it takes that back.
    "Transport._lacks": 1,
}
"""What is kept on purpose, and how much of it at most."""
_PLUGINS: Final = 10
"""One mapping for all parts, in which those of channels stay whose accounts are gone."""
_CONTAINERS = (dict, set, list, deque)


def check_at_rest(gateway: Gateway, unused: Gateway) -> None:
    """``unused`` was made of the same configuration and never ran. :raises Violation: something fills up."""
    before = dict(_sizes(unused))
    for name, size in _sizes(gateway):
        allowed = max(before.get(name, 0), _MAY_GROW.get(name.rpartition(" ")[2], 0), _PLUGINS if name.endswith("plugins") else 0)
        if size > allowed:
            raise Violation("nothing is kept", f"a daemon with nothing to do has {size} in {name}, and {allowed} are allowed")
    if gateway.backlog.waiting or gateway.turns.abandoned_tasks() or gateway.agents.abandoned:
        raise Violation("nothing is kept", f"{gateway.backlog.waiting} messages wait, or a core was abandoned")


def _sizes(gateway: Gateway) -> Iterator[tuple[str, int]]:
    parts = list(vars(gateway).values())
    # Each part by its own name, and not as what another one got when it was run.
    seen: set[int] = {id(gateway), *map(id, parts)}
    for part in parts:
        seen.discard(id(part))
        yield from _sizes_of(part, "", seen)
    for account in gateway.manager.snapshot():
        where = f"{account.channel}/{account.account}"
        yield f"{where}: outbox", gateway.outbox.depth(account.channel, account.account)
        # Its rows stay where they are while it is away.
        if account.state == "connected":
            yield from _sizes_of(gateway.outbox.queue(account.channel, account.account), f"{where}: ", seen)
            yield from _sizes_of(gateway.manager.account(account.channel, account.account), f"{where}: ", seen)


def _sizes_of(part: object, where: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    """Of a part of ours and of the parts that it holds, private ones, too: what nobody shows is what nobody bounds."""
    ours = type(part).__module__.startswith(("gatewayd.hub.", "gatewayd.actor."))
    if not ours or id(part) in seen or not hasattr(part, "__dict__"):
        return
    seen.add(id(part))
    for attribute, value in vars(part).items():
        name = f"{where}{type(part).__name__}.{attribute}"
        if isinstance(value, _CONTAINERS):
            yield name, len(value)
        elif isinstance(value, trio.Semaphore):
            yield name, -value.value
        elif isinstance(value, trio.CapacityLimiter):
            yield name, int(value.borrowed_tokens)
        else:
            yield from _sizes_of(value, f"{name} > ", seen)
