"""Event streams of the server that are forwarded, and clients that leave."""

from pathlib import Path

import trio
import trio.testing
from msgspec.structs import replace

from gatewayd.model.config import (
    AuthSection,
)
from gatewayd.web.proxy.forward import MOST_OPEN
from tests.web.attached import EVENTS, Heard, chunk, says
from tests.web.client import request
from tests.web.proxy.site import attached, basic
from tests.web.site import token_of


async def test_events_are_passed_on_as_they_come(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    go_on = trio.Event()

    async def stream(heard: Heard, connection: trio.SocketStream) -> None:
        await connection.send_all(EVENTS + chunk(b"data: one\n\n"))
        await go_on.wait()
        await connection.send_all(chunk(b"data: two\n\n") + b"0\r\n\r\n")

    async with attached(tmp_path) as (site, server, _), site.dial() as raw:
        server.answers["GET /event"] = stream
        await raw.say(request("GET", "/event", headers=basic(token_of("admin"))))
        status, headers = await raw.head()
        assert (status, headers["content-type"], headers["x-accel-buffering"]) == (200, "text/event-stream", "no")
        assert await raw.chunk() == b"data: one\n\n"
        go_on.set()
        assert await raw.chunk() == b"data: two\n\n"
        assert await raw.chunk() == b""
        assert await site.is_well()


async def test_a_stream_ends_when_its_token_is_taken_away(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    left = trio.Event()

    async def stream(heard: Heard, connection: trio.SocketStream) -> None:
        await connection.send_all(EVENTS)
        while not left.is_set():
            await connection.send_all(chunk(b": heartbeat\n\n"))
            with trio.move_on_after(10):
                assert await connection.receive_some() == b""
                left.set()

    async with attached(tmp_path) as (site, server, _), site.dial() as raw:
        server.answers["GET /event"] = stream
        await raw.say(request("GET", "/event", headers=basic(token_of("admin"))))
        await raw.head()
        for _ in range(4):
            assert await raw.chunk() == b": heartbeat\n\n"
        site.gateway.configured.replace(replace(site.gateway.config, auth=AuthSection(tokens={})))
        with trio.fail_after(40):
            while await raw.chunk():
                pass
            await left.wait()


async def test_a_client_that_leaves_ends_the_connection_to_the_server(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    left = trio.Event()

    async def stream(heard: Heard, connection: trio.SocketStream) -> None:
        await connection.send_all(EVENTS + chunk(b"data: one\n\n"))
        assert await connection.receive_some() == b""
        left.set()

    async with attached(tmp_path) as (site, server, _):
        server.answers["GET /event"] = stream
        async with site.dial() as raw:
            await raw.say(request("GET", "/event", headers=basic(token_of("admin"))))
            await raw.head()
            assert await raw.chunk() == b"data: one\n\n"
        with trio.fail_after(30):
            await left.wait()


async def test_a_client_that_does_not_read_is_cut_off_and_slows_the_server(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    sent = 0
    ended = trio.Event()

    async def flood(heard: Heard, connection: trio.SocketStream) -> None:
        nonlocal sent
        await connection.send_all(EVENTS)
        try:
            while True:
                await connection.send_all(chunk(b"data: " + b"x" * 60_000 + b"\n\n"))
                sent += 60_000
        except trio.BrokenResourceError:
            ended.set()

    async with attached(tmp_path) as (site, server, _):
        server.answers["GET /event"] = flood
        async with site.dial(receive_buffer=4096) as raw:
            await raw.say(request("GET", "/event", headers=basic(token_of("admin"))))
            with trio.fail_after(60):
                await ended.wait()
        assert sent < 20_000_000
        assert await site.is_well()


async def test_a_server_that_dies_in_the_middle_of_events_ends_the_stream(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async def die(heard: Heard, connection: trio.SocketStream) -> None:
        await connection.send_all(EVENTS + chunk(b"data: one\n\n"))

    async with attached(tmp_path) as (site, server, _), site.dial() as raw:
        server.answers["GET /event"] = die
        await raw.say(request("GET", "/event", headers=basic(token_of("admin"))))
        await raw.head()
        assert await raw.chunk() == b"data: one\n\n"
        assert await raw.chunk() == b""


async def test_clients_that_leave_at_any_moment_leave_nothing_behind(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    open_now = 0

    async def stream(heard: Heard, connection: trio.SocketStream) -> None:
        nonlocal open_now
        open_now += 1
        try:
            await trio.sleep(int(heard.target.rpartition("=")[2]) / 1000)
            await connection.send_all(EVENTS + chunk(b": hello\n\n"))
            await connection.receive_some()
        finally:
            open_now -= 1

    async with attached(tmp_path) as (site, server, client):
        server.answers = {"GET /event": stream, "GET /session": says([])}
        for number in range(2 * MOST_OPEN):
            async with site.dial() as raw:
                await raw.say(request("GET", f"/event?n={number % 7}", headers=basic(token_of("admin"))))
                await trio.sleep(number % 5 / 1000)
        with trio.fail_after(30):
            while open_now:
                await trio.testing.wait_all_tasks_blocked(0.001)
        assert (await client.get("/session")).status_code == 200
        assert await site.is_well()
