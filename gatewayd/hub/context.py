"""What nearly every part of the hub needs."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from gatewayd.hub.events import EventLog
from gatewayd.ports.store import Store


@dataclass(frozen=True)
class Context:
    """``now`` gives Unix seconds, ``rng`` draws the jitter, ``redact`` takes secrets out of what is shown."""

    store: Store
    events: EventLog
    now: Callable[[], float]
    rng: Random
    redact: Callable[[str], str]
