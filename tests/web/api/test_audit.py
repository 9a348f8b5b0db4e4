"""The audit log over HTTP: who may read it, in pieces, and that the deeds of operators are in it."""

from pathlib import Path

import msgspec
import trio.testing

from gatewayd.model.records.audit import AuditRow, verify
from tests.web.site import Site, open_site


async def entries(site: Site) -> list[AuditRow]:
    """The whole log, as a reader gets it."""
    async with site.client("approvals") as client:
        return msgspec.convert((await client.get("/v1/audit?limit=1000")).json()["entries"], list[AuditRow])


async def deeds(site: Site) -> list[tuple[str, str, str]]:
    return [(entry.actor, entry.action, entry.subject) for entry in await entries(site)]


async def test_it_is_read_in_pieces_and_the_chain_holds(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("approvals") as client:
        assert (await client.get("/v1/audit")).json() == {"entries": [], "head": None}
        for number in range(3):
            await site.gateway.audit.record("operator:ann", "test.deed", str(number))
        rows = await entries(site)
        head = verify(rows)
        assert [row.subject for row in rows] == ["0", "1", "2"]
        page = (await client.get("/v1/audit?after=1&limit=1")).json()
        assert [entry["seq"] for entry in page["entries"]] == [2]
        assert page["head"] == {"seq": 3, "hash": head.hash}
        for query in ("after=-1", "limit=0", "limit=1001", "before=2", f"after={2**63}"):
            assert (await client.get(f"/v1/audit?{query}")).status_code == 400, query


async def test_only_who_may_decide_may_read_it(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        for scope, status in (("read", 403), ("write", 403), ("pairing", 403), ("approvals", 200), ("admin", 200), (None, 401)):
            async with site.client(scope) as client:  # type: ignore[arg-type]
                assert (await client.get("/v1/audit")).status_code == status, scope


async def test_what_operators_do_to_accounts_and_people_is_in_it(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        await client.post("/v1/channels/hook/stop?account_id=main")
        await client.post("/v1/channels/hook/start", json={})
        await client.post("/v1/channels/smoke/restart")
        await client.post("/v1/pairing/NOSUCH", json={"decision": "approve"})
        await client.post("/v1/pairing/revoke", json={"channel": "hook", "account": "main", "sender_id": "4711"})
        await client.get("/v1/channels")
        by = "operator:admin"
        assert await deeds(site) == [
            (by, "channels.stop", "hook/main"),
            (by, "channels.start", "hook"),
            (by, "channels.restart", "smoke"),
            (by, "channels.restart.refused", "smoke"),
            (by, "pairing.approve", "NOSUCH"),
            (by, "pairing.approve.refused", "NOSUCH"),
            (by, "pairing.revoke", "hook/main/4711"),
            (by, "pairing.revoke.refused", "hook/main/4711"),
        ]


async def test_a_pairing_names_the_person_and_not_only_the_code(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        message = {
            "channel": "loopback",
            "account": "strict",
            "peer": {"kind": "dm", "id": "7"},
            "sender": {"id": "7"},
            "text": "hi",
        }
        await client.post("/v1/chat/inbound?wait=5", json=message)
        [waiting] = await site.gateway.access.pending()
        assert (await client.post(f"/v1/pairing/{waiting.code.lower()}", json={"decision": "approve"})).status_code == 200
        assert await deeds(site) == [("operator:admin", "pairing.approve", "loopback/strict/7")]


async def test_nothing_is_done_that_cannot_be_recorded(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        for number in range(40):  # until the pages that are there are full
            await site.gateway.audit.record("operator:ann", "test.deed", "x" * 400, number=number)
        site.fill_disk()
        answers = [await client.post("/v1/channels/hook/stop") for _ in range(40)]
        assert answers[-1].status_code == 503
        accounts = [site.gateway.manager.account("hook", name) for name in ("main", "plain")]
        await client.post("/v1/channels/hook/start")
        before = [account.status.state for account in accounts]
        assert (await client.post("/v1/channels/hook/stop")).status_code == 503
        assert [account.status.state for account in accounts] == before


async def test_guesses_are_recorded_up_to_a_few(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        async with site.client("approvals") as client:
            await client.get("/v1/audit")  # proved before somebody guesses from the same address
        async with site.client(None) as client:
            for number in range(30):
                headers = {"Authorization": f"Bearer wrong-{number}"}
                assert (await client.get("/v1/channels", headers=headers)).status_code in (401, 429)
        rows = await entries(site)
        assert [(row.actor, row.action, row.subject) for row in rows] == [("nobody", "auth.failed", "127.0.0.1")] * 3
        assert rows[-1].detail == '{"more_are_not_recorded":true,"what":"token"}'
        assert "wrong" not in str(rows)
