"""What a full account is told over HTTP, and what the others are not."""

from pathlib import Path

import trio
import trio.testing

from gatewayd.model.config import LimitsSection
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from tests.web import hook
from tests.web.client import now, request
from tests.web.site import Site, configuration, open_site

LIMITS = configuration(limits=LimitsSection(account_backlog=2, turns=1))


def message(channel: str, number: int) -> dict[str, object]:
    place = {"channel": channel, "account": "main", "peer": {"kind": "dm", "id": "7"}, "sender": {"id": "7"}}
    return {**place, "text": "hello", "event_key": str(number)}


async def fill(site: Site, channel: str) -> None:
    """Nothing runs, and two messages of this account wait."""
    await site.gateway.turns.slots.of("somebody/else").acquire()
    async with site.client("write") as client:
        for number in range(2):
            assert (await client.post("/v1/chat/inbound", json=message(channel, number))).status_code == 202


async def test_a_connector_is_answered_429_for_the_full_account_only(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path, LIMITS) as site, site.client("write") as client:
        await fill(site, "loopback")
        answer = await client.post("/v1/chat/inbound", json=message("loopback", 9))
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "overloaded")
        assert answer.json()["error"]["message"] == "the inbox of loopback/main is full"
        assert int(answer.headers["Retry-After"]) > 0
        assert (await client.post("/v1/chat/inbound", json=message("loopback", 1))).json()["duplicate"]
        assert (await client.post("/v1/chat/inbound", json=message("hook", 9))).status_code == 202
        assert len(await site.rows()) == 3


async def test_a_webhook_is_answered_503_for_the_full_account_only(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path, LIMITS) as site:
        await fill(site, "hook")
        async with site.dial() as platform:
            secret = {"X-Hook-Secret": hook.SECRET}
            answer = await platform.ask(request("POST", "/v1/webhooks/hook/main", body=b'{"key":"k","text":"x"}', headers=secret))
            assert (answer.status, answer.code) == (503, "overloaded")
            assert int(answer.headers["retry-after"]) > 0
        async with site.client("write") as client:
            assert (await client.post("/v1/chat/inbound", json=message("loopback", 9))).status_code == 202
        assert len(await site.rows()) == 3


async def test_a_poll_stops_while_its_account_is_full_and_goes_on_after(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path, LIMITS) as site:
        await fill(site, "loopback")
        actor = site.gateway.manager.account("loopback", "main")
        done = trio.Event()

        async def poll() -> None:
            await actor.deliver([InboundEnvelope("loopback", "main", "p1", "message", Peer("dm", "7"), Sender("7"), text="x")])
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll)
            await trio.sleep(3600)
            assert not done.is_set()
            assert site.gateway.backlog.full_since("loopback", "main") == now() - 3600
            site.gateway.turns.slots.of("somebody/else").release()
            with trio.fail_after(5):
                await done.wait()
        await trio.sleep(1)
        assert (actor.status.inbox_waiting, actor.status.inbox_full_since) == (0, None)
