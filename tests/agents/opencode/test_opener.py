"""Servers that can be used, and those that cannot."""

from typing import Any

import pytest
from trio.testing import MockClock

from gatewayd.agents.opencode.opener import _addresses
from gatewayd.model.errors import NeedsOperator, TryAgain
from gatewayd.model.secret import Secret
from gatewayd.ports.agent import Final
from tests.agents.opencode.house import FakeTurn, open_core
from tests.fakes.opencode_server import FakeOpenAgentic, FakeOpenCode

BOTH = pytest.mark.parametrize("kind", [FakeOpenCode, FakeOpenAgentic])


@pytest.mark.parametrize(
    ("settings", "error", "reason"),
    [
        ({}, NeedsOperator, "refuses the credentials"),
        ({"password": Secret("wrong password")}, NeedsOperator, "refuses the credentials"),
        ({"url": "http://127.0.0.1:1"}, TryAgain, "cannot connect"),
    ],
)
async def test_a_server_that_cannot_be_used(
    autojump_clock: MockClock, settings: dict[str, Any], error: type[Exception], reason: str
) -> None:
    server = FakeOpenCode(password="right password")
    async with server.serve():
        with pytest.raises(error, match=reason):
            async with open_core(server, **settings):
                pass
        async with open_core(server, password=Secret("right password")) as core:
            assert await core.run(FakeTurn(await core.new_session("k"), "hi")) == Final("echo: hi")
            assert core.endpoint().headers["authorization"].startswith("Basic ")
    token = FakeOpenAgentic(token="the token of it")
    async with token.serve():
        with pytest.raises(NeedsOperator, match="credentials"):
            async with open_core(token):
                pass
        async with open_core(token, token=Secret("the token of it")) as core:
            assert core.facts().version == "openagentic-sdk"


async def test_another_server_is_told_from_ours(autojump_clock: MockClock) -> None:
    server = FakeOpenCode()
    server.version = 7  # type: ignore[assignment]
    async with server.serve():
        with pytest.raises(NeedsOperator, match="neither OpenCode's nor OpenAgentic's"):
            async with open_core(server):
                pass


async def test_two_agents_do_not_share_an_openagentic_server(autojump_clock: MockClock) -> None:
    server = FakeOpenAgentic()
    async with server.serve():
        async with open_core(server):
            for host in ("127.0.0.1", "localhost", "LOCALHOST"):
                with pytest.raises(NeedsOperator, match="another agent uses"):
                    async with open_core(server, url=f"http://{host}:{server.http.port}/"):
                        pass
        async with open_core(server) as core:
            assert core.facts().version == "openagentic-sdk"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://[::1]:4096", ("loopback", 4096)),
        ("http://127.0.0.2:4096/x", ("loopback", 4096)),
        ("http://0.0.0.0:80", ("loopback", 80)),
        ("http://192.0.2.1", ("192.0.2.1", 80)),
        ("https://192.0.2.1", ("192.0.2.1", 443)),
    ],
)
async def test_where_a_server_is(url: str, address: tuple[str, int]) -> None:
    assert await _addresses(url) == {address}
