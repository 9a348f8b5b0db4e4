"""An account behind a proxy: real ones on loopback, between the driver and the fake Bot API."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.channels.telegram.channel import open_telegram
from gatewayd.kit.http import create_client
from gatewayd.model.errors import NeedsOperator, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import RichText, SendText
from gatewayd.model.secret import MaybeSecret, Secret
from gatewayd.testing.channel_contract import Services
from tests.channels.telegram.rig import account_of, rig_for
from tests.fakes.bot_api import FakeBotApi
from tests.fakes.proxy import open_proxy, open_tls_front, trusted_certificate

ALICE = 4711
HELLO = SendText(Peer("dm", str(ALICE)), RichText("hello"))
PASSWORD = "canary-0f3a"


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    return trusted_certificate(tmp_path, monkeypatch)


@asynccontextmanager
async def served() -> AsyncIterator[FakeBotApi]:
    async with FakeBotApi.serve() as api:
        api.add_chat(ALICE)
        yield api


async def test_a_tunnel_to_an_https_server(certificate: ssl.SSLContext, autojump_clock: MockClock) -> None:
    async with served() as api, open_tls_front(certificate, port_of(api.url)) as port, open_proxy() as proxy:
        base = f"https://127.0.0.1:{port}"
        async with rig_for(api, api_base=base, proxy=MaybeSecret(f"http://{proxy.address}")) as rig, rig.listening():
            await rig.channel.send(HELLO, key="k")
            api.user_sends(ALICE, "and back")
            await rig.journal.wait_texts("and back")
        assert api.texts(ALICE) == ["hello"]
        assert set(proxy.seen) == {f"CONNECT 127.0.0.1:{port}"}


@pytest.mark.parametrize("password", [None, PASSWORD])
@pytest.mark.parametrize("kind", ["http", "socks"])
async def test_plain_http_through_each_kind_of_proxy(kind: str, password: str | None, autojump_clock: MockClock) -> None:
    if kind == "socks":
        pytest.importorskip("socksio")
    async with served() as api, open_proxy(kind, password=password) as proxy:
        user = "" if password is None else f"user:{password}@"
        url = f"{'http' if kind == 'http' else 'socks5'}://{user}{proxy.address}"
        async with rig_for(api, proxy=MaybeSecret(Secret(url))) as rig:
            await rig.channel.send(HELLO, key="k")
        assert api.texts(ALICE) == ["hello"]
        here = api.url.removeprefix("http://")
        assert proxy.seen == [f"POST http://{here}/" if kind == "http" else f"SOCKS {here}"]


async def test_what_a_proxy_refuses_was_not_sent_and_tells_no_secret(
    certificate: ssl.SSLContext, autojump_clock: MockClock
) -> None:
    async with served() as api, open_tls_front(certificate, port_of(api.url)) as port, open_proxy(password="another") as proxy:
        url = MaybeSecret(Secret(f"http://user:{PASSWORD}@{proxy.address}"))
        async with rig_for(api, api_base=f"https://127.0.0.1:{port}", proxy=url) as rig:
            with (
                capture_logs() as logs,
                pytest.raises(TryAgain, match=r"the proxy does not let us through: it answered 407$") as error,
            ):
                await rig.channel.send(HELLO, key="k")
        assert PASSWORD not in f"{error.value} {error.value.__context__} {logs}"
        assert api.texts(ALICE) == []


async def test_a_proxy_that_is_not_there(autojump_clock: MockClock) -> None:
    async with served() as api:
        async with open_proxy() as proxy:
            pass
        async with rig_for(api, proxy=MaybeSecret(f"http://{proxy.address}")) as rig:
            with pytest.raises(TryAgain, match="cannot connect: Connection refused"):
                await rig.channel.send(HELLO, key="k")


async def test_the_environment_is_asked_only_where_the_account_says_so(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with served() as api, open_proxy() as proxy:
        for name in ("http_proxy", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with rig_for(api) as rig:
            await rig.channel.send(HELLO, key="k")
        assert proxy.seen == []
        async with rig_for(api, proxy=MaybeSecret("environment")) as rig:
            await rig.channel.send(HELLO, key="k")
        assert len(proxy.seen) == 1
        monkeypatch.setenv("no_proxy", "example.org,127.0.0.1")
        async with rig_for(api, proxy=MaybeSecret("environment")) as rig:
            await rig.channel.send(HELLO, key="k")
        assert len(proxy.seen) == 1


async def test_a_proxy_of_the_environment_that_is_none_is_told(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", f"ftp://user:{PASSWORD}@example.org")
    async with FakeBotApi.serve() as api, create_client() as http:
        with pytest.raises(NeedsOperator, match="the proxy that the environment names must be") as error:
            async with open_telegram(account_of(api, proxy=MaybeSecret("environment")), Services(http)):
                raise AssertionError
    assert PASSWORD not in str(error.value)


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port
