"""What becomes of what a core returns, and how an answer that was cut is marked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.hub.turns.outcome import MAY_BE_CUT, SORRY_FAILED, answer_of, marked, verdict_on
from gatewayd.kit.text import compose
from gatewayd.ports.agent import Final
from tests.kit.text.texts import FRAGMENTS


def test_a_cut_answer_is_sent_marked_and_stored_as_cut() -> None:
    outcome = answer_of(Final("Half an ans", cut="no\nend came"), lambda text: " ".join(text.split()))
    assert (outcome.kind, outcome.detail) == ("cut", "no end came")
    assert verdict_on(outcome, None) == ("done", "answered_cut", f"Half an ans\n\n{MAY_BE_CUT}")


@pytest.mark.parametrize("text", ["", " \n", "\u200b"])
def test_nothing_that_was_cut_is_no_answer(text: str) -> None:
    outcome = answer_of(Final(text, cut="no end came"), str)
    assert verdict_on(outcome, None) == ("dead", "agent_failed", SORRY_FAILED)


@given(st.lists(st.sampled_from([*FRAGMENTS, "```", "~~~~", "\n```py\n", "- ", "> ", "\n"])).map("".join))
def test_the_mark_is_read_as_a_sentence_wherever_the_text_was_cut(text: str) -> None:
    [body] = compose(marked(text, MAY_BE_CUT), text_format="rich", text_limit=None)
    assert body.text.endswith(MAY_BE_CUT)
    assert not any(span.kind in ("code", "pre") and span.end > len(body.text) - len(MAY_BE_CUT) for span in body.spans)
