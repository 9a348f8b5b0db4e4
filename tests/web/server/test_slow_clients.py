"""Clients that are slow, never read, or leave: every wait for them has an end."""

from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from gatewayd.web.server.connection import HEAD_SECONDS
from gatewayd.web.server.http1 import KEEP_ALIVE_SECONDS
from tests.web.client import request
from tests.web.server.traffic import HEALTH, WEBHOOK, approval_id, no_failure, pending_approval
from tests.web.site import open_site, token_of


async def test_a_silent_client_is_closed_without_a_word(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        began = trio.current_time()
        assert await client.closed()
        assert HEAD_SECONDS - 1 <= trio.current_time() - began <= HEAD_SECONDS + 1


@pytest.mark.parametrize("pause", [0.1, 3.0])
async def test_a_slow_head_is_408(tmp_path: Path, clock: trio.testing.MockClock, pause: float) -> None:
    async with open_site(tmp_path) as site, site.dial() as client, trio.open_nursery() as nursery:
        began = trio.current_time()

        async def trickle() -> None:
            for byte in b"GET /health HTTP/1.1\r\nX: " + b"x" * 1000:
                await client.say(bytes([byte]))
                await trio.sleep(pause)

        nursery.start_soon(trickle)
        answer = await client.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert HEAD_SECONDS - 1 <= trio.current_time() - began <= HEAD_SECONDS + 1
        nursery.cancel_scope.cancel()


async def test_a_slow_body_is_408(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    headers = {"Authorization": f"Bearer {token_of('write')}", "Content-Type": "application/json", "Content-Length": "100"}
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(request("POST", "/v1/chat/inbound", headers=headers) + b"{")
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert await client.closed()
        assert await site.rows() == []


async def test_a_slow_head_on_a_kept_connection_ends_it(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await client.ask(HEALTH)
        began = trio.current_time()
        await client.say(b"GET /hea")
        await client.rest()
        assert trio.current_time() - began <= KEEP_ALIVE_SECONDS + 1


async def test_an_idle_connection_is_closed(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await client.ask(HEALTH)
        began = trio.current_time()
        assert await client.closed()
        assert KEEP_ALIVE_SECONDS - 1 <= trio.current_time() - began <= KEEP_ALIVE_SECONDS + 1


@pytest.mark.parametrize("raw", [HEALTH, WEBHOOK], ids=["requests", "webhooks"])
async def test_a_client_that_asks_and_never_reads_is_cut_off(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict], raw: bytes
) -> None:
    async with open_site(tmp_path) as site, site.dial(receive_buffer=4096) as client:
        with trio.move_on_after(60):
            for _ in range(1000):
                await client.say(raw * 100)
        assert site.server.statistics().open == 0
        assert await site.is_well()
        assert no_failure(logged)


async def test_a_half_closed_connection_is_ended(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        for raw in (b"", b"GET /hea", HEALTH, HEALTH + b"GET /hea", WEBHOOK, WEBHOOK + b"POST"):
            async with site.dial() as client:
                await client.say(raw)
                await client.stream.send_eof()
                await client.rest()
        assert await site.is_well()
        await trio.sleep(1)
        assert site.server.statistics().open == 0


async def test_a_client_that_goes_while_its_request_runs_ends_the_request(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    headers = {"Authorization": f"Bearer {token_of('approvals')}"}
    async with open_site(tmp_path) as site:
        await pending_approval(site)
        async with site.dial() as client:
            await client.say(request("GET", "/v1/approvals/" + await approval_id(site) + "?wait=120", headers=headers))
            await trio.sleep(1)
            assert site.server.statistics().open == 1
        await trio.sleep(1)
        assert site.server.statistics().open == 0
