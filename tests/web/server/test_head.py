"""Request heads: what is accepted, what is refused, and that the pieces they arrive in do not matter."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayd.web.http.errors import HttpError
from gatewayd.web.server.head import MAX_HEAD_BYTES, HeadReader, RequestHead

WEBHOOK = (
    b"POST /v1/webhooks/telegram/main?x=1 HTTP/1.1\r\nHost: bot.example\r\nContent-Length: 5\r\n"
    b"X-Secret: one\r\nX-Secret: two\r\n\r\n"
)


def read(*pieces: bytes) -> tuple[RequestHead | str, bytes]:
    """The head (or the code of the error) and what follows it."""
    reader = HeadReader()
    for index, piece in enumerate(pieces):
        try:
            head = reader.feed(piece)
        except HttpError as error:
            return error.code, b""
        if head is not None:
            return head, reader.rest + b"".join(pieces[index + 1 :])
    return "incomplete", b""


def test_a_head_is_read_and_the_rest_is_kept() -> None:
    head, rest = read(WEBHOOK + b"hello" + WEBHOOK)
    assert isinstance(head, RequestHead)
    assert (head.method, head.target) == (b"POST", b"/v1/webhooks/telegram/main?x=1")
    assert head.header(b"host") == b"bot.example"
    assert head.content_length == 5
    assert head.keep_alive
    assert not head.chunked
    assert head.raw == WEBHOOK
    assert rest == b"hello" + WEBHOOK


def test_empty_lines_before_the_request_line_are_skipped() -> None:
    head, _ = read(b"\r\n", b"\r\n" + WEBHOOK)
    assert isinstance(head, RequestHead)
    assert head.raw == WEBHOOK


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"GET / HTTP/1.1\nHost: a\n\n", "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", "bad_request"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", "bad_request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "bad_request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "bad_request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", "bad_request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", "bad_request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "bad_request"),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request"),
        (b"G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request"),
        (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "bad_request"),
        (b"GET http://elsewhere/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request"),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, WebSocket\r\n\r\n", "bad_request"),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "method_not_allowed"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http_version_not_supported"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "http_version_not_supported"),
        (b"GET /\r\n\r\n", "http_version_not_supported"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_BYTES, "head_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * MAX_HEAD_BYTES, "head_too_large"),
    ],
)
def test_what_is_refused(raw: bytes, code: str) -> None:
    assert read(raw)[0] == code


def test_the_largest_head_is_read_and_one_byte_more_is_not() -> None:
    start = b"GET / HTTP/1.1\r\nX: "
    fits = start + b"a" * (MAX_HEAD_BYTES - len(start) - 4) + b"\r\n\r\n"
    assert isinstance(read(fits)[0], RequestHead)
    assert read(start + b"a" + fits[len(start) :])[0] == "head_too_large"


def test_an_http_1_0_connection_is_not_kept() -> None:
    head, _ = read(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert isinstance(head, RequestHead)
    assert not head.keep_alive


pieces_of_requests = st.lists(
    st.sampled_from(
        [
            b"GET ",
            b"POST ",
            b"PRI * HTTP/2.0",
            b"/v1/webhooks/a/b",
            b"/",
            b" HTTP/1.1",
            b" HTTP/1.0",
            b"\r\n",
            b"\r",
            b"\n",
            b"Host: a",
            b"Content-Length: 3",
            b"Transfer-Encoding: chunked",
            b"Upgrade: websocket",
            b"Connection: close",
            b"x" * 4000,
            b"\xff",
            b" ",
        ]
    ),
    max_size=12,
).map(b"".join)


@given(st.one_of(st.binary(max_size=200), pieces_of_requests, st.just(WEBHOOK + b"body")), st.data())
@example(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", None)
def test_the_pieces_do_not_matter(raw: bytes, data: st.DataObject | None) -> None:
    """Any way to cut the same bytes gives the same head, the same rest or the same error."""
    places = range(len(raw)) if data is None else data.draw(st.lists(st.integers(0, len(raw)), max_size=20))
    bounds = [0, *sorted(places), len(raw)]
    pieces = [raw[start:end] for start, end in pairwise(bounds) if start != end]
    assert read(*pieces) == read(raw)


@pytest.mark.parametrize(("connection", "keep_alive"), [("close", False), ("Close", False), ("keep-alive", True), ("x", True)])
@pytest.mark.parametrize("length", [0, 5])
def test_who_wants_to_close_is_heard_also_without_a_body(connection: str, keep_alive: bool, length: int) -> None:
    raw = f"POST / HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\nContent-Length: {length}\r\n\r\n".encode()
    head, _ = read(raw)
    assert isinstance(head, RequestHead)
    assert head.keep_alive is keep_alive
