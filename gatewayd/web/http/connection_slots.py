"""Who has how many of the places that the server has for connections.

No client has more than a part of them, so that one that opens thousands of slow connections keeps nobody else out. The last few
are for who connects from this machine, so that a crowd from outside does not keep its operators out. Connections of a trusted
proxy count for nobody; requests on them count for whom the proxy says that they come from, as if these had connected themselves.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from gatewayd.web.http.addresses import Headers, TrustedProxies, is_loopback, network_of
from gatewayd.web.http.errors import RETRY_SECONDS, HttpError

RESERVED: Final = 32
"""Places for who connects from this machine: so many, and at most a tenth of all."""
OPERATORS: Final = 32
"""Places of the operators' socket, beside the others."""

Leave = Callable[[], None]


class Places:
    """``limit`` places, of which one client has ``of_one`` at most. ``refused`` counts who found none, by why: ``address`` or
    ``reserve``. The server sees to it that there are never more than ``limit``."""

    def __init__(self, limit: int, *, of_one: int, proxies: Callable[[], TrustedProxies]) -> None:
        self.limit = limit
        self.taken = 0
        self.refused: Counter[str] = Counter(address=0, reserve=0)
        self._of_one = of_one
        self._proxies = proxies
        self._open_to_all = limit - min(RESERVED, limit // 10)
        self._outside = 0
        self._held: dict[str, int] = {}

    def connect(self, peer: str | None) -> Leave:
        """Take a place for a connection from ``peer`` (None: over a Unix socket). The caller gives it back, once.

        :raises HttpError: too_many_requests or overloaded: there is none for that peer.
        """
        proxied = self._proxies().trusts(peer)
        inside = not proxied and (peer is None or is_loopback(peer))
        if not inside and self._outside >= self._open_to_all:
            self.refused["reserve"] += 1
            raise HttpError("overloaded", "too many connections at once", retry_after=RETRY_SECONDS)
        release = nothing if proxied or peer is None else self._hold(peer)
        self.taken += 1
        self._outside += not inside
        return partial(self._disconnect, inside, release)

    def request(self, peer: str | None, headers: Headers) -> Leave:
        """The same for a request on a connection that has its place: only one that a trusted proxy passes on takes another.

        :raises HttpError: too_many_requests.
        """
        proxies = self._proxies()
        return self._hold(proxies.client_of(peer, headers)) if proxies.trusts(peer) else nothing

    def _disconnect(self, inside: bool, release: Leave) -> None:
        self.taken -= 1
        self._outside -= not inside
        release()

    def _hold(self, address: str) -> Leave:
        network = network_of(address)
        if self._held.get(network, 0) >= self._of_one:
            self.refused["address"] += 1
            raise HttpError("too_many_requests", "too many connections from this address", retry_after=RETRY_SECONDS)
        self._held[network] = self._held.get(network, 0) + 1
        return partial(self._release, network)

    def _release(self, network: str) -> None:
        self._held[network] -= 1
        if not self._held[network]:
            del self._held[network]


def nothing() -> None:
    return None
