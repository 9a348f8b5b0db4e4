"""The client address of a request: that of the connection, or the one that a trusted proxy reports. Pure.

A proxy adds the address of its client at the right end of ``X-Forwarded-For`` or ``Forwarded`` (RFC 7239). The values to the left
may come from the client. So the values are read from the right, as long as the reporter of each is trusted: no client can choose
the address that it counts for.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import islice
from typing import Final

UNIX: Final = "unix"
"""The name of all Unix sockets among the trusted proxies."""
LOCAL: Final = "local"
"""The address of a client that connects over a Unix socket."""
MOST_HOPS: Final = 16
"""How many proxies behind one another are followed."""

_REMEMBERED: Final = 1024

_PAIR: Final = re.compile(
    rb'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[!#$%&\'*+.^_`|~0-9A-Za-z:\[\]-]*)\s*(;|,|\Z)', re.DOTALL
)
"""A forwarded-pair (RFC 7239, section 4) and its end. Colons and brackets are accepted without quotes, as many proxies send
them."""
_NODE: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)")
"""IPv6 in brackets or IPv4, with a port or without, or a bare IPv6."""

Headers = Iterable[tuple[bytes, bytes]]
Network = IPv4Network | IPv6Network


def canonical(address: str) -> str:
    """The one spelling of an address; IPv4 over an IPv6 socket becomes IPv4. Any other text is returned as it is."""
    found = _parse(address)
    return address if found is None else str(found)


@lru_cache(maxsize=_REMEMBERED)
def network_of(address: str) -> str:
    """The unit that counts as one client: an IPv4 address, or an IPv6 /64, which is the least that a customer gets."""
    address = canonical(address)
    return str(IPv6Network((address, 64), strict=False)) if ":" in address else address


def is_loopback(address: str) -> bool:
    found = _parse(address)
    return found is not None and found.is_loopback


class TrustedProxies:
    """``gateway.trusted_proxies``: addresses, networks, and "unix".

    :raises ValueError: an entry is none of these.
    """

    def __init__(self, names: Iterable[str]) -> None:
        names = tuple(names)
        self._unix = UNIX in names
        self._networks: tuple[Network, ...] = tuple(ip_network(name) for name in names if name != UNIX)

    def trusts(self, peer: str | None) -> bool:
        """``peer`` is the address of a connection, None over a Unix socket."""
        if peer is None:
            return self._unix
        if not self._networks:
            return False
        address = _parse(peer)
        return address is not None and any(address in network for network in self._networks)

    def client_of(self, peer: str | None, headers: Headers) -> str:
        """The client address of a request. Header names are lower case.

        A value that is malformed, hidden (RFC 7239, section 6.3) or different in the two headers counts for the proxy itself.
        """
        own = LOCAL if peer is None else canonical(peer)
        if not self.trusts(peer):
            return own
        headers = tuple(headers)
        found = {
            self._follow(own, hops(value for key, value in reversed(headers) if key == name))
            for name, hops in ((b"x-forwarded-for", _hops_of_list), (b"forwarded", _hops_of_elements))
            if any(key == name for key, _ in headers)
        }
        return found.pop() if len(found) == 1 else own

    def _follow(self, reporter: str, hops: Iterator[str | None]) -> str:
        """The first address that is not trusted. ``hops`` come from the right; None: unreadable."""
        for hop in islice(hops, MOST_HOPS):
            if hop is None:
                return reporter
            reporter = hop
            if not self.trusts(hop):
                return reporter
        return reporter


def _hops_of_list(lines: Iterable[bytes]) -> Iterator[str | None]:
    """The addresses of X-Forwarded-For, from the right."""
    for line in lines:
        for node in reversed(line.split(b",")):
            yield _address_of(node.strip(b" \t"))


def _hops_of_elements(lines: Iterable[bytes]) -> Iterator[str | None]:
    """The addresses of Forwarded, from the right. A malformed line counts as one unreadable hop: an open quote of a client must
    not swallow what the proxy has added."""
    for line in lines:
        elements = _elements(line)
        if elements is None:
            yield None
            return
        yield from reversed(elements)


def _elements(line: bytes) -> list[str | None] | None:
    elements: list[str | None] = []
    values: dict[bytes, bytes] = {}
    at, end = 0, b","
    while at < len(line) or end == b";":
        pair = _PAIR.match(line, at)
        if pair is None or (name := pair[1].lower()) in values:
            return None
        values[name], at, end = pair[2], pair.end(), pair[3]
        if end != b";":
            elements.append(_address_of(_unquoted(values.get(b"for", b""))))
            values = {}
    return elements


def _unquoted(value: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", value[1:-1], flags=re.DOTALL) if value.startswith(b'"') else value


def _address_of(node: bytes) -> str | None:
    found = _NODE.fullmatch(node.decode("latin-1"))
    address = _parse(found[1] or found[2] or found[3]) if found else None
    return None if address is None else str(address)


@lru_cache(maxsize=_REMEMBERED)
def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """The address without its zone (``%eth0``); None: not an address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
