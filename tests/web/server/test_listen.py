"""Sockets that somebody else holds: which are taken, and that a server which lets go of them turns nobody away."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from gatewayd.model.errors import GatewayError, NeedsOperator
from gatewayd.web.server.connection import FIRST_HEAD_SECONDS, LAST_HEAD_SECONDS
from gatewayd.web.server.listen import adopt_listeners, endpoint_file, url_of
from tests.web.client import RawClient, dial, request
from tests.web.site import Site, open_site, token_of

HEALTH = request("GET", "/health")
WEBHOOK = request("POST", "/v1/webhooks/hook/nobody", body=b"x")


def listening(family: socket.AddressFamily = socket.AF_INET, address: object = ("127.0.0.1", 0)) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    one.bind(address)  # type: ignore[arg-type]
    one.listen()
    return one


def handed_over(one: socket.socket) -> int:
    """A descriptor of its own, as an heir gets it."""
    return one.dup().detach()


def is_open(fd: int) -> bool:
    try:
        socket.socket(fileno=fd).detach()
    except OSError:
        return False
    return True


# Adopting.


async def test_listening_sockets_are_adopted_tcp_first(tmp_path: Path) -> None:
    with (
        closing(listening(socket.AF_UNIX, str(tmp_path / "s"))) as unix,
        closing(listening()) as v4,
        closing(listening(socket.AF_INET6, ("::1", 0))) as v6,
    ):
        listeners = adopt_listeners({handed_over(unix): "u", handed_over(v4): "4", handed_over(v6): "6"})
        assert [url_of(one) for one in listeners] == [
            f"http://127.0.0.1:{v4.getsockname()[1]}",
            f"http://[::1]:{v6.getsockname()[1]}",
            f"unix:{tmp_path}/s",
        ]
        for one in listeners:
            await one.aclose()


def _datagram() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    return one


def _connected() -> socket.socket:
    one, other = socket.socketpair()
    other.close()
    return one


def _bound() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.bind(("127.0.0.1", 0))
    return one


def _packets() -> socket.socket:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.bind(f"\0gatewayd-test-{id(one)}")
    one.listen()
    return one


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (_datagram, "AF_INET SOCK_DGRAM, not listening"),
        (_connected, "AF_UNIX SOCK_STREAM, not listening"),
        (_bound, "AF_INET SOCK_STREAM, not listening"),
        (_packets, "AF_UNIX SOCK_SEQPACKET"),
        (lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW), "AF_NETLINK SOCK_RAW, not listening"),
    ],
)
async def test_anything_else_is_refused_in_words(make: Callable[[], socket.socket], found: str) -> None:
    with closing(make()) as wrong, closing(listening()) as right:
        first, second = handed_over(right), handed_over(wrong)
        with pytest.raises(NeedsOperator) as error:
            adopt_listeners({first: "gatewayd.socket", second: "other.socket"})
        assert str(error.value) == (
            f"descriptor {second} ('other.socket'), which was handed over to listen on, is of the wrong kind ({found}): "
            "ListenStream=HOST:PORT or a path is expected, with Accept=no"
        )
        assert not is_open(first)
        assert not is_open(second)


async def test_what_is_no_socket_is_refused_in_words(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(NeedsOperator, match=r"'x'.* is no socket: Socket operation"):
        adopt_listeners({file.fileno(): "x"})


async def test_a_unix_socket_alone_is_refused_in_words(tmp_path: Path) -> None:
    with closing(listening(socket.AF_UNIX, str(tmp_path / "s"))) as unix:
        fd = handed_over(unix)
        with pytest.raises(NeedsOperator, match="gatewayctl needs ListenStream=HOST:PORT"):
            adopt_listeners({fd: ""})
        assert not is_open(fd)


# Letting go.


class Heir:
    """A server on a socket that outlives it."""

    def __init__(self, site: Site, held: socket.socket) -> None:
        self.server = site.serve(max_connections=100, max_body_bytes=1000)
        self._held = held

    @property
    def url(self) -> str:
        return self.server.urls[0]

    async def serve(self, task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
        await self.server.serve(adopt_listeners({handed_over(self._held): ""}), task_status=task_status)


@asynccontextmanager
async def heir(site: Site, held: socket.socket) -> AsyncIterator[Heir]:
    """Leaving stops it, and waits for its end."""
    async with trio.open_nursery() as nursery:
        one = Heir(site, held)
        await nursery.start(one.serve)
        yield one
        one.server.stop()


async def test_who_comes_when_it_has_let_go_is_answered_by_the_next(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        with closing(listening()) as held:
            async with heir(site, held) as first:
                first.server.stop_accepting()
                await trio.sleep(0.1)
                client = await trio.open_tcp_stream(*held.getsockname())
                raw = RawClient(client)
                await raw.say(HEALTH)
                await trio.sleep(60)
                assert first.server.statistics().accepted == 0
            async with heir(site, held), client:
                assert (await raw.answer()).status == 200


async def test_what_is_under_way_is_answered_and_is_the_last(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    body = b'{"key": "late"}'
    headers = {"X-Hook-Secret": "the-secret-of-the-hook", "Content-Length": str(len(body))}
    token = {"Authorization": f"Bearer {token_of('write')}"}
    message = b'{"channel":"loopback","account":"main","peer":{"kind":"dm","id":"a"},"sender":{"id":"a"},"text":"hello"}'
    async with open_site(tmp_path) as site:
        with closing(listening()) as held:
            async with heir(site, held) as one, dial(one.url) as hook, dial(one.url) as half, dial(one.url) as slow:
                await hook.say(request("POST", "/v1/webhooks/hook/main", headers=headers))
                await half.say(WEBHOOK)
                await half.answer()
                await half.say(HEALTH[:-5])
                head = {**token, "Content-Type": "application/json", "Content-Length": str(len(message))}
                await slow.say(request("POST", "/v1/chat/inbound", headers=head))
                await trio.sleep(0.1)
                one.server.stop_accepting()
                await trio.sleep(1)
                for client, rest, status in ((hook, body, 200), (half, HEALTH[-5:], 200), (slow, message, 202)):
                    answer = await client.ask(rest)
                    assert (answer.status, answer.headers["connection"]) == (status, "close")
                    assert await client.closed()
                assert one.server.statistics().open == 0


async def test_idle_connections_end_and_a_first_request_may_still_come(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        with closing(listening()) as held:
            async with (
                heir(site, held) as one,
                dial(one.url) as used,
                dial(one.url) as hook,
                dial(one.url) as fresh,
                dial(one.url) as silent,
            ):
                await used.ask(HEALTH)
                await hook.ask(WEBHOOK)
                await trio.sleep(0.1)
                one.server.stop_accepting()
                assert await used.closed()
                assert await hook.closed()
                one.server.stop()  # a stop that follows at once takes nothing from it
                await trio.sleep(FIRST_HEAD_SECONDS / 2)
                answer = await fresh.ask(HEALTH)
                assert (answer.status, answer.headers["connection"]) == (200, "close")
                assert await silent.closed()
                await one.server.wait_stopped()


async def test_who_asks_without_a_pause_is_told_that_it_was_the_last(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    """The request that a client sends on a used connection before it can know."""
    async with open_site(tmp_path) as site:
        with closing(listening()) as held:
            async with heir(site, held) as one, dial(one.url) as used, dial(one.url) as hook:
                await used.ask(HEALTH)
                await hook.ask(WEBHOOK)
                await trio.sleep(0.1)
                one.server.stop_accepting()
                await trio.sleep(LAST_HEAD_SECONDS / 2)
                one.server.stop()  # a stop that follows takes nothing from it
                for client, asked, status in ((used, HEALTH, 200), (hook, WEBHOOK, 404)):
                    answer = await client.ask(asked)
                    assert (answer.status, answer.headers["connection"]) == (status, "close")
                assert await used.closed()
                assert await hook.closed()


async def test_a_long_answer_goes_on_until_the_stop(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    stream = request("GET", "/v1/events", headers={"Authorization": f"Bearer {token_of('read')}"})
    async with open_site(tmp_path) as site:
        with closing(listening()) as held:
            async with heir(site, held) as one, dial(one.url) as watcher:
                await watcher.say(stream)
                assert (await watcher.head())[0] == 200
                one.server.stop_accepting()
                await trio.sleep(30)
                site.gateway.events.emit("test.late")
                while b"test.late" not in (said := await watcher.chunk()):
                    assert said
                one.server.stop()
                while await watcher.chunk():
                    pass


async def test_the_host_is_checked_on_whatever_was_handed_over(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    """The configuration binds 127.0.0.1; the address a connection has reached us under counts, and a Unix socket has none."""
    async with open_site(tmp_path / "state") as site, trio.open_nursery() as nursery:
        with closing(listening(socket.AF_UNIX, str(tmp_path / "s"))) as unix, closing(listening(address=("127.0.0.9", 0))) as tcp:
            server = site.serve(max_connections=10, max_body_bytes=1000)
            urls = await nursery.start(server.serve, adopt_listeners({handed_over(unix): "", handed_over(tcp): ""}))
            assert urls == (f"http://127.0.0.9:{tcp.getsockname()[1]}", f"unix:{tmp_path}/s")
            for connect, hosts in (
                (partial(trio.open_tcp_stream, *tcp.getsockname()), {"127.0.0.9": 200, "localhost": 200, "evil.example": 421}),
                (partial(trio.open_unix_socket, str(tmp_path / "s")), {"localhost": 200, "127.0.0.9": 421, "evil.example": 421}),
            ):
                for host, status in hosts.items():
                    async with await connect() as stream:
                        answer = await RawClient(stream).ask(request("GET", "/trace", headers={"Host": host}))
                        assert (host, answer.status) == (host, status)
            server.stop()


# The file.


def test_the_endpoint_is_told_while_it_is_there(tmp_path: Path) -> None:
    with endpoint_file(tmp_path, "http://127.0.0.1:1"):
        path = tmp_path / "endpoint.json"
        assert '"http://127.0.0.1:1"' in path.read_text()
        assert path.stat().st_mode & 0o077 == 0
    assert not path.exists()


def test_an_endpoint_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match=r"endpoint\.json cannot be written"), endpoint_file(tmp_path / "missing", "http://x"):
        pass
