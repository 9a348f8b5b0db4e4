import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.cli.ctl.wording import clean, clock_time, count, duration, pretty_json, safe_json, uptime, visible
from gatewayd.kit.text.visible import is_visible

INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(st.text(alphabet=st.characters()), st.integers(1, 50))
def test_clean_text_is_one_visible_line(text: str, at_most: int) -> None:
    line = clean(text, at_most=at_most)
    assert len(line) <= at_most
    assert not [char for char in line if unicodedata.category(char) in INVISIBLE]


def test_clean_drops_whole_control_sequences_and_keeps_words_apart() -> None:
    assert clean("\x1b[31mred\x1b[0m\nnext\u202e line\x9b2J") == "red next\\u202e line"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_visible_text_hides_nothing_and_loses_nothing(text: str) -> None:
    shown = visible(text)
    assert not [char for char in shown if unicodedata.category(char) in INVISIBLE and char != "\n"]
    assert (shown == text) is all(char == "\n" or is_visible(char) for char in text)
    assert [char for char in shown if char == "\n"] == [char for char in text if char == "\n"]


def test_visible_writes_what_could_deceive_as_escapes() -> None:
    assert visible("rm \u202e-rf\x07\t/") == "rm \\u202e-rf\\x07\\t/"


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_safe_json_means_the_same(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert json.loads(safe_json(text)) == value


def test_safe_json_has_nothing_that_a_terminal_obeys() -> None:
    assert pretty_json('{"name":"\x9b31m\u202eevil"}'.encode()) == '{\n  "name": "\\u009b31m\\u202eevil"\n}'


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (0.9, "0 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (86_400, "1 d"), (1e9, "11574 d")],
)
def test_duration_is_the_largest_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_uptime_has_two_units() -> None:
    assert [uptime(seconds) for seconds in (5, 312, 7_300, 273_600)] == ["5 s", "5 min 12 s", "2 h 1 min", "3 d 4 h"]


def test_count_and_impossible_times() -> None:
    assert (count(1, "account"), count(0, "account")) == ("1 account", "0 accounts")
    assert clock_time(1e300).startswith("1000000")
