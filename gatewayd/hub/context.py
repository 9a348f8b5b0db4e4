"""The context of the hub: the store, the event log, the clock and other things that most parts need."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from gatewayd.hub.events import EventLog
from gatewayd.ports.store import Store

MAIN: Final = "main"
"""The gateway of a store that is not shared."""


@dataclass(frozen=True)
class Context:
    """``now`` gives Unix seconds, ``rng`` draws the jitter, ``redact`` takes secrets out of texts. ``name`` is the name of this
    gateway among those that share the store. ``files`` is the folder of the files to send; None: there is none."""

    store: Store
    events: EventLog
    now: Callable[[], float]
    rng: Random
    redact: Callable[[str], str]
    name: str = MAIN
    files: Path | None = None
