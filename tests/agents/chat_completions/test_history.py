"""What is remembered, and for how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.agents.chat_completions.history import Exchange, Histories, newest
from gatewayd.model.errors import AgentFailed
from gatewayd.ports.agent import Final
from tests.agents.chat_completions.state import StateInMemory

exchanges = st.lists(st.builds(Exchange, st.text(max_size=3), st.text(max_size=30), st.text(max_size=30)), max_size=8)


@given(exchanges, st.integers(0, 200))
def test_the_newest_that_fit_are_kept_and_no_fewer(all_of_them: list[Exchange], limit: int) -> None:
    kept = list(newest(all_of_them, at_most_tokens=limit))
    assert kept == all_of_them[len(all_of_them) - len(kept) :]
    assert sum(exchange.tokens for exchange in kept) <= limit
    if len(kept) < len(all_of_them):
        assert sum(exchange.tokens for exchange in all_of_them[-len(kept) - 1 :]) > limit


def test_tokens_are_estimated_by_bytes() -> None:
    assert Exchange("t", "x" * 300, "").tokens == 108
    assert Exchange("t", "字" * 100, "").tokens == 108


async def test_a_turn_is_found_by_its_id_until_it_is_pushed_out() -> None:
    histories = Histories(StateInMemory(), at_most_tokens=50)
    session = histories.new_session_id("key")
    for number in range(5):
        await histories.add(session, Exchange(f"turn-{number}", "question", "answer"))
    conversation = await histories.load(session)
    assert [conversation.reply_of(f"turn-{number}") for number in range(5)] == [None, None, *[Final("answer")] * 3]


async def test_the_last_exchange_is_kept_whatever_its_length() -> None:
    histories = Histories(StateInMemory(), at_most_tokens=50)
    session = histories.new_session_id("key")
    await histories.add(session, Exchange("short", "a", "b"))
    await histories.add(session, Exchange("long", "x" * 1000, "y" * 1000))
    assert [exchange.turn_id for exchange in (await histories.load(session)).exchanges] == ["long"]


async def test_a_new_session_takes_the_old_one_s_place() -> None:
    state = StateInMemory()
    histories = Histories(state, at_most_tokens=50)
    old, new, other = (histories.new_session_id(key) for key in ("key", "key", "another key"))
    for session in (old, other):
        await histories.add(session, Exchange("t", "a", session))
    assert (await histories.load(new)).exchanges == ()
    assert (await histories.load(old)).reply_of("t") == Final(old), "until the new one has said something"
    await histories.add(new, Exchange("t2", "a", "b"))
    assert (await histories.load(old)).exchanges == ()
    assert (await histories.load(other)).reply_of("t") == Final(other)
    assert len(state.rows) == 2


async def test_damaged_state_is_no_empty_conversation() -> None:
    state = StateInMemory()
    histories = Histories(state, at_most_tokens=50)
    session = histories.new_session_id("key")
    await histories.add(session, Exchange("t", "a", "b"))
    state.rows = dict.fromkeys(state.rows, '{"session_id":')
    with pytest.raises(AgentFailed, match="/new"):
        await histories.load(session)
