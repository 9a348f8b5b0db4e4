"""The accelerator answers byte for byte as the route behind it: the same requests to a server with it and to one without."""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import takewhile
from pathlib import Path

import anyio
import msgspec
import pytest
import trio
import trio.testing
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from gatewayd.model.config import LimitsSection
from gatewayd.web.server.listen import open_listeners
from gatewayd.web.server.server import GatewayServer
from tests.examples import examples
from tests.web import hook
from tests.web.client import chunked, dial, request
from tests.web.site import Site, configuration, open_site

MAIN = "/v1/webhooks/hook/main"
KNOWN = {"X-Hook-Secret": hook.SECRET, "Content-Type": "application/json", "X-Request-Id": "r-1"}
_VARIES = re.compile(rb"(?i)(?<=\r\n)(date: [^\r]*|x-request-id: [0-9a-f]{16})(?=\r\n)")


HANGS_UP = b""
"""Nothing is said after this: it would be the rest of a body, and then no request."""


class Pair(Struct):
    """Two servers over one hub: in front of the first one's routes is the accelerator."""

    site: Site
    servers: Sequence[GatewayServer]

    async def same_answers(self, *pieces: bytes) -> bytes:
        """What both answer to these pieces, said one after the other: everything until they close. Not the time, nor an id of
        their own."""
        answers = [await _conversation(server, pieces) for server in self.servers]
        fast, reference = (_VARIES.sub(b"(varies)", answer) for answer in answers)
        assert fast == reference
        return fast


async def _conversation(server: GatewayServer, pieces: Sequence[bytes]) -> bytes:
    async with dial(server.urls[0]) as client:
        for piece in takewhile(bool, pieces):
            await client.say(piece)
            await trio.testing.wait_all_tasks_blocked()
        with suppress(trio.BrokenResourceError):
            await client.stream.send_eof()
        return await client.rest()


@asynccontextmanager
async def open_pair(state_dir: Path, limits: LimitsSection | None = None) -> AsyncIterator[Pair]:
    async with open_site(state_dir, configuration(limits=limits)) as site, anyio.create_task_group() as tasks:
        servers = [site.serve(accelerates=accelerates) for accelerates in (True, False)]
        for server in servers:
            await tasks.start(server.serve, await open_listeners("127.0.0.1:0"))
        yield Pair(site, servers)
        for server in servers:
            server.stop()


def update(key: str = "k", **fields: object) -> bytes:
    return msgspec.json.encode({"key": key, **fields})


TARGETS = st.sampled_from(
    [MAIN] * 6
    + ["/v1/webhooks/hook/plain", "/v1/webhooks/hook/nobody", "/v1/webhooks/loopback/main", "/v1/webhooks/nothing/main"]
    + [
        f"{MAIN}?a=1&b=%20x",
        f"{MAIN}/",
        "/v1/webhooks/hook",
        "/v1/webhooks//hook/main",
        "/v1/webhooks/hook/m%61in",
        "/v1/webhooks/%20/x",
    ]
)
SECRETS = st.sampled_from([{"X-Hook-Secret": hook.SECRET}] * 4 + [{"X-Hook-Secret": "wrong"}, {"X-Hook-Secret": ""}, {}])
OTHERS = st.dictionaries(
    st.sampled_from(["Content-Type", "X-Request-Id", "Connection", "Origin", "X-Odd", "Accept"]),
    st.sampled_from(["application/json", "close", "keep-alive", "Close", "a b", "caf\xe9", "r-2", "close, x"]),
    max_size=3,
)
BODIES = st.one_of(
    st.builds(
        update,
        st.sampled_from(["k1", "k2", "k3", ""]),
        text=st.text(max_size=30),
        status=st.sampled_from([200, 200, 403, 404, 500]),
    ),
    st.just(update(crash=True)),
    st.binary(max_size=30),
    st.sampled_from([b"", b"[" * 5000, b"\xff\xfe", update(text="x" * 15_000)]),
)
# Not here: what is answered while some of the request is still to be read (more than 16 KiB, or after "100 Continue"). Whether
# the connection goes on then depends on which of the two comes first, also without the accelerator.
FRAMES = st.sampled_from(["exact"] * 5 + ["body later", "cut", "chunked", "none", "1.0"])


