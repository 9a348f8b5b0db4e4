"""The daemon's HTTP client on streams in memory: no socket, no thread, no clock but Trio's."""

import ssl
from collections.abc import Callable, Iterable
from typing import Any

import httpcore2
import httpx2
import trio
import trio.testing

Accept = Callable[[str, trio.StapledStream[Any, Any]], None]
"""Takes the server's end of a new connection to a host. :raises OSError: the host cannot be reached."""

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def open_client(accept: Accept) -> httpx2.AsyncClient:
    """A client whose connections go to ``accept``. Idle ones are kept for ever: their age is told by the real clock."""
    transport = httpx2.AsyncHTTPTransport(verify=_NO_TLS, trust_env=False)
    transport._pool = httpcore2.AsyncConnectionPool(max_connections=256, network_backend=_Backend(accept))
    return httpx2.AsyncClient(transport=transport, trust_env=False)


class _Backend(httpcore2.AsyncNetworkBackend):
    def __init__(self, accept: Accept) -> None:
        self._accept = accept

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.memory_stream_pair()
        try:
            self._accept(host, theirs)
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        return _Connection(ours)


class _Connection(httpcore2.AsyncNetworkStream):
    """One end of a pair. The client sets no time limits on single reads: ``services.http`` bounds the whole."""

    def __init__(self, stream: trio.StapledStream[Any, Any]) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore2.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            await self._stream.send_all(buffer)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore2.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        """Of an idle connection: it can be read from when the other side has closed it."""
        return self._is_closed() if info == "is_readable" else None

    def _is_closed(self) -> bool:
        incoming = self._stream.receive_stream._incoming
        return bool(incoming._closed or incoming._data)
