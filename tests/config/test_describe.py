import tomllib
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from gatewayd.config.describe import SOURCES_OF_SECRETS, allowed, default_text, field_texts, toml
from gatewayd.config.load import SECTIONS
from gatewayd.model.config import AccountFrame, AgentFrame, BindingConfig, Count, MatchConfig, Name, Seconds, TokenConfig
from gatewayd.model.secret import Secret


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Small(Struct):
    first: int = 1
    """The first
    of them."""
    second: str | None = None
    third: tuple[str, ...] = msgspec.field(default_factory=lambda: ("a",))
    """The third."""
    fourth: str = msgspec.field(default="", name="Fourth")


class Larger(Small):
    third: tuple[str, ...] = ()
    """Another third."""


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Literal["b", "a"], '"b" or "a"'),
        (Literal["c", "b", "a"] | None, '"c", "b" or "a"'),
        (Literal[1, 2], "1 or 2"),
        (Colour, '"red" or "blue"'),
        (bool, "true or false"),
        (int, "a whole number"),
        (Count, "a whole number from 1 to 10000000"),
        (Annotated[int, Meta(gt=0)], "a whole number above 0"),
        (Annotated[int, Meta(lt=9)], "a whole number below 9"),
        (Annotated[int, Meta(ge=1, lt=9)], "a whole number from 1 below 9"),
        (Seconds, "a number above 0 up to 31536000"),
        (Annotated[float, Meta(le=1)], "a number up to 1"),
        (str, "a text"),
        (str | None, "a text"),
        (int | str, "a whole number or a text"),
        (Annotated[str, Meta(min_length=1)], "a text, not empty"),
        (Annotated[str, Meta(min_length=3)], "a text of at least 3 characters"),
        (Annotated[str, Meta(max_length=3)], "a text of at most 3 characters"),
        (Annotated[str, Meta(min_length=2, max_length=3)], "a text of 2 to 3 characters"),
        (Annotated[str, Meta(pattern="^x$")], "a text that matches ^x$"),
        (Annotated[str, Meta(pattern="^x$")] | None, "a text that matches ^x$"),
        (Annotated[str, Meta(pattern="^x$", description="an x")], "an x"),
        (tuple[str, ...], "an array; each entry: a text"),
        (list[Literal["b", "a"]], 'an array; each entry: "b" or "a"'),
        (dict[Name, int], "a table; each value: a whole number"),
        (Secret, SOURCES_OF_SECRETS),
        (Secret | None, SOURCES_OF_SECRETS),
        (Small, "a table with the keys first, second, third, Fourth"),
        (Any, "any"),
    ],
)
def test_what_is_allowed_in_words(annotation: object, words: str) -> None:
    assert allowed(annotation) == words


def test_the_texts_under_the_fields() -> None:
    assert field_texts(Small) == {"first": "The first of them.", "third": "The third."}
    assert field_texts(Larger) == {"first": "The first of them.", "third": "Another third."}


def test_a_struct_without_source_has_no_texts() -> None:
    assert field_texts(msgspec.defstruct("Made", [("x", int)])) == {}


def test_every_key_of_ours_has_a_text() -> None:
    structs: list[type[Struct]] = [*SECTIONS.values(), AccountFrame, AgentFrame, BindingConfig, MatchConfig, TokenConfig]
    missing = {struct.__name__: set(struct.__struct_fields__) - set(field_texts(struct)) for struct in structs}
    assert {name: fields for name, fields in missing.items() if fields} == {}


def test_defaults_as_toml() -> None:
    assert [default_text(field) for field in msgspec.structs.fields(Small)] == ["1", "", '["a"]', '""']
    assert [default_text(field) for field in msgspec.structs.fields(TokenConfig)] == [None, '"operator"', '["read"]', ""]


PLAIN = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_toml_is_read_back_as_what_it_was(value: object) -> None:
    assert tomllib.loads(f"x = {toml(value)}") == {"x": value}