@st.composite
def requests(draw: st.DrawFn) -> list[bytes]:
    """One request, in the pieces in which it is said."""
    method, target = draw(st.sampled_from(["POST"] * 6 + ["GET", "PUT", "HEAD", "OPTIONS"])), draw(TARGETS)
    headers, body, frame = draw(OTHERS) | draw(SECRETS), draw(BODIES), draw(FRAMES)
    match frame:
        case "body later":
            return [request(method, target, headers={**headers, "Content-Length": str(len(body))}), *filter(None, [body])]
        case "cut":
            return [request(method, target, headers={**headers, "Content-Length": str(len(body) + 3)}) + body, HANGS_UP]
        case "chunked":
            return [request(method, target, headers={**headers, "Transfer-Encoding": "chunked"}) + chunked(body, 700)]
        case "none":
            return [request(method, target, headers=headers)]
        case "1.0":
            return [request(method, target, headers=headers, body=body, version="1.0")]
    return [request(method, target, headers=headers, body=body)]


class Running(Struct):
    """Both servers in a thread of their own, on a clock that jumps."""

    portal: BlockingPortal
    pair: Pair


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    clock = trio.testing.MockClock(autojump_threshold=0.005)
    with (
        start_blocking_portal("trio", backend_options={"clock": clock}) as portal,
        portal.wrap_async_context_manager(open_pair(tmp_path_factory.mktemp("pair"))) as pair,
    ):
        yield Running(portal, pair)


@pytest.mark.slow
@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(requests(), min_size=1, max_size=2), state=st.sampled_from(["ready"] * 5 + ["draining"]))
def test_generated_requests_are_answered_as_the_route_answers_them(running: Running, said: list[list[bytes]], state: str) -> None:
    async def go() -> None:
        running.pair.site.gateway.enter(state)  # type: ignore[arg-type]
        await running.pair.same_answers(*[piece for pieces in said for piece in pieces])

    running.portal.call(go)


async def test_a_webhook_is_answered_in_front_of_the_route_unless_that_is_switched_off(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with open_pair(tmp_path) as pair:
        for server, by_route in zip(pair.servers, (0, 1), strict=True):
            seen: list[object] = []
            server._app.before_request(lambda seen=seen: seen.append(1))
            await _conversation(server, [request("POST", MAIN, headers=KNOWN, body=update())])
            assert len(seen) == by_route


@pytest.mark.parametrize("what", ["stopped", "full", "refusing store", "slow journal"])
async def test_deliveries_that_are_refused_are_refused_alike(tmp_path: Path, clock: trio.testing.MockClock, what: str) -> None:
    async with open_pair(tmp_path, LimitsSection(inbox_backlog=1)) as pair:
        site = pair.site
        if what == "stopped":
            await site.gateway.manager.stop("hook", "main")
        elif what == "full":
            await site.gateway.backlog.reserve(("hook", "main"), 1)
        elif what == "refusing store":
            site.fill_disk()
        else:
            site.gateway.manager.account("hook", "main")._deliveries.total_tokens = 0
        answer = await pair.same_answers(request("POST", MAIN, headers=KNOWN, body=update(text="x" * 60_000)))
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 5" in answer


async def test_a_body_that_does_not_come_is_timed_out_alike(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_pair(tmp_path) as pair:
        answers: list[bytes] = []
        for server in pair.servers:
            async with dial(server.urls[0]) as client:
                await client.say(request("POST", MAIN, headers={**KNOWN, "Content-Length": "9"}) + b"half")
                answers.append(_VARIES.sub(b"(varies)", await client.rest()))
        assert answers[0].startswith(b"HTTP/1.1 408")
        assert answers[0] == answers[1]
