"""An account behind a proxy: the Web API, Socket Mode and files go by it."""

import pytest

from gatewayd.channels.slack.channel import open_slack
from gatewayd.kit.http import create_client
from gatewayd.model.errors import NeedsOperator
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import RichText, SendText
from gatewayd.model.secret import MaybeSecret, Secret
from gatewayd.testing.channel_contract import Services
from tests.channels.slack.rig import account_of, now, rig_for
from tests.fakes.proxy import open_proxy
from tests.fakes.slack_platform import FakeSlack

PASSWORD = "canary-0f3a"


@pytest.mark.parametrize("password", [None, PASSWORD])
async def test_socket_mode_and_files_go_by_the_proxy_of_the_account(password: str | None) -> None:
    pytest.importorskip("socksio")
    async with FakeSlack.serve(now=now) as slack, open_proxy("socks", password=password) as proxy:
        alice = slack.add_user("alice")
        user = "" if password is None else f"user:{password}@"
        async with rig_for(slack, proxy=MaybeSecret(Secret(f"socks5://{user}{proxy.address}"))) as rig, rig.listening():
            slack.say(alice, slack.dm(alice), "hello", files=[slack.file(alice, "a.txt", b"1234")])
            envelope = await rig.journal.wait_text("hello")
            assert await rig.channel.fetch(envelope.attachments[0], at_most_bytes=10) == b"1234"
            await rig.channel.send(SendText(Peer("dm", alice), RichText("hello yourself")), key="k")
        assert slack.texts(slack.dm(alice)) == ["hello yourself"]
        assert set(proxy.seen) == {f"SOCKS {slack.url.removeprefix('http://')}"}
        assert len(proxy.seen) >= 2


async def test_the_web_api_goes_by_an_http_proxy() -> None:
    async with FakeSlack.serve(mode="events", now=now) as slack, open_proxy(password=PASSWORD) as proxy:
        url = MaybeSecret(Secret(f"http://user:{PASSWORD}@{proxy.address}"))
        async with rig_for(slack, mode="events", proxy=url) as rig, rig.listening():
            alice = slack.add_user("alice")
            await rig.channel.send(SendText(Peer("dm", alice), RichText("hello")), key="k")
        assert slack.texts(slack.dm(alice)) == ["hello"]
        assert {line.startswith(f"POST {slack.url}/") for line in proxy.seen} == {True}


async def test_a_proxy_of_the_environment_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", f"ftp://user:{PASSWORD}@example.org")
    async with FakeSlack.serve(now=now) as slack, create_client() as http:
        with pytest.raises(NeedsOperator, match="the proxy that the environment names must be") as error:
            async with open_slack(account_of(slack, proxy=MaybeSecret("environment")), Services(http)):
                raise AssertionError
    assert PASSWORD not in str(error.value)
