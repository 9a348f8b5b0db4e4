"""Approvals over HTTP: seen, waited for, decided once."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trio.testing

from gatewayd.channels.loopback.platform import platform_of
from tests.web.site import Site, open_site


async def ask(site: Site, client: httpx2.AsyncClient, text: str = "/demo-tool launch") -> dict[str, Any]:
    """Somebody makes the agent ask; the pending approval."""
    await platform_of("main").say(text)
    await trio.sleep(1)
    [approval] = (await client.get("/v1/approvals")).json()["approvals"]
    return dict(approval)


async def test_a_pending_request_is_shown_with_its_exact_input(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("approvals") as client:
        approval = await ask(site, client)
        assert approval["state"] == "pending"
        assert "launch" in approval["input"]
        assert (await client.get(f"/v1/approvals/{approval['id']}")).json() == approval


@pytest.mark.parametrize(("decision", "state"), [("allow", "allowed"), ("deny", "denied")])
async def test_a_decision_is_signed_and_reaches_the_agent(
    tmp_path: Path, clock: trio.testing.MockClock, decision: str, state: str
) -> None:
    async with open_site(tmp_path) as site, site.client("approvals") as client:
        approval = await ask(site, client)
        response = await client.post(f"/v1/approvals/{approval['id']}", json={"decision": decision, "note": "as agreed"})
        assert response.status_code == 200
        decided = response.json()
        assert (decided["state"], decided["decided_by"], decided["note"]) == (state, "operator:approvals", "as agreed")
        await trio.sleep(1)
        assert platform_of("main").texts, "the turn went on"
        assert (await client.get("/v1/approvals")).json() == {"approvals": []}
        [found] = (await client.get("/v1/approvals", params={"state": state})).json()["approvals"]
        assert found["id"] == approval["id"]
        assert len((await client.get("/v1/approvals?state=all")).json()["approvals"]) == 1


async def test_a_second_decision_is_a_conflict(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("approvals") as client:
        approval = await ask(site, client)
        path = f"/v1/approvals/{approval['id']}"
        assert (await client.post(path, json={"decision": "deny"})).status_code == 200
        response = await client.post(path, json={"decision": "allow"})
        assert (response.status_code, response.json()["error"]["code"]) == (409, "conflict")
        assert (await client.get(path)).json()["state"] == "denied"


async def test_waiting_for_a_decision(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("approvals") as client, trio.open_nursery() as nursery:
        approval = await ask(site, client)
        path = f"/v1/approvals/{approval['id']}"
        began = trio.current_time()
        assert (await client.get(f"{path}?wait=20")).json()["state"] == "pending"
        assert 20 <= trio.current_time() - began < 21

        async def decide() -> None:
            await trio.sleep(30)
            await client.post(path, json={"decision": "allow"})

        nursery.start_soon(decide)
        assert (await client.get(f"{path}?wait=120")).json()["state"] == "allowed"
        assert trio.current_time() - began < 60


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "word"),
    [
        ("GET", "/v1/approvals/nothing", None, 404, "nothing"),
        ("POST", "/v1/approvals/nothing", {"decision": "allow"}, 404, "nothing"),
        ("POST", "/v1/approvals/nothing", {"decision": "perhaps"}, 400, "perhaps"),
        ("POST", "/v1/approvals/nothing", {"decision": "allow", "why": ""}, 400, "why"),
        ("POST", "/v1/approvals/nothing", {"decision": "allow", "note": "x" * 2001}, 400, "2000"),
        ("GET", "/v1/approvals?state=open", None, 400, "open"),
        ("GET", "/v1/approvals?limit=0", None, 400, "limit"),
        ("GET", "/v1/approvals/nothing?wait=121", None, 400, "120"),
        ("GET", "/v1/approvals/nothing?wait=nan", None, 400, "wait"),
        ("GET", "/v1/approvals/nothing?wait=soon", None, 400, "wait"),
    ],
)
async def test_what_is_wrong_is_said(
    tmp_path: Path, clock: trio.testing.MockClock, method: str, path: str, body: dict[str, str] | None, status: int, word: str
) -> None:
    async with open_site(tmp_path) as site, site.client("approvals") as client:
        response = await client.request(method, path, json=body)
        assert response.status_code == status
        assert word in response.json()["error"]["message"]
