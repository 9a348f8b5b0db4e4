"""Where the server listens."""

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
