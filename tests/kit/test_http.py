"""The client against servers that misbehave on purpose, on real sockets."""

import gzip
import logging
import socket
import ssl
import subprocess
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2
import pytest
import trio
from trio.testing import MockClock

from gatewayd.kit.body import CannotUnpack
from gatewayd.kit.http import AnswerTooLarge, HttpReply, create_client, describe, exchange, open_stream
from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, TryAgain

SECRET = "424242:canary-token"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

Behaviour = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def server(behave: Behaviour) -> AsyncIterator[str]:
    """The URL, with a secret in it, of a server that lets ``behave`` have each connection."""

    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # the client has seen enough
            await behave(stream)

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield f"http://127.0.0.1:{port}/bot{SECRET}/method"
        nursery.cancel_scope.cancel()


def answering(answer: bytes) -> Behaviour:
    async def behave(stream: trio.SocketStream) -> None:
        while await stream.receive_some(65536):
            await stream.send_all(answer)

    return behave


async def closing(stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)


async def silent(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def echoing(stream: trio.SocketStream) -> None:
    """Sends back what it got, and so the secret."""
    await stream.send_all(await stream.receive_some(65536))


async def breaking_off(stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)
    await stream.send_all(OK[:-1])


async def dripping(stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)
    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while True:
        await stream.send_all(b"x")
        await trio.sleep(1)


async def call(
    url: str, *, repeatable: bool = False, at_most_bytes: int = 1000, timeout_seconds: float = 5.0, content: bytes = b"{}"
) -> HttpReply:
    async with create_client() as client:
        return await exchange(
            client,
            "POST",
            url,
            what="Test call",
            timeout_seconds=timeout_seconds,
            at_most_bytes=at_most_bytes,
            repeatable=repeatable,
            content=content,
        )


async def test_a_response_comes_back_whole() -> None:
    async with server(answering(b"HTTP/1.1 429 Slow\r\nRetry-After: 17\r\ncontent-length: 2\r\n\r\nno")) as url:
        reply = await call(url)
        assert (reply.status, reply.body, reply.retry_after_seconds) == (429, b"no", 17.0)
        assert reply.headers == {"retry-after": "17", "content-length": "2"}


@pytest.mark.parametrize("value", [b"soon", b"-1", b"1e9", b"99999999", b"\xb2"])
async def test_an_odd_retry_after_is_none(value: bytes) -> None:
    async with server(answering(b"HTTP/1.1 503 No\r\nretry-after: " + value + b"\r\ncontent-length: 0\r\n\r\n")) as url:
        reply = await call(url)
        assert (reply.status, reply.body, reply.retry_after_seconds) == (503, b"", None)


@pytest.mark.parametrize("behave", [closing, silent, echoing, breaking_off, dripping])
async def test_a_failure_after_the_first_byte_is_of_unknown_outcome(behave: Behaviour, autojump_clock: MockClock) -> None:
    async with server(behave) as url:
        with pytest.raises(OutcomeUnknown, match=r"^Test call: .* may or may not have been carried out$"):
            await call(url)
        with pytest.raises(TryAgain, match=r"^Test call: "):
            await call(url, repeatable=True)


async def test_a_refused_connection_is_surely_not_sent() -> None:
    async with server(silent) as url:
        pass
    with pytest.raises(TryAgain, match=r"^Test call: cannot connect: Connection refused$"):
        await call(url)


async def test_a_server_that_speaks_no_tls_was_sent_nothing() -> None:
    async with server(answering(b"HTTP/1.1 400 Plain\r\n\r\n")) as url:
        with pytest.raises(TryAgain, match="cannot connect: TLS failed: WRONG_VERSION_NUMBER"):
            await call(url.replace("http:", "https:"))


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "cannot connect: its name cannot be resolved"),
        (ConnectionResetError(104, "x"), "cannot connect: Connection reset by peer"),
        (OSError("no number"), "cannot connect"),
        (None, "cannot connect"),
    ],
)
def test_why_there_is_no_connection(cause: Exception | None, words: str) -> None:
    failure = httpx2.ConnectError("x")
    failure.__cause__ = cause
    assert describe(failure, "Call", written=False, repeatable=True).reason == f"Call: {words}"


