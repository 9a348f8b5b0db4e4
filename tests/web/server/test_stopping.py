"""The stop of the server: what it finishes, what it cuts, and how long it takes."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from gatewayd.web.server.listen import open_listeners
from gatewayd.web.server.server import GRACE_SECONDS, GatewayServer
from tests.web.client import RawClient, dial, request
from tests.web.server.traffic import HEALTH, WEBHOOK, approval_id, ask_for_ever, pending_approval
from tests.web.site import Site, open_site, token_of


class Stopwatch:
    """A second server on the same hub, and how long it took to stop."""

    def __init__(self, server: GatewayServer) -> None:
        self.server = server
        self.took: float | None = None
        self._began = 0.0

    @property
    def url(self) -> str:
        return self.server.urls[0]

    def dial(self, *, receive_buffer: int | None = None) -> AbstractAsyncContextManager[RawClient]:
        return dial(self.url, receive_buffer=receive_buffer)

    def stop(self) -> None:
        self._began = trio.current_time()
        self.server.stop()

    async def serve(self, task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
        async with trio.open_nursery() as nursery:
            task_status.started(await nursery.start(self.server.serve, await open_listeners("127.0.0.1:0")))
            await self.server.wait_stopped()
            self.took = trio.current_time() - self._began


@asynccontextmanager
async def stopwatch(site: Site) -> AsyncIterator[Stopwatch]:
    """The test calls ``stop``; leaving waits for the server's end."""
    watch = Stopwatch(site.serve(max_connections=100, max_body_bytes=100_000))
    async with trio.open_nursery() as nursery:
        await nursery.start(watch.serve)
        yield watch


async def test_idle_connections_do_not_delay_the_stop(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        async with stopwatch(site) as watch, watch.dial() as fresh, watch.dial() as used, watch.dial() as hook:
            await used.ask(HEALTH)
            await hook.ask(WEBHOOK)
            await trio.sleep(0.1)
            watch.stop()
            assert await fresh.closed()
            assert await used.closed()
            assert await hook.closed()
        assert watch.took is not None
        assert watch.took < 1


async def test_requests_under_way_are_finished_and_then_closed(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    body = b'{"key": "late"}'
    headers = {"X-Hook-Secret": "the-secret-of-the-hook", "Content-Length": str(len(body))}
    async with open_site(tmp_path) as site:
        async with stopwatch(site) as watch, watch.dial() as hook, watch.dial() as slow:
            await hook.say(request("POST", "/v1/webhooks/hook/main", headers=headers))
            await slow.say(request("POST", "/nowhere", headers={"Content-Length": "3"}) + b"ab")
            await trio.sleep(1)
            watch.stop()
            await trio.sleep(1)
            answer = await hook.ask(body)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await hook.closed()
        assert watch.took is not None
        assert watch.took <= GRACE_SECONDS + 0.5
        assert [row.envelope.event_key for row in await site.rows()] == ["late"]


async def test_long_waits_are_answered_early(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    headers = {"Authorization": f"Bearer {token_of('approvals')}"}
    async with open_site(tmp_path) as site:
        await pending_approval(site)
        async with stopwatch(site) as watch, watch.dial() as client:
            await client.say(request("GET", f"/v1/approvals/{await approval_id(site)}?wait=120", headers=headers))
            await trio.sleep(1)
            watch.stop()
            assert (await client.answer()).json["state"] == "pending"
        assert watch.took is not None
        assert watch.took < 1


async def test_the_new_are_refused_and_the_rude_are_cut(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    """Half a head, half a body, and clients that never read: nothing delays the stop beyond its grace."""
    stream = request("GET", "/v1/events", headers={"Authorization": f"Bearer {token_of('read')}"})
    async with open_site(tmp_path) as site:
        async with (
            stopwatch(site) as watch,
            watch.dial() as head,
            watch.dial() as body,
            watch.dial() as slow_body,
            watch.dial(receive_buffer=4096) as deaf_stream,
            watch.dial(receive_buffer=4096) as deaf,
            trio.open_nursery() as nursery,
        ):
            await head.say(b"GET /hea")
            await body.say(request("POST", "/v1/webhooks/hook/main", headers={"Content-Length": "9"}) + b"x")
            await slow_body.say(request("POST", "/nowhere", headers={"Content-Length": "9"}) + b"x")
            await deaf_stream.say(stream)
            nursery.start_soon(partial(ask_for_ever, deaf))
            for _ in range(3000):
                site.gateway.events.emit("test.flood", filler="x" * 1000)
            await trio.sleep(1)
            url = watch.url
            watch.stop()
            await trio.sleep(GRACE_SECONDS + 0.5)
            with pytest.raises(OSError, match="refused"):
                async with dial(url):
                    pass
            assert watch.server.statistics().open == 0
            nursery.cancel_scope.cancel()
        assert watch.took is not None
        assert watch.took <= GRACE_SECONDS + 1
        assert await site.is_well()


async def test_a_server_that_is_cancelled_ends_at_once(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, trio.open_nursery() as nursery:
        server = site.serve(max_connections=10, max_body_bytes=1000)
        [url] = await nursery.start(server.serve, await open_listeners("127.0.0.1:0"))
        async with dial(url, receive_buffer=4096) as deaf, trio.open_nursery() as clients:
            clients.start_soon(ask_for_ever, deaf)
            await trio.sleep(1)
            assert server.statistics().open == 1
            began = trio.current_time()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.sleep(0.1)
            clients.cancel_scope.cancel()
    assert trio.current_time() - began < 1
