"""Queries, bodies and cookies from outside: strict, and never more than a problem of the client."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from gatewayd.kit.serving.requests import cookies_of, decode_body, decode_query, json_reply, read_body
from gatewayd.ports.channel import HttpProblem, HttpRequest


class Query(Struct, frozen=True):
    name: str = ""
    limit: Annotated[int, Meta(ge=1, le=9)] = 5


def asked(headers: dict[str, str] | None = None, *pieces: bytes) -> HttpRequest:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return HttpRequest("GET", "", "", headers or {}, "192.0.2.1", "http://here", secure=False, operator=None, body=body())


@pytest.mark.parametrize(
    ("query", "found"),
    [("", Query()), ("name=a%20b+c&limit=9", Query("a b c", 9)), ("name=", Query("")), ("name=%ff", Query("\ufffd"))],
)
def test_a_query_is_read_by_its_types(query: str, found: Query) -> None:
    assert decode_query(query, Query) == found


@pytest.mark.parametrize(
    ("query", "says"),
    [("name=a&name=b", "given 2 times"), ("nmae=a", "allowed: name, limit"), ("limit=10", "limit"), ("limit=x", "limit")],
)
def test_a_wrong_query_is_told_what_is_wrong(query: str, says: str) -> None:
    with pytest.raises(HttpProblem, match=says) as caught:
        decode_query(query, Query)
    assert (caught.value.status, caught.value.code) == (400, "bad_request")


@given(st.text(alphabet=st.characters(max_codepoint=255)))
def test_any_query_is_read_or_refused(query: str) -> None:
    with suppress(HttpProblem):
        assert 1 <= decode_query(query, Query).limit <= 9


@given(st.binary())
def test_any_body_is_read_or_refused(raw: bytes) -> None:
    with suppress(HttpProblem):
        assert isinstance(decode_body(raw, Query), Query)


async def test_a_body_is_read_in_pieces_and_an_empty_one_is_missed() -> None:
    assert await read_body(asked(None, b'{"na', b'me": "x"}'), Query) == Query("x")
    with pytest.raises(HttpProblem, match="has no body"):
        await read_body(asked(None), Query)


_NAMES = st.text("abc_-", min_size=1, max_size=3)
_VALUES = st.text("xyz0=_-.~", max_size=5)


@given(st.lists(st.tuples(_NAMES, _VALUES)), _NAMES)
def test_all_cookies_of_a_name_are_found_in_their_order(pairs: list[tuple[str, str]], name: str) -> None:
    header = "; ".join(f"{key}={value}" for key, value in pairs)
    assert cookies_of(asked({"cookie": header}), name) == [value for key, value in pairs if key == name]


@given(st.text())
def test_any_cookie_header_is_read(header: str) -> None:
    assert all(isinstance(value, str) for value in cookies_of(asked({"cookie": header}), "a"))
    assert cookies_of(asked(), "a") == []


def test_json_has_its_type_and_the_headers_that_were_asked_for() -> None:
    reply = json_reply(Query("x"), 202, headers=(("Set-Cookie", "a=1"),))
    assert (reply.status, reply.content_type, reply.headers) == (202, "application/json", (("Set-Cookie", "a=1"),))
    assert isinstance(reply.body, bytes)
    assert msgspec.json.decode(reply.body) == {"name": "x", "limit": 5}