@pytest.fixture
def untrusted(tmp_path: Path) -> ssl.SSLContext:
    """A server's context with a certificate that it signed itself."""
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x -keyout key.pem -out cert.pem"
    subprocess.run(made.split(), cwd=tmp_path, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


async def test_a_certificate_that_nobody_trusts_is_named(untrusted: ssl.SSLContext) -> None:
    async def behave(stream: trio.SocketStream) -> None:
        await trio.SSLStream(stream, untrusted, server_side=True).do_handshake()

    async with server(behave) as url:
        with pytest.raises(TryAgain, match="cannot connect: its certificate is not valid: self-signed certificate"):
            await call(url.replace("http:", "https:"))


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (httpx2.PoolTimeout("x"), "no free connection in time"),
        (httpx2.ConnectTimeout("x"), "no connection in time"),
        (httpx2.ConnectError("x"), "cannot connect"),
        (httpx2.ProxyError("407 x"), "the proxy does not let us through: it answered 407"),
        (httpx2.ProxyError("x"), "the proxy does not let us through"),
        (TimeoutError(), "no answer in time"),
    ],
)
def test_what_was_not_written_may_be_tried_again(failure: Exception, words: str) -> None:
    error = describe(failure, "Call", written=False, repeatable=False)
    assert (type(error), error.reason) == (TryAgain, f"Call: {words}")


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (httpx2.ReadTimeout("x"), "no answer in time"),
        (httpx2.WriteTimeout("x"), "the request could not be written in time"),
        (httpx2.WriteError("x"), "the connection broke"),
        (httpx2.ReadError("x"), "the connection broke"),
        (httpx2.RemoteProtocolError("x"), "closed without a proper answer"),
        (httpx2.LocalProtocolError("x"), "LocalProtocolError"),
        (CannotUnpack("packed"), "packed"),
    ],
)
def test_what_was_written_is_unknown_unless_it_can_be_repeated(failure: Exception, words: str) -> None:
    error = describe(failure, "Call", written=True, repeatable=False)
    assert (type(error), error.reason) == (OutcomeUnknown, f"Call: {words}; it may or may not have been carried out")
    assert type(describe(failure, "Call", written=True, repeatable=True)) is TryAgain


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "nonsense", "http://[::1", "http://a:b:c/"])
async def test_an_address_that_cannot_be_used_needs_the_operator(url: str) -> None:
    with pytest.raises(NeedsOperator, match="not a usable"):
        await call(f"{url}{SECRET}")


