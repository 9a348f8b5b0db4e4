"""The life-cycle of a turn as data: its states, their properties, and the legal moves. Pure.

A turn is no row: it exists while its lane works on it. The states of its messages in the store are in
gatewayd/model/lifecycle.py. docs/decisions/0011-a-turn-has-one-state.md says how to add a state.
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
"""``preparing``: something is committed or opened before the call of the core. ``resting``: the turn only waits, and its messages
count as waiting. ``core``: a call of the core runs. ``over``: the core is not called any more."""
Slot = Literal["keeps", "seeks", "none"]
"""The slot of a turn among ``limits.turns``. A turn that ``keeps`` its slot works, and delays a stop of the daemon. A turn that
``seeks`` a slot, or needs ``none``, has released it."""


class TurnStage(Struct, frozen=True):
    """The properties of a state, and the states that may follow."""

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
    """A move that the table does not allow: a bug of the hub."""

    def __init__(self, source: TurnState, target: TurnState) -> None:
        super().__init__(f"a turn that is {source} cannot become {target}")
