"""The operators' way in: a Unix socket in the state directory, which is there while the port is crowded."""

import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from gatewayd.model.config import GatewaySection
from gatewayd.web.http.connection_slots import OPERATORS
from gatewayd.web.server.listen import SOCKET_NAME, open_listeners, operators_socket
from gatewayd.web.server.server import GatewayServer
from tests.web.client import RawClient, dial, request
from tests.web.site import Site, configuration, open_site, token_of

HEALTH = request("GET", "/health")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the socket is, short enough for one."""
    return tmp_path / SOCKET_NAME


@contextmanager
def opened(state_dir: Path) -> Iterator[trio.SocketListener | None]:
    """The socket, closed as the server closes it."""
    with operators_socket(state_dir) as listener:
        yield listener
        if listener is not None:
            listener.socket.close()


async def test_it_is_private_from_the_start_and_gone_at_the_end(place: Path) -> None:
    with opened(place.parent) as listener:
        assert listener is not None
        assert stat.S_ISSOCK(place.lstat().st_mode)
        assert stat.S_IMODE(place.lstat().st_mode) == 0o600
    assert not place.exists()


async def test_that_of_a_killed_daemon_is_replaced(place: Path) -> None:
    with trio.socket.socket(trio.socket.AF_UNIX) as killed:
        await killed.bind(str(place))
    with opened(place.parent) as listener:
        assert listener is not None
        await (await trio.open_unix_socket(place)).aclose()


async def test_a_link_is_replaced_and_not_followed(place: Path, tmp_path: Path) -> None:
    for target in (tmp_path / "precious", tmp_path / "nowhere"):
        (tmp_path / "precious").write_text("kept")
        place.symlink_to(target)
        with opened(place.parent) as listener:
            assert listener is not None
            assert stat.S_ISSOCK(place.lstat().st_mode)
        assert (tmp_path / "precious").read_text() == "kept"
        assert not (tmp_path / "nowhere").exists()


async def test_what_is_in_its_place_is_left_there_in_words(place: Path, logged: list[EventDict]) -> None:
    place.write_text("somebody's")
    with operators_socket(place.parent) as listener:
        assert listener is None
    assert place.read_text() == "somebody's"
    assert [(entry["event"], entry["reason"]) for entry in logged] == [("operator_socket_unavailable", "Address already in use")]


async def test_a_path_that_is_too_long_is_said(tmp_path: Path, logged: list[EventDict]) -> None:
    deep = tmp_path / ("d" * 110)
    deep.mkdir()
    with operators_socket(deep) as listener:
        assert listener is None
    assert [entry["reason"] for entry in logged] == ["AF_UNIX path too long"]


async def test_anothers_is_not_removed(place: Path) -> None:
    with opened(place.parent):
        place.unlink()
        place.write_text("somebody's")
    assert place.read_text() == "somebody's"


@asynccontextmanager
async def served(site: Site, place: Path) -> AsyncIterator[GatewayServer]:
    """A second server on the same hub, with the socket."""
    server = site.serve(max_connections=2, max_body_bytes=1000)
    async with trio.open_nursery() as nursery:
        with operators_socket(place.parent) as operators:
            await nursery.start(partial(server.serve, operators=operators), await open_listeners("127.0.0.1:0"))
            yield server
            server.stop()
            await server.wait_stopped()


async def ask(place: Path, raw: bytes) -> int:
    async with await trio.open_unix_socket(place) as stream:
        return (await RawClient(stream).ask(raw)).status


async def test_operators_get_in_while_the_port_is_full(tmp_path: Path, place: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path / "s") as site, served(site, place) as server, AsyncExitStack() as stack:
        for _ in range(5):
            await (await stack.enter_async_context(dial(server.urls[0]))).say(b"GET /hea")
        began = trio.current_time()
        host = server.urls[0].removeprefix("http://")
        token = {"Authorization": f"Bearer {token_of('read')}"}
        assert await ask(place, request("GET", "/v1/channels", host=host, headers=token)) == 200
        assert trio.current_time() - began < 1
        assert server.statistics().open == 2
        assert await ask(place, request("GET", "/v1/channels", host=host)) == 401
        assert await ask(place, request("GET", "/v1/channels", host="evil.example", headers=token)) == 421


async def test_it_has_so_many_slots(tmp_path: Path, place: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path / "s") as site, served(site, place) as server, AsyncExitStack() as stack:
        for _ in range(OPERATORS):
            await RawClient(await stack.enter_async_context(await trio.open_unix_socket(place))).say(b"GET /hea")
        waiting = RawClient(await stack.enter_async_context(await trio.open_unix_socket(place)))
        await waiting.say(HEALTH)
        with trio.move_on_after(5) as scope:
            await waiting.answer()
        assert scope.cancelled_caught
        async with dial(server.urls[0]) as client:
            assert (await client.ask(HEALTH)).status == 200
        assert (await waiting.answer()).status == 200


async def test_the_host_of_the_port_is_that_of_the_socket(tmp_path: Path, place: Path, clock: trio.testing.MockClock) -> None:
    section = GatewaySection(bind="127.0.0.1:0")
    async with open_site(tmp_path / "s", configuration(gateway=section)) as site, trio.open_nursery() as nursery:
        server = site.serve(max_connections=10, max_body_bytes=1000)
        listeners = await open_listeners("127.0.0.9:0")
        with operators_socket(place.parent) as operators:
            await nursery.start(partial(server.serve, operators=operators), listeners)
            assert await ask(place, request("GET", "/trace", host="127.0.0.9")) == 200
            server.stop()
            await server.wait_stopped()
