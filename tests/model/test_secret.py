import copy
import json
import pickle
from base64 import b64encode
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.model.config import TokenConfig
from gatewayd.model.secret import REDACTED, SHORTEST_PIECE, Redactor, Secret

VALUE = "123456:AAE-canary"


def test_no_way_of_printing_shows_it() -> None:
    secret = Secret(VALUE)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!s:>30}",
        f"{secret:x}",
        repr([secret]),
        repr(TokenConfig(token=secret)),
    ]
    assert [text for text in shown if VALUE in text] == []
    assert secret.reveal() == VALUE


@pytest.mark.parametrize("encode", [pickle.dumps, json.dumps, msgspec.json.encode, copy.deepcopy])
def test_it_is_not_serialised(encode: object) -> None:
    assert callable(encode)
    with pytest.raises(TypeError) as caught:
        encode(Secret(VALUE))
    assert VALUE not in str(caught.value)


def test_equality_is_by_value_and_only_with_secrets() -> None:
    assert Secret(VALUE) == Secret(VALUE)
    assert len({Secret(VALUE), Secret(VALUE)}) == 1
    assert Secret(VALUE) != Secret("other")
    assert Secret(VALUE) != VALUE


@pytest.mark.parametrize("form", [VALUE, quote(VALUE, safe=""), repr(VALUE), json.dumps(VALUE)])
def test_the_redactor_knows_the_forms_a_secret_is_written_in(form: str) -> None:
    text = Redactor([Secret(VALUE)])(f"GET /bot{form}/getMe failed")
    assert "canary" not in text
    assert text.startswith("GET /bot")
    assert text.endswith("/getMe failed")


def test_escaped_forms_are_found_too() -> None:
    value = 'pass"wörd\\with\nall'
    redact = Redactor([Secret(value)])
    for form in (value, repr(value)[1:-1], json.dumps(value)[1:-1], quote(value)):
        assert redact(f"<{form}>") == f"<{REDACTED}>"


def test_the_longer_of_two_secrets_is_taken_out_whole() -> None:
    redact = Redactor([Secret("canary-1"), Secret("canary-1-long-tail")])
    assert redact("x canary-1-long-tail y canary-1") == "x *** y ***"


def test_what_is_too_short_to_be_a_secret_is_not_taken_out() -> None:
    redact = Redactor([Secret("shorter"), Secret("")])
    assert redact("shorter than") == "shorter than"
    assert redact.longest == 0


def test_a_text_without_a_secret_is_returned_as_it_is() -> None:
    text = "nothing to see, but canary is near"
    assert Redactor([Secret("canary-1")])(text) is text
    assert Redactor()(text) is text


@given(
    secrets=st.lists(st.text(alphabet="abcdef0123", min_size=8, max_size=16), min_size=1, max_size=8),
    noise=st.lists(st.text(max_size=20), min_size=1, max_size=8),
    data=st.data(),
)
def test_whatever_the_text_no_secret_is_left(secrets: list[str], noise: list[str], data: st.DataObject) -> None:
    redact = Redactor(Secret(secret) for secret in secrets)
    text = data.draw(st.sampled_from(noise))
    for piece in noise:
        text += data.draw(st.sampled_from(secrets)) + piece
    cleaned = redact(text)
    assert [secret for secret in secrets if secret in cleaned] == []


def test_many_secrets_cost_no_more_than_one() -> None:
    redact = Redactor(Secret(f"{number:08d}:token") for number in range(5000))
    assert redact("a 00004999:token b") == f"a {REDACTED} b"
    assert redact.longest <= 2 * len("00004999:token")


@given(
    secret=st.text(alphabet="abcXYZ019-_:", min_size=20, max_size=50),
    cut=st.integers(SHORTEST_PIECE, 60),
    end=st.text(max_size=3),
)
def test_the_beginning_of_a_secret_is_replaced_where_a_text_was_cut(secret: str, cut: int, end: str) -> None:
    cleaned = Redactor([Secret(secret)])(f"reason: {secret[:cut]}{end}")
    assert secret[:SHORTEST_PIECE] not in cleaned
    assert cleaned.startswith("reason: ***")


@given(secret=st.text(alphabet="abcXYZ019-_:é", min_size=12, max_size=50), before=st.text(max_size=7), after=st.text(max_size=7))
def test_a_secret_in_base64_is_replaced_whatever_stands_around_it(secret: str, before: str, after: str) -> None:
    header = b64encode(f"{before}{secret}{after}".encode()).decode()
    cleaned = Redactor([Secret(secret)])(f"Basic {header}")
    assert REDACTED in cleaned
    around = len(b64encode(before.encode())) + len(b64encode(after.encode()))
    assert len(cleaned) <= len(f"Basic {REDACTED}") + around + 8


def test_what_only_begins_like_a_secret_for_a_few_characters_is_left() -> None:
    redact = Redactor([Secret("123456789:AAEhBP0av28")])
    assert redact("the bot 123456789 and 123456789:A") == "the bot 123456789 and 123456789:A"
