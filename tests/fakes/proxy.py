"""A proxy on loopback: HTTP CONNECT (RFC 9110, section 9.3.6), plain HTTP by absolute URLs (RFC 9112, section 3.2.2), SOCKS 5
(RFC 1928, 1929). It notes where it was to go."""

import re
import ssl
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio


class FakeProxy:
    """``seen`` are targets, as ``CONNECT 127.0.0.1:443``. With ``password`` none but user:PASSWORD is let through."""

    def __init__(self, password: str | None = None) -> None:
        self.password = password
        self.seen: list[str] = []
        self.address = ""

    async def serve_http(self, stream: trio.SocketStream) -> None:
        head = await _until(stream, b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        self.seen.append(f"{method} {re.sub(r'/bot.*', '/', target)}")
        if not self._lets_in(head):
            await stream.send_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        url = urlsplit(f"//{target}" if method == "CONNECT" else target)
        there = await trio.open_tcp_stream(str(url.hostname), url.port or 80)
        if method == "CONNECT":
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            head = re.sub(rb"(?im)^(proxy-authorization|connection):.*\r\n", b"", head)
            await there.send_all(head.replace(target.encode(), url.path.encode(), 1)[:-2] + b"Connection: close\r\n\r\n")
        await relay(stream, there)

    def _lets_in(self, head: bytes) -> bool:
        return self.password is None or b64encode(f"user:{self.password}".encode()) in head

    async def serve_socks(self, stream: trio.SocketStream) -> None:
        greeting = await stream.receive_some(257)
        await stream.send_all(b"\x05\x00" if self.password is None else b"\x05\x02")
        assert greeting[0] == 5
        if self.password is not None:
            given = await stream.receive_some(513)
            is_right = given == b"\x01\x04user" + bytes([len(self.password)]) + self.password.encode()
            await stream.send_all(b"\x01\x00" if is_right else b"\x01\x01")
            if not is_right:
                return
        asked = await stream.receive_some(262)
        assert asked[:3] == b"\x05\x01\x00"
        host = ".".join(map(str, asked[4:8])) if asked[3] == 1 else asked[5:-2].decode()
        port = int.from_bytes(asked[-2:], "big")
        self.seen.append(f"SOCKS {host}:{port}")
        there = await trio.open_tcp_stream(host, port)
        await stream.send_all(b"\x05\x00\x00\x01" + bytes(6))
        await relay(stream, there)


@asynccontextmanager
async def open_proxy(kind: str = "http", *, password: str | None = None) -> AsyncIterator[FakeProxy]:
    """``kind`` is http or socks."""
    proxy = FakeProxy(password)
    async with listening(proxy.serve_http if kind == "http" else proxy.serve_socks) as port:
        proxy.address = f"127.0.0.1:{port}"
        yield proxy


def trusted_certificate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """For 127.0.0.1, and trusted by whoever reads SSL_CERT_FILE."""
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -keyout key.pem -out cert.pem"
    subprocess.run([*made.split(), "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True, cwd=folder)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "cert.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@asynccontextmanager
async def open_tls_front(context: ssl.SSLContext, port: int) -> AsyncIterator[int]:
    """TLS on a port of its own in front of a server without; yields that port."""

    async def serve(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await relay(tls, await trio.open_tcp_stream("127.0.0.1", port))

    async with listening(serve) as own:
        yield own


@asynccontextmanager
async def listening(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            await serve(stream)

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield int(listener.socket.getsockname()[1])
        nursery.cancel_scope.cancel()


async def relay(one: trio.abc.Stream, other: trio.abc.Stream) -> None:
    """Until either side ends."""
    async with one, other, trio.open_nursery() as nursery:

        async def copy(source: trio.abc.Stream, sink: trio.abc.Stream) -> None:
            try:
                while data := await source.receive_some(65536):
                    await sink.send_all(data)
            except trio.BrokenResourceError:
                pass
            nursery.cancel_scope.cancel()

        nursery.start_soon(copy, one, other)
        nursery.start_soon(copy, other, one)


async def _until(stream: trio.SocketStream, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        part = await stream.receive_some(1)  # what is behind the end is for the other side
        if not part:
            raise trio.BrokenResourceError
        data += part
    return data
