"""Where the server listens, and the file that says so."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

from gatewayd.model.config import parse_bind
from gatewayd.model.errors import NeedsOperator


async def open_listeners(bind: str) -> list[trio.SocketListener]:
    """Listen on ``host:port``; port 0 takes a free one, a host name all its addresses. The caller closes them, or hands them
    to :meth:`GatewayServer.serve`, which does.

    :raises NeedsOperator: the address is wrong, taken or not ours; the message says which.
    """
    try:
        host, port = parse_bind(bind)
    except ValueError as error:
        raise NeedsOperator(f"cannot listen: {bind!r} {error}") from None
    try:
        return list(await trio.open_tcp_listeners(port, host=host))
    except OSError as error:
        raise NeedsOperator(f"cannot listen on {bind}: {error.strerror or error}") from error


def url_of(listener: trio.SocketListener) -> str:
    """The URL of a listener, with the port it really has."""
    name = listener.socket.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


@contextmanager
def endpoint_file(state_dir: Path, url: str) -> Iterator[None]:
    """``endpoint.json`` tells gatewayctl where we are, for as long as we are there.

    :raises NeedsOperator: it cannot be written.
    """
    path = state_dir / "endpoint.json"
    part = state_dir / ".endpoint.json"
    try:
        part.write_text(json.dumps({"url": url, "pid": os.getpid()}) + "\n")
        part.chmod(0o600)
        part.replace(path)
    except OSError as error:
        raise NeedsOperator(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
