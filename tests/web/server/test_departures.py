"""Clients that close their side, or the whole connection, right behind a request: the request is carried out and committed."""

import json
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.web.client import RawClient, chunked, request
from tests.web.hook import SECRET
from tests.web.site import Site, open_site, token_of

WRITE = {"Authorization": f"Bearer {token_of('write')}", "Content-Type": "application/json"}
Leave = Callable[[RawClient], None]


def close(client: RawClient) -> None:
    client.stream.socket.close()


def half_close(client: RawClient) -> None:
    client.stream.socket.shutdown(socket.SHUT_WR)


def reset(client: RawClient) -> None:
    client.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.stream.socket.close()


def chat(key: str, *, in_chunks: bool = False, wait: int = 0) -> bytes:
    place = {"channel": "loopback", "account": "main", "peer": {"kind": "dm", "id": key}, "sender": {"id": key}}
    body = json.dumps({**place, "event_key": key, "text": "hello"}).encode()
    target = f"/v1/chat/inbound?wait={wait}"
    if in_chunks:
        return request("POST", target, headers={**WRITE, "Transfer-Encoding": "chunked"}, body=chunked(body, 40))
    return request("POST", target, headers=WRITE, body=body)


def webhook(key: str, *, in_chunks: bool = False) -> bytes:
    body = json.dumps({"key": key, "text": "hello"}).encode()
    headers = {"X-Hook-Secret": SECRET}
    if in_chunks:
        return request(
            "POST", "/v1/webhooks/hook/main", headers={**headers, "Transfer-Encoding": "chunked"}, body=chunked(body, 9)
        )
    return request("POST", "/v1/webhooks/hook/main", headers=headers, body=body)


async def journaled(site: Site) -> set[str]:
    return {row.envelope.event_key for row in await site.rows()}


@pytest.mark.parametrize("leave", [close, half_close, reset])
@pytest.mark.parametrize("in_chunks", [False, True])
async def test_a_whole_request_is_committed_whatever_becomes_of_its_sender(
    tmp_path: Path, clock: trio.testing.MockClock, leave: Leave, in_chunks: bool
) -> None:
    async with open_site(tmp_path) as site:
        for number in range(5):
            for message in (chat(f"c{number}", in_chunks=in_chunks), webhook(f"w{number}", in_chunks=in_chunks)):
                async with site.dial() as client:
                    await client.say(message)
                    if leave is reset:
                        # A reset throws away what the server has not read yet: it is to have read it.
                        await trio.testing.wait_all_tasks_blocked()
                    leave(client)
                    await trio.sleep(1)
        assert len(await journaled(site)) == 10
        assert site.server.statistics().open == 0
        assert await site.is_well()


@pytest.mark.parametrize("message", [chat("c"), chat("c", in_chunks=True), webhook("w"), request("GET", "/health")])
async def test_who_has_closed_its_side_is_answered(tmp_path: Path, clock: trio.testing.MockClock, message: bytes) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await client.say(message)
        half_close(client)
        assert (await client.answer()).status in (200, 202)
        assert await client.closed()


async def test_who_has_closed_its_side_is_told_at_once_what_there_is(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    """It may be gone: nothing waits for it for two minutes."""
    async with open_site(tmp_path) as site, site.dial() as client:
        site.gateway.turns.slots.resize(0, shared=False)
        started = trio.current_time()
        await client.say(chat("c", wait=120))
        half_close(client)
        answer = await client.answer()
        assert (answer.status, answer.json["state"]) == (202, "received")
        assert trio.current_time() - started < 5


async def test_a_stream_ends_when_its_reader_has_closed_its_side(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        async with site.dial() as client:
            await client.say(request("GET", "/v1/events", headers={"Authorization": f"Bearer {token_of('read')}"}))
            assert (await client.head())[0] == 200
            half_close(client)
            await client.rest()
        await trio.sleep(1)
        assert site.server.statistics().open == 0
