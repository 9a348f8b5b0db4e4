"""Which ``Host`` and ``Origin`` headers are ours. Pure.

A browser on the operator's machine can be made to send requests here by any page it shows. By DNS rebinding such a page even
is "same origin", but its ``Host`` is the attacker's name; otherwise its ``Origin`` is. Both are refused before anything else
is looked at, so that a foreign page reaches nothing, not even with a token that it found.
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_WILDCARDS: Final = ("", "0.0.0.0", "::", "*")  # noqa: S104 - compared, not bound


class HostPolicy:
    """The names under which this server may be spoken to.

    Always: localhost, 127.0.0.1 and [::1]; the bind address; public_url's host; ``allowed_hosts``; and the address a
    connection has reached us under (an address cannot be rebound, so a wildcard bind needs no list). A port after the name
    does not matter, except for an entry of ``allowed_hosts`` that has one.
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
        """``origin`` is ours when it is the origin of ``host`` (the header's value, allowed already), of public_url, or of an
        allowed host; here the port does matter, as another port is another program. ``null``, which sandboxed pages and files
        send, is not ours."""
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
