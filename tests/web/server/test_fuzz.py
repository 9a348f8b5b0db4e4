"""Any bytes to the port: the server answers or closes, in time, and goes on answering others. One server for all examples."""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import pytest
import trio
import trio.testing
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from structlog.typing import EventDict

from gatewayd.web.http.errors import BODY_SECONDS
from gatewayd.web.server.connection import HEAD_SECONDS
from gatewayd.web.server.http1 import KEEP_ALIVE_SECONDS
from tests.examples import examples
from tests.web.client import chunked, request
from tests.web.site import Site, open_site

LONGEST = HEAD_SECONDS + BODY_SECONDS + KEEP_ALIVE_SECONDS + 10

fragments = st.sampled_from(
    [
        b"GET ",
        b"POST ",
        b"OPTIONS * ",
        b"CONNECT a:1 ",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"/v1/webhooks/hook/main",
        b"/v1/webhooks/",
        b"/v1/chat/inbound",
        b"/v1/events?after=0",
        b"/%ff%00/..//",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b"Host: localhost\r\n",
        b"Content-Length: 10\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        b"Expect: 100-continue\r\n",
        b"Authorization: Bearer \xff\r\n",
        b"Origin: null\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"a\r\n0123456789\r\n",
        b"0\r\n\r\n",
        b"0123456789",
        b"\x16\x03\x01",
    ]
)
requests = st.sampled_from(
    [
        request("GET", "/health"),
        request("GET", "/nowhere"),
        request("GET", "/nowhere", headers={"Connection": "Upgrade", "Upgrade": "websocket"}) + b"\x81\x00",
        request("GET", "/nowhere", headers={"Upgrade": "h2c"}),
        request("POST", "/health", body=b"x" * 20),
        request("POST", "/v1/webhooks/hook/main", body=b"x" * 20),
        request("POST", "/v1/webhooks/hook/main", headers={"Transfer-Encoding": "chunked"}) + chunked(b"x" * 20, 7),
    ]
)
streams = st.one_of(
    st.binary(max_size=500),
    st.lists(st.one_of(fragments, st.binary(max_size=8)), max_size=15).map(b"".join),
    st.lists(st.one_of(requests, fragments), max_size=6).map(b"".join),
)


class Visit(Struct):
    """What one client says, in which pieces, and whether it says that this was all."""

    raw: bytes
    cuts: list[int]
    hangs_up: bool

    def pieces(self) -> Iterator[bytes]:
        bounds = sorted({0, len(self.raw), *(cut % (len(self.raw) + 1) for cut in self.cuts)})
        return (self.raw[start:end] for start, end in pairwise(bounds))


visits = st.builds(Visit, raw=streams, cuts=st.lists(st.integers(0, 2000), max_size=6), hangs_up=st.booleans())


class Running(Struct):
    """The server in a thread of its own, on a clock that jumps."""

    portal: BlockingPortal
    site: Site


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    clock = trio.testing.MockClock(autojump_threshold=0.005)
    with (
        start_blocking_portal("trio", backend_options={"clock": clock}) as portal,
        portal.wrap_async_context_manager(open_site(tmp_path_factory.mktemp("fuzz"))) as site,
    ):
        yield Running(portal, site)


async def pay(site: Site, visit: Visit) -> None:
    """One visit. :raises trio.TooSlowError: the server neither answers nor closes."""
    with trio.fail_after(LONGEST):
        async with site.dial() as client:
            for piece in visit.pieces():
                await client.say(piece)
                await trio.testing.wait_all_tasks_blocked()
            if visit.hangs_up:
                try:
                    await client.stream.send_eof()
                except trio.BrokenResourceError:
                    return
            answered = await client.rest()
            assert not answered or answered.startswith(b"HTTP/1.1 ")


async def all_pay(site: Site, several: list[Visit]) -> None:
    async with trio.open_nursery() as nursery:
        for visit in several:
            nursery.start_soon(pay, site, visit)
    assert await site.is_well()
    assert await site.rows() == []


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(several=st.lists(visits, min_size=1, max_size=5))
def test_any_bytes_are_survived(server: Running, logged: list[EventDict], several: list[Visit]) -> None:
    server.portal.call(partial(all_pay, server.site, several))
    assert [entry for entry in logged if entry["event"] in ("connection_failed", "request_failed")] == []
