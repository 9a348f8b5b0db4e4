"""Where the server listens."""

import trio

from gatewayd.model.errors import NeedsOperator


async def open_listeners(bind: str) -> list[trio.SocketListener]:
    """Listen on ``host:port``; port 0 takes a free one, a host name all its addresses. The caller closes them, or hands them
    to :meth:`GatewayServer.serve`, which does.

    :raises NeedsOperator: the address is wrong, taken or not ours; the message says which.
    """
    host, port = split_bind(bind)
    try:
        return list(await trio.open_tcp_listeners(port, host=host or None))
    except OSError as error:
        raise NeedsOperator(f"cannot listen on {bind}: {error.strerror or error}") from error


def split_bind(bind: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``. :raises NeedsOperator:"""
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise NeedsOperator(f"cannot listen on {bind!r}: host:port is needed, for example 127.0.0.1:18790")
    return host.strip("[]"), int(port)


def url_of(listener: trio.SocketListener) -> str:
    """The URL of a listener, with the port it really has."""
    name = listener.socket.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"
