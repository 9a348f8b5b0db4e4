"""What nearly every part of the hub needs."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from gatewayd.hub.events import EventLog
from gatewayd.ports.repair import Letters, Retention, Stories
from gatewayd.ports.store import Store


class WholeStore(Store, Letters, Stories, Retention, Protocol):
    """Everything that is kept."""


@dataclass(frozen=True)
class Context:
    """``now`` gives Unix seconds, ``rng`` draws the jitter, ``redact`` takes secrets out of what is shown."""

    store: WholeStore
    events: EventLog
    now: Callable[[], float]
    rng: Random
    redact: Callable[[str], str]
