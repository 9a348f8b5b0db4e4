"""The listening sockets: own ones, or those that the service manager holds; and the file that names them."""

import json
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Final

import structlog
import trio

from gatewayd.kit.private_file import write_private
from gatewayd.model.bind import parse_bind
from gatewayd.model.errors import NeedsOperator, StoreRefused

SOCKET_NAME: Final = "gatewayd.sock"
_TCP: Final = (socket.AF_INET, socket.AF_INET6)
_LOOPBACK_OF: Final[Mapping[str, str]] = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked for, not bound

log = structlog.get_logger("gatewayd.web")


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
        cure = "Choose another address: gateway.bind in the configuration, or --bind"
        raise NeedsOperator(f"cannot listen on {bind}: {error.strerror or error}. {cure}") from error


def adopt_listeners(fds: Mapping[int, str]) -> list[trio.SocketListener]:
    """Listen on sockets (descriptor: name) that the service manager keeps open: after a close here, new connections wait in their
    queues. The caller closes them, or passes them to :meth:`GatewayServer.serve`, which does. Those over TCP come first.

    :raises NeedsOperator: one of them does not listen for streams over TCP or as a Unix socket, or none is over TCP, as which
        gatewayctl needs one. All are closed then.
    """
    adopted: list[socket.socket] = []
    try:
        for fd, name in fds.items():
            adopted.append(_adopt(fd, name))
        if not any(one.family in _TCP for one in adopted):
            raise NeedsOperator("only Unix sockets were handed over; gatewayctl needs ListenStream=HOST:PORT in the .socket unit")
    except NeedsOperator:
        for one in adopted:
            one.close()
        raise
    adopted.sort(key=lambda one: one.family not in _TCP)
    return [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in adopted]


def _adopt(fd: int, name: str) -> socket.socket:
    what = f"descriptor {fd} ({name[:64]!r}), which was handed over to listen on,"
    try:
        adopted = socket.socket(fileno=fd)  # family and type are asked of the kernel
    except OSError as error:
        raise NeedsOperator(f"{what} is no socket: {error.strerror}") from None
    listens = adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if listens and adopted.type == socket.SOCK_STREAM and adopted.family in (*_TCP, socket.AF_UNIX):
        return adopted
    found = f"{_name(adopted.family)} {_name(adopted.type)}{'' if listens else ', not listening'}"
    adopted.close()
    raise NeedsOperator(f"{what} is of the wrong kind ({found}): ListenStream=HOST:PORT or a path is expected, with Accept=no")


def _name(kind: int) -> str:
    return kind.name if isinstance(kind, Enum) else str(kind)


def url_of(listener: trio.SocketListener) -> str:
    """The URL of a listener, with the port it really has. Of one on all addresses it is the loopback's: "0.0.0.0" is no address
    that a request can name."""
    name = listener.socket.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{name}"
    bound = str(name[0])
    address = _LOOPBACK_OF.get(bound, bound)
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{name[1]}"


@contextmanager
def operators_socket(state_dir: Path) -> Iterator[trio.SocketListener | None]:
    """Listen on ``gatewayd.sock`` in the state directory, for our own user and root. Operators use it while the port is flooded.
    If it cannot be made (a path of more than 107 bytes, a file system without sockets, another file in its place), the log says
    so, and the result is None. Its file is removed at the end. The caller that accepts from it closes it.
    """
    path = state_dir / SOCKET_NAME
    try:
        made = _bind_private(path)
    except OSError as error:
        log.warning("operator_socket_unavailable", path=str(path), reason=error.strerror or str(error))
        yield None
        return
    ours = path.lstat()
    try:
        yield trio.SocketListener(trio.socket.from_stdlib_socket(made))
    finally:
        with suppress(OSError):
            if os.path.samestat(path.lstat(), ours):
                path.unlink()


def _bind_private(path: Path) -> socket.socket:
    """A listening Unix socket with mode 0600 from its first moment. The holder of the state directory's lock is alone there, so
    an existing socket is left from a killed daemon, and is replaced, as a link is. bind and unlink follow no link (unix(7))."""
    with suppress(FileNotFoundError):
        if stat.S_IFMT(path.lstat().st_mode) in (stat.S_IFSOCK, stat.S_IFLNK):
            path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(made.fileno(), 0o600)  # what bind() gives its file, less the umask
        made.bind(str(path))
        made.listen()
    except OSError:
        made.close()
        raise
    return made


@contextmanager
def endpoint_file(state_dir: Path, url: str, *, has_socket: bool = False) -> Iterator[None]:
    """Write ``endpoint.json`` with the URL for gatewayctl, and remove it at the end.

    :raises StoreRefused: it cannot be written.
    """
    path = state_dir / "endpoint.json"
    says = {"url": url, "pid": os.getpid()} | ({"socket": SOCKET_NAME} if has_socket else {})
    try:
        write_private(path, f"{json.dumps(says)}\n".encode())
    except OSError as error:
        raise StoreRefused.of_os(error, f"{path} cannot be written") from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