async def test_a_longer_answer_is_not_taken() -> None:
    async with server(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world")) as url:
        assert (await call(url, at_most_bytes=11)).body == b"hello world"
        with pytest.raises(AnswerTooLarge, match="longer than 10 bytes"):
            await call(url, at_most_bytes=10)


async def test_an_answer_that_came_packed_is_unpacked_within_the_bound() -> None:
    bomb = gzip.compress(b"x" * 30_000_000)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
    packed = gzip.compress(b"hello")
    async with server(answering(head % len(packed) + packed)) as url:
        assert (await call(url)).body == b"hello"
    async with server(answering(head % len(bomb) + bomb)) as url:
        with pytest.raises(AnswerTooLarge):
            await call(url)


async def test_an_answer_that_cannot_be_unpacked_says_why() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\nok"
    async with server(answering(head)) as url:
        with pytest.raises(OutcomeUnknown, match=r"call: the body, which came packed \(content-encoding: br\)") as error:
            await call(url)
        assert SECRET not in error.value.reason


async def test_redirects_are_not_followed_and_cookies_not_kept() -> None:
    requests: list[bytes] = []

    async def behave(stream: trio.SocketStream) -> None:
        while request := await stream.receive_some(65536):
            requests.append(request)
            await stream.send_all(b"HTTP/1.1 302 Found\r\nlocation: /x\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n")

    async with server(behave) as url, create_client() as client:
        for _ in range(2):
            reply = await exchange(client, "GET", url, what="Test call", timeout_seconds=5, at_most_bytes=10, repeatable=True)
            assert reply.status == 302
    assert len(requests) == 2
    assert not any(b"cookie" in request.lower() for request in requests)


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with server(answering(OK)) as url:
        assert (await call(url)).body == b"ok"


async def test_a_cancelled_call_leaves_the_client_usable() -> None:
    async with server(silent) as hung, server(answering(OK)) as url, create_client() as client:

        async def get(url: str) -> HttpReply:
            return await exchange(client, "GET", url, what="Call", timeout_seconds=60, at_most_bytes=10, repeatable=True)

        with trio.move_on_after(0.01) as scope:
            await get(hung)
        assert scope.cancelled_caught
        assert (await get(url)).status == 200


@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_call_whose_time_passed_while_we_stood_still_is_made_again_if_that_is_safe(
    repeatable: bool, mock_clock: MockClock
) -> None:
    asked = trio.Event()
    calls = 0

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal calls
        await stream.receive_some(65536)
        calls += 1
        if calls > 1:
            await stream.send_all(OK)
        asked.set()
        await trio.sleep_forever()

    async def stand_still() -> None:
        await asked.wait()
        mock_clock.jump(60)

    async with server(behave) as url, trio.open_nursery() as nursery:
        nursery.start_soon(stand_still)
        if repeatable:
            assert (await call(url, repeatable=True)).body == b"ok"
        else:
            with pytest.raises(OutcomeUnknown):
                await call(url)
    assert calls == 1 + repeatable


@pytest.mark.parametrize(
    "behave", [closing, silent, echoing, breaking_off, dripping, answering(b"x" * 2000), answering(OK * 999)]
)
async def test_no_secret_of_the_url_is_told(
    behave: Behaviour, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (None, "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    async with server(behave) as url:
        error: GatewayError | None = None
        try:
            await call(url)
        except GatewayError as caught:
            error = caught
    told = caplog.text + "".join(str(record.args) for record in caplog.records)
    if error is not None:
        assert error.__context__ is None
        assert error.__cause__ is None
        told += repr(error) + "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
    assert SECRET not in told
    assert "canary" not in told


async def read_stream(url: str, *, repeatable: bool = False) -> bytes:
    read = bytearray()
    async with create_client() as client, open_stream(client, "GET", url, what="Stream", repeatable=repeatable) as response:
        assert response.status_code == 200
        async for chunk in response.aiter_raw():
            read += chunk
    return bytes(read)


async def test_a_stream_is_read_inside_its_block() -> None:
    async with server(answering(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x8b")) as url:
        assert await read_stream(url) == b"\x1f\x8b"


async def test_what_breaks_while_a_stream_is_read_names_its_cure_and_no_url() -> None:
    async def breaking_off(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf")

    async with server(breaking_off) as url:
        errors: list[GatewayError] = []
        for repeatable in (True, False):
            with pytest.raises(GatewayError) as caught:
                await read_stream(url, repeatable=repeatable)
            errors.append(caught.value)
    assert [type(error) for error in errors] == [TryAgain, OutcomeUnknown]
    with pytest.raises(TryAgain, match="Stream: cannot connect") as refused:
        await read_stream(f"http://127.0.0.1:9/{SECRET}")
    with pytest.raises(NeedsOperator, match="not a usable"):
        await read_stream(f"ftp://host/{SECRET}")
    for error in (*errors, refused.value):
        assert "canary" not in "".join(traceback.format_exception(error))


async def test_an_error_of_the_block_s_own_passes_through_and_closes_the_stream() -> None:
    closed = trio.Event()

    async def behave(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf")
        await stream.receive_some(1)
        closed.set()

    async def fail_inside(client: httpx2.AsyncClient, url: str) -> None:
        async with open_stream(client, "GET", url, what="Stream", repeatable=True):
            raise KeyError("mine")

    async with server(behave) as url, create_client() as client:
        with pytest.raises(KeyError, match="mine"):
            await fail_inside(client, url)
        with trio.fail_after(10):
            await closed.wait()
