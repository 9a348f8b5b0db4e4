"""The audit log over HTTP: who may read it, in pieces, and that the deeds of operators are in it."""

from pathlib import Path

import msgspec
import trio.testing

from gatewayd.model.audit import AuditRow, verify
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
