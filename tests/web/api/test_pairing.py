"""Pairing over HTTP: strangers are listed, let in, refused and thrown out."""

from pathlib import Path

import httpx2
import trio
import trio.testing

from gatewayd.channels.loopback.platform import platform_of
from tests.web.site import open_site


async def code_of_a_stranger(client: httpx2.AsyncClient) -> str:
    await platform_of("strict").say("let me in", account="strict")
    await trio.sleep(1)
    [row] = (await client.get("/v1/pairing")).json()["pending"]
    assert (row["channel"], row["account"], row["sender_id"]) == ("loopback", "strict", "alice")
    return str(row["code"])


async def test_a_stranger_is_let_in_and_thrown_out(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("pairing") as client:
        code = await code_of_a_stranger(client)
        response = await client.post(f"/v1/pairing/{code.lower()}", json={"decision": "approve"})
        assert (response.status_code, response.json()["state"], response.json()["decided_by"]) == (
            200,
            "approved",
            "operator:pairing",
        )
        listed = (await client.get("/v1/pairing")).json()
        assert (listed["pending"], [row["sender_id"] for row in listed["paired"]]) == ([], ["alice"])
        who = {"channel": "loopback", "account": "strict", "sender_id": "alice"}
        response = await client.post("/v1/pairing/revoke", json=who)
        assert (response.status_code, response.json()) == (200, {})
        assert (await client.post("/v1/pairing/revoke", json=who)).status_code == 404
        assert await site.store.list_pairings("approved", limit=9) == []


async def test_a_stranger_is_refused(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("pairing") as client:
        code = await code_of_a_stranger(client)
        assert (await client.post(f"/v1/pairing/{code}", json={"decision": "deny"})).json()["state"] == "denied"
        assert (await client.post(f"/v1/pairing/{code}", json={"decision": "approve"})).status_code == 404


async def test_what_is_wrong_is_said(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("pairing") as client:
        for path, body, status, word in [
            ("/v1/pairing/NOSUCHCODE", {"decision": "approve"}, 404, "no such pairing code"),
            ("/v1/pairing/NOSUCHCODE", {"decision": "allow"}, 400, "allow"),
            ("/v1/pairing/revoke", {"decision": "approve"}, 400, "decision"),
            ("/v1/pairing/revoke", {"channel": "loopback", "account": "strict"}, 400, "sender_id"),
        ]:
            response = await client.post(path, json=body)
            assert response.status_code == status
            assert word in response.json()["error"]["message"]
