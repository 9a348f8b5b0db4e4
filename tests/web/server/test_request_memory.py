"""What requests hold in memory before they are answered: nothing of what nobody will take, and a bound for all of it together."""

from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.web.http.errors import HttpError
from gatewayd.web.server import request_memory
from gatewayd.web.server.request_memory import OWN_BYTES, ConnectionMemory, RequestMemory
from tests.web.client import request
from tests.web.hook import SECRET
from tests.web.site import MAX_BODY, Site, open_site, token_of

LARGE = b"x" * (MAX_BODY - 1)  # one byte is missing
POOL = 4 * MAX_BODY - 2 * OWN_BYTES
"""Four such bodies fit, five do not."""


def begun(target: str, **headers: str) -> bytes:
    """A request whose last byte does not come."""
    return request("POST", target, headers={"Content-Length": str(MAX_BODY), **headers}, body=LARGE)


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/v1/webhooks/nothing/here", {}, 404),
        ("/v1/webhooks/loopback/main", {}, 404),
        ("/v1/webhooks/hook/main", {"X-Hook-Secret": "wrong"}, 401),
        ("/v1/webhooks/hook/plain", {}, 404),
        ("/v1/nothing", {}, 404),
        ("/v1/chat/inbound", {"Content-Type": "application/json"}, 401),
        ("/v1/approvals/none", {"Authorization": f"Bearer {token_of('read')}"}, 403),
        ("/v1/console/login", {"Content-Type": "application/json"}, 413),
    ],
)
async def test_what_nobody_will_take_is_refused_before_its_body_is_there(
    tmp_path: Path, clock: trio.testing.MockClock, target: str, headers: dict[str, str], status: int
) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await client.say(request("POST", target, headers={"Content-Length": str(MAX_BODY), **headers}))
        assert (await client.answer()).status == status
        assert await client.closed()


async def test_large_bodies_share_one_pool(
    tmp_path: Path, clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many that never end: the pool is full, small requests go on, and what ends gives back its part."""
    monkeypatch.setattr(request_memory, "POOL_BYTES", POOL)
    secret = {"X-Hook-Secret": SECRET}
    async with open_site(tmp_path) as site:
        statuses: list[int] = []
        async with trio.open_nursery() as nursery:
            for number in range(6):
                target = "/v1/webhooks/hook/main" if number % 2 else "/v1/chat/inbound"
                headers = secret if number % 2 else {"Authorization": f"Bearer {token_of('write')}"}
                nursery.start_soon(_begin, site, begun(target, **headers), statuses)
            await trio.sleep(1)
            assert statuses == [503, 503]
            assert site.server._request_memory.used <= POOL
            async with site.dial() as client:
                answer = await client.ask(request("POST", "/v1/webhooks/hook/main", headers=secret, body=b'{"key": "1"}'))
            assert answer.status == 200
        assert sorted(statuses) == [408] * 4 + [503] * 2
        await trio.sleep(5)
        assert site.server._request_memory.used == 0
        async with site.dial() as client:
            body = b'{"key": "2"}' + b" " * (MAX_BODY - 100)
            assert (await client.ask(request("POST", "/v1/webhooks/hook/main", headers=secret, body=body))).status == 200
        await trio.testing.wait_all_tasks_blocked()
        assert site.server._request_memory.used == 0


async def _begin(site: Site, message: bytes, statuses: list[int]) -> None:
    async with site.dial() as client:
        await client.say(message)
        statuses.append((await client.answer()).status)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2 * OWN_BYTES) | st.none())))
def test_the_pool_is_what_its_connections_hold(steps: list[tuple[int, int | None]]) -> None:
    """Whatever is read and answered in whatever order: never more than the limit, and nothing when all is answered."""
    pool = RequestMemory(max_body_bytes=1)
    pool.limit = 3 * OWN_BYTES
    connections: list[ConnectionMemory] = [pool.open() for _ in range(5)]
    read = [0] * 5
    for which, count in steps:
        if count is None:
            connections[which].clear()
            read[which] = 0
            continue
        own = [max(0, each - OWN_BYTES) for each in read]
        fits = sum(own) - own[which] + max(0, read[which] + count - OWN_BYTES) <= pool.limit
        try:
            connections[which].add(count)
        except HttpError:
            assert not fits
            read[which] = 0
        else:
            assert fits
            read[which] += count
        assert pool.used == sum(max(0, each - OWN_BYTES) for each in read)
    for connection in connections:
        connection.clear()
    assert pool.used == 0
