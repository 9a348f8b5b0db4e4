import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.kit.text.sanitise import is_blank, sanitise
from tests.kit.text.texts import wild_texts


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("", ""),
        ("plain ünïcödé\ttab\n", "plain ünïcödé\ttab\n"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("nul\x00 esc\x1b[31m", "nul  esc [31m"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
    ],
)
def test_sanitise(text: str, clean: str) -> None:
    assert sanitise(text) == clean


@given(wild_texts)
def test_the_result_can_be_encoded_and_is_stable(text: str) -> None:
    clean = sanitise(text)
    clean.encode("utf-8")
    assert sanitise(clean) == clean
    assert not set(clean) & {chr(code) for code in range(32) if chr(code) not in "\t\n"}
    assert len(clean) <= len(text)


@pytest.mark.parametrize(
    "text", ["", " \n\t", "\u200b\u200d", "\u202e", "\ufeff", "\u2800", "\u3164", "\xa0", "\xad", "\U000e0020"]
)
def test_what_nobody_can_see_is_blank(text: str) -> None:
    assert is_blank(text)


@given(
    st.text(st.characters(categories=("L", "N", "P", "So")), min_size=1).filter(
        lambda t: not set(t) <= set("\u3164\u1160\u115f\uffa0\u2800\ufffc")
    )
)
def test_letters_digits_and_signs_are_not_blank(text: str) -> None:
    assert not is_blank(f" {text}\u200b")
