"""Which ``Host`` and ``Origin`` headers are allowed. Pure.

Any page that the operator's browser shows can make it send requests to this server. Such a page has a foreign ``Origin``, or, by
DNS rebinding, a foreign ``Host``. Both are refused before any other check, so a foreign page reaches nothing, even with a token.
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_WILDCARDS: Final = ("", "0.0.0.0", "::", "*")  # noqa: S104 - compared, not bound


class HostPolicy:
    """The names of this server that a request may use.

    These are localhost, 127.0.0.1 and [::1]; the bind address; the host of public_url; ``allowed_hosts``; and the local address
    of the connection (an address cannot be rebound, so a wildcard bind needs no list). The port is ignored, except for an entry
    of ``allowed_hosts`` that has one.
    """

    def __init__(self, *, bind_host: str, public_url: str | None, allowed_hosts: Iterable[str]) -> None:
        allowed = {host.lower() for host in allowed_hosts}
        public = urlsplit(public_url or "")
        names = {*_LOOPBACK, *allowed, _bracketed(public.hostname or "localhost")}
        if bind_host not in _WILDCARDS:
            names.add(_bracketed(bind_host.lower()))
        self._names = frozenset(names)
        self._origins = frozenset({*allowed, public.netloc.lower()} - {""})

    def allows_host(self, host: str | None, *, reached: str | None = None) -> bool:
        """``host`` is the header's value; ``reached`` the local address of the connection."""
        if not host:
            return False
        name = _without_port(host.lower())
        if name is None:
            return False
        return host.lower() in self._names or name in self._names or (reached is not None and name == _bracketed(reached))

    def allows_origin(self, origin: str, host: str | None) -> bool:
        """``origin`` is allowed when it is the origin of ``host`` (the header's value, already allowed), of public_url, or of an
        allowed host. The port counts, because another port is another program. ``null``, which sandboxed pages and files send,
        is refused."""
        scheme, separator, authority = origin.lower().partition("://")
        if not separator or scheme not in ("http", "https") or not authority:
            return False
        return authority in self._origins or (host is not None and authority == host.lower())


def _without_port(authority: str) -> str | None:
    """``host`` of ``host``, ``host:port``, ``[v6]`` or ``[v6]:port``; None for anything else."""
    if authority.startswith("["):
        name, bracket, port = authority.partition("]")
        name += bracket
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port[1:]
    else:
        name, _, port = authority.partition(":")
    if not name or (port and not port.isdecimal()):
        return None
    return name


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
