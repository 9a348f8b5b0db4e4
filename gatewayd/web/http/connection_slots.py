"""The server's connection slots: how many there are, and how many one client may hold.

One client may hold a part of the slots only, so that thousands of slow connections of one client do not lock out the others. The
last few slots are reserved for connections from this machine, so that a crowd from outside does not lock out the operators.
Connections of a trusted proxy count for no client. A request on such a connection counts for the client that the proxy names,
as if that client had connected itself.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from gatewayd.web.http.addresses import Headers, TrustedProxies, is_loopback, network_of
from gatewayd.web.http.errors import HttpError

RESERVED: Final = 32
"""Slots reserved for connections from this machine, but at most a tenth of all."""
OPERATORS: Final = 32
"""Slots of the operators' socket, in addition to the others."""

Release = Callable[[], None]


class ConnectionSlots:
    """``limit`` slots, of which one client holds at most ``per_client``. ``refused`` counts the clients that got none, by reason:
    ``address`` (the client holds its share) or ``reserve`` (only the reserve is left). The server itself keeps to ``limit``."""

    def __init__(self, limit: int, *, per_client: int, proxies: Callable[[], TrustedProxies]) -> None:
        self.limit = limit
        self.taken = 0
        self.refused: Counter[str] = Counter(address=0, reserve=0)
        self._of_one = per_client
        self._proxies = proxies
        self._open_to_all = limit - min(RESERVED, limit // 10)
        self._outside = 0
        self._held: dict[str, int] = {}

    def connect(self, peer: str | None) -> Release:
        """Take a slot for a connection from ``peer`` (None: a Unix socket). Call the result once to release it.

        :raises HttpError: too_many_requests or overloaded: no slot is free for that peer.
        """
        proxied = self._proxies().trusts(peer)
        inside = not proxied and (peer is None or is_loopback(peer))
        if not inside and self._outside >= self._open_to_all:
            self.refused["reserve"] += 1
            raise HttpError(
                "overloaded", "the connections for clients from outside are in use: try again later (gateway.max_connections)"
            )
        release = nothing if proxied or peer is None else self._hold(peer)
        self.taken += 1
        self._outside += not inside
        return partial(self._disconnect, inside, release)

    def request(self, peer: str | None, headers: Headers) -> Release:
        """As :meth:`connect`, for a request on an open connection: only a request that a trusted proxy forwards takes a slot.

        :raises HttpError: too_many_requests.
        """
        proxies = self._proxies()
        return self._hold(proxies.client_of(peer, headers)) if proxies.trusts(peer) else nothing

    def _disconnect(self, inside: bool, release: Release) -> None:
        self.taken -= 1
        self._outside -= not inside
        release()

    def _hold(self, address: str) -> Release:
        network = network_of(address)
        if self._held.get(network, 0) >= self._of_one:
            self.refused["address"] += 1
            raise HttpError(
                "too_many_requests", "this address has too many connections: close some (gateway.max_connections_per_address)"
            )
        self._held[network] = self._held.get(network, 0) + 1
        return partial(self._release, network)

    def _release(self, network: str) -> None:
        self._held[network] -= 1
        if not self._held[network]:
            del self._held[network]


def nothing() -> None:
    return None
