"""The table of a turn's states: whole, without a dead end, and held by the turn itself."""

from typing import get_args

import pytest
import trio

from gatewayd.hub.turns.turn import LiveTurn, WaitingMessage
from gatewayd.model.message.intents import Message
from gatewayd.model.message.route import Route
from gatewayd.model.turn import TURN, IllegalMove, TurnState
from gatewayd.ports.store import InboundRow
from tests.hub.house import EPOCH, message

STATES: tuple[TurnState, ...] = get_args(TurnState)
WAYS: dict[TurnState, tuple[TurnState, ...]] = {
    "preparing": (),
    "waiting_for_agent": ("waiting_for_agent",),
    "waiting_for_slot": ("waiting_for_agent", "waiting_for_slot"),
    "at_core": ("at_core",),
    "waiting_for_people": ("at_core", "waiting_for_people"),
    "moving": ("moving",),
    "ending": ("ending",),
    "ended": ("ended",),
}
"""How a turn comes into each state."""


def a_turn(slots: trio.Semaphore) -> LiveTurn:
    route = Route("assistant", "assistant:chat:main:dm:7", "default")
    waiting = WaitingMessage(1, InboundRow(1, message(), "received", 0), route, Message())
    return LiveTurn([waiting], slots, has_slot=True, on_move=lambda turn: None, offer=lambda question: None, now=EPOCH)


def test_every_state_has_an_entry_and_leads_to_the_end() -> None:
    assert tuple(TURN) == STATES
    assert {state for state in STATES if "ended" not in TURN[state].becomes} == {"ended"}
    assert all(state not in stage.becomes for state, stage in TURN.items()), "who is there does not come there"


def test_what_is_over_stays_over() -> None:
    over = {state for state, stage in TURN.items() if stage.phase == "over"}
    assert {later for state in over for later in TURN[state].becomes} <= over
    # Until then somebody may end it, here or for another agent.
    assert all({"moving", "ending"} <= {*TURN[state].becomes} for state in STATES if state not in over)


@pytest.mark.parametrize("source", STATES)
@pytest.mark.parametrize("target", STATES)
async def test_a_turn_goes_where_the_table_says_and_nowhere_else(source: TurnState, target: TurnState) -> None:
    slots = trio.Semaphore(0)
    turn = a_turn(slots)
    for state in WAYS[source]:
        turn.move(state)
    if target in TURN[source].becomes:
        turn.move(target)
        assert turn.state == target
    else:
        with pytest.raises(IllegalMove, match=f"a turn that is {source} cannot become {target}"):
            turn.move(target)
        assert turn.state == source
    # Whoever does not keep its slot has given it back, once.
    without = any(TURN[state].slot != "keeps" for state in ("preparing", *WAYS[source], turn.state))
    assert slots.value == without


@pytest.mark.parametrize("source", STATES)
async def test_a_stop_ends_a_turn_whatever_it_is_at_and_keeps_the_first_reason(source: TurnState) -> None:
    turn = a_turn(trio.Semaphore(0))
    for state in WAYS[source]:
        turn.move(state)
    turn.stop("interrupted")
    turn.stop("stopped")
    turn.hand_over()
    assert turn.state == ("ended" if source == "ended" else "ending")
    assert turn.stop_reason == (None if source in ("ending", "ended") else "interrupted")
