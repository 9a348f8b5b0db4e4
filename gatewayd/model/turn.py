"""The life-cycle of a turn as data: its states, which may follow which, and what holds in each. Pure.

A turn is no row: it lives as long as its lane works on it. What its messages are in the store is in gatewayd/model/lifecycle.py.
docs/decisions/0011-a-turn-has-one-state.md says how to add a state.
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

TurnState = Literal[
    "preparing",
    "waiting_for_agent",
    "waiting_for_slot",
    "at_core",
    "waiting_for_people",
    "moving",
    "ending",
    "ended",
]
Phase = Literal["preparing", "resting", "core", "over"]
"""``preparing``: something is committed or opened before the core is asked. ``resting``: the turn only waits, and its messages
count as waiting ones. ``core``: a call of the core is under way. ``over``: the core is asked no more."""
Slot = Literal["keeps", "seeks", "none"]
"""What a turn does about its slot among ``limits.turns``. One that ``keeps`` it works, and holds up a stop of the daemon;
one that ``seeks`` or wants ``none`` has given it to another."""


class TurnStage(Struct, frozen=True):
    """What holds in a state, and which states may follow it."""

    phase: Phase
    slot: Slot
    becomes: tuple[TurnState, ...]


TURN: Final[Mapping[TurnState, TurnStage]] = {
    "preparing": TurnStage("preparing", "keeps", ("waiting_for_agent", "at_core", "moving", "ending", "ended")),
    "waiting_for_agent": TurnStage("resting", "none", ("waiting_for_slot", "moving", "ending", "ended")),
    "waiting_for_slot": TurnStage("resting", "seeks", ("preparing", "moving", "ending", "ended")),
    "at_core": TurnStage("core", "keeps", ("preparing", "waiting_for_people", "moving", "ending", "ended")),
    "waiting_for_people": TurnStage("core", "seeks", ("preparing", "at_core", "moving", "ending", "ended")),
    "moving": TurnStage("over", "keeps", ("ending", "ended")),
    "ending": TurnStage("over", "keeps", ("ended",)),
    "ended": TurnStage("over", "none", ()),
}
"""In the order of the documentation. A turn whose process ends is ``ended`` from any state, and its rows stay open."""


class IllegalMove(Exception):
    """A turn was to go where its table does not let it: a bug of the hub."""

    def __init__(self, source: TurnState, target: TurnState) -> None:
        super().__init__(f"a turn that is {source} cannot become {target}")
