"""What "did you mean" suggests: a slip of the fingers, and nothing that is only somewhat like it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.problems import distance, nearest
from gatewayd.model.config import AccountFrame, GatewaySection, LimitsSection

KEYS = (*GatewaySection.__struct_fields__, *LimitsSection.__struct_fields__, *AccountFrame.__struct_fields__)
WORDS = st.text("abcd_", max_size=12)


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("telegrm", ["telegram", "webchat"], "telegram"),
        ("mian", ["main", "spare"], "main"),
        ("allowed_from", ["allow_from", "groups"], "allow_from"),
        ("question_timeout", ["timeout_seconds", "question_timeout_seconds"], "question_timeout_seconds"),
        ("port", ["report", "bind"], None),
        ("host", ["bot", "hook"], None),
        ("token", ["enabled", "operators", "groups"], None),
        ("slack", ["callable", "webchat", "loopback"], None),
        ("work", ["main", "word"], "word"),
        ("a", ["b"], None),
        ("x" * 101, ["x" * 101], None),
        ("", ["abc"], None),
        ("anything", [], None),
    ],
)
def test_what_is_suggested(word: str, known: list[str], found: str | None) -> None:
    assert nearest(word, known) == found


@given(st.sampled_from([key for key in KEYS if len(key) > 3]), st.data())
def test_one_slip_finds_the_key(key: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(key) - 2))
    slips = [key[:at] + key[at + 1 :], f"{key[:at]}x{key[at:]}", key[:at] + key[at + 1] + key[at] + key[at + 2 :]]
    slip = data.draw(st.sampled_from(slips))
    found = nearest(slip, KEYS)
    assert found is not None
    assert distance(slip, found) <= distance(slip, key) <= 1


@given(WORDS, WORDS, WORDS)
def test_a_distance_is_one(one: str, two: str, three: str) -> None:
    assert distance(one, two) == distance(two, one)
    assert (distance(one, two) == 0) == (one == two)
    assert abs(len(one) - len(two)) <= distance(one, two) <= max(len(one), len(two))
    assert distance(one + three, two + three) <= distance(one, two)
