"""The trace of a message over HTTP, by every id that somebody may have of it."""

from pathlib import Path
from urllib.parse import quote

import pytest
import trio.testing
from msgspec.structs import replace

from gatewayd.model.config import AuthSection, Role, TokenConfig
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.secret import Secret
from tests.web.client import now
from tests.web.site import Site, configuration, open_site, token_of


async def answered(site: Site) -> str:
    """A message with its reply. Returns its session's key."""
    peer = Peer("dm", "7")
    envelope = InboundEnvelope(
        "loopback", "main", "update/7 ü", "message", peer, Sender("7", "Bob"), text="hello", message_id="4711", received_at=now()
    )
    [row] = await site.gateway.inbox.deliver([envelope])
    await site.gateway.backlog.wait_ended(row.id)
    while (reply := await site.store.get_outbound(1)) is None or reply.state != "sent":
        await site.gateway.outbox.wait_settled()
    ended = await site.store.get_inbound(row.id)
    assert ended is not None
    assert ended.session_key is not None
    return ended.session_key


async def test_every_id_leads_to_the_trace(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("read") as client:
        session = await answered(site)
        ids = ["in-1", "out-1", "turn-1", "4711", "loopback/main/4711", "update/7 ü", "loopback/main/update/7 ü", session]
        for known in ids:
            response = await client.get(f"/v1/messages/{quote(known)}")
            assert response.status_code == 200, known
            trace = response.json()
            assert (trace["id"], trace["found"]) == (known, ["in-1", "out-1"]), known
            assert [entry["what"] for entry in trace["entries"]] == [
                "received",
                "turn_started",
                "ended",
                "written",
                "sending",
                "sent",
            ]
            assert trace["verdict"] == "in-1 is done: the agent answered; out-1 was sent."


@pytest.mark.parametrize(
    "unknown", ["in-99", "turn-99", "nothing", "loopback/main/", "a/b/c/d", "%00", "%F0%9F%98%80", "in-1%0A"]
)
async def test_what_is_not_known_is_not_found(unknown: str, tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("read") as client:
        await answered(site)
        response = await client.get(f"/v1/messages/{unknown}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


async def test_only_who_may_read_may_look(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        for scope, status in (("write", 403), ("read", 404), ("admin", 404), (None, 401)):
            async with site.client(scope) as client:  # type: ignore[arg-type]
                assert (await client.get("/v1/messages/in-1")).status_code == status
        async with site.client("read") as client:
            assert (await client.get(f"/v1/messages/{'x' * 1001}")).status_code == 400
            assert (await client.get("/v1/messages/in-1?limit=3")).status_code == 400


@pytest.mark.parametrize(("role", "status"), [("operator", 200), ("connector", 403), ("node", 403)])
async def test_programs_do_not_look_into_chats(tmp_path: Path, clock: trio.testing.MockClock, role: Role, status: int) -> None:
    auth = AuthSection(tokens={"read": TokenConfig(token=Secret(token_of("read")), role=role)})
    async with open_site(tmp_path, replace(configuration(), auth=auth)) as site, site.client("read") as client:
        await answered(site)
        assert (await client.get("/v1/gateway/status")).status_code == 200
        assert (await client.get("/v1/messages/in-1")).status_code == status
        assert (await client.get("/v1/dead-letters")).status_code == status
        assert (await client.get("/v1/dead-letters/in-7")).status_code == (404 if status == 200 else status)
        assert (await client.post("/v1/console/links", json={"page": "trace"})).status_code == status
