"""Dead letters over HTTP: who may look and who may act, pages, and what is refused in words."""

from pathlib import Path

import httpx2
import pytest
import trio.testing

from gatewayd.model.lifecycle import SendOutcome
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import RichText, SendText
from gatewayd.ports.store import OutboundDraft
from tests.web.client import now
from tests.web.site import Site, open_site

PATH = "/v1/dead-letters"


async def dead(site: Site, key: str, *, text: str = "hello", account: str = "main") -> str:
    """A message that is dead, as its ref."""
    envelope = InboundEnvelope("loopback", account, key, "message", Peer("dm", "7"), Sender("7"), text=text, received_at=now())
    [row] = (await site.store.add_inbound([envelope])).rows
    await site.store.start_turn([row.id], turn_id=f"turn-{row.id}", session_key="assistant:7")
    await site.store.end_inbound([row.id], state="dead", reason="agent_failed", now=now())
    return f"in-{row.id}"


async def undelivered(site: Site, text: str = "re: hello", *, state: SendOutcome = "unknown", account: str = "main") -> str:
    """A reply that was not delivered for sure, as its ref. The outbox has counted it."""
    peer = Peer("dm", "7")
    draft = OutboundDraft("loopback", account, f"loopback:{account}:dm:7", SendText(peer, RichText(text)))
    [row] = await site.store.add_outbound([draft], now=now())
    if state != "parked":
        assert await site.gateway.outbox.mark_sending(row)
    await site.gateway.outbox.settle(row, state, reason="cut")
    return f"out-{row.id}"


async def state_of(site: Site, ref: str) -> str:
    number = int(ref.partition("-")[2])
    row = await site.store.get_inbound(number) if ref.startswith("in") else await site.store.get_outbound(number)
    assert row is not None
    return row.state


def message_of(response: httpx2.Response) -> str:
    return str(response.json()["error"]["message"])


async def test_dead_letters_are_listed_the_newest_first_and_in_pages(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("read") as client:
        refs = [await dead(site, "1"), await undelivered(site), await dead(site, "2"), await undelivered(site, state="dead")]
        page = (await client.get(PATH)).json()
        assert {dead_letter["ref"] for dead_letter in page["dead_letters"]} == set(refs)
        assert page["next"] is None
        counts = {key: value for key, value in page["counts"].items() if not key.startswith("oldest")}
        assert counts == {"in_dead": 2, "out_dead": 1, "out_unknown": 1, "out_parked": 0}
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            before = f"&before={cursor}" if cursor else ""
            answered = (await client.get(f"{PATH}?limit=1{before}")).json()
            seen += [dead_letter["ref"] for dead_letter in answered["dead_letters"]]
            cursor = answered["next"]
        assert seen == [dead_letter["ref"] for dead_letter in page["dead_letters"]]
        only = (await client.get(f"{PATH}?direction=out&state=unknown&channel=loopback&account=main&reason=cut")).json()
        assert [dead_letter["ref"] for dead_letter in only["dead_letters"]] == [refs[1]]


async def test_a_message_is_retried_and_answered(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        ref = await dead(site, "1")
        shown = (await client.get(f"{PATH}/{ref}")).json()
        assert (shown["dead_letter"]["state"], shown["text"], shown["can_retry"]) == ("dead", "hello", True)
        retried = (await client.post(f"{PATH}/{ref}", json={"action": "retry", "note": "the key was wrong"})).json()[
            "dead_letter"
        ]
        assert (retried["state"], retried["retries"], retried["attempts"]) == ("received", 1, 0)
        await site.gateway.backlog.wait_ended(1)
        assert await state_of(site, ref) == "done"
        again = await client.post(f"{PATH}/{ref}", json={"action": "retry"})
        assert (again.status_code, message_of(again)) == (409, "in-1 is no dead letter (any more): it is done (answered)")
        [entry] = await site.store.audit_after(0, limit=10)
        assert (entry.actor, entry.action, entry.subject) == ("operator:admin", "dead_letter.retried", ref)
        assert '"note":"the key was wrong"' in entry.detail


async def test_an_unknown_reply_is_sent_again_only_by_a_person(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        ref = await undelivered(site)
        assert site.gateway.outbox.status().unknown == 1
        answered = await client.post(f"{PATH}/{ref}", json={"action": "retry"})
        assert (answered.status_code, answered.json()["dead_letter"]["state"]) == (200, "ready")
        while await state_of(site, ref) != "sent":
            await site.gateway.outbox.wait_settled()
        assert site.gateway.outbox.status().unknown == 0


async def test_a_dropped_dead_letter_is_one_no_more(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        refs = [await dead(site, "1"), await undelivered(site)]
        answered = await client.post(PATH, json={"action": "drop", "refs": [*refs, "in-99", refs[0]]})
        assert answered.json() == {
            "done": 2,
            "skipped": [{"ref": "in-99", "why": "there is no in-99 (any more)"}],
            "more": False,
            "next": None,
        }
        assert (await client.get(PATH)).json()["dead_letters"] == []
        assert site.gateway.outbox.status().unknown == 0
        assert [await state_of(site, ref) for ref in refs] == ["dead", "unknown"]
        late = await client.post(f"{PATH}/{refs[0]}", json={"action": "retry"})
        assert (late.status_code, message_of(late)) == (409, "in-1 was dropped")


@pytest.mark.parametrize("scope", ["read", "write", "approvals", "pairing"])
async def test_only_an_admin_acts(scope: str, tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        ref = await dead(site, "1")
        async with site.client(scope) as client:  # type: ignore[arg-type]
            looked = [await client.get(path) for path in (PATH, f"{PATH}/{ref}")]
            acted = [await client.post(path, json={"action": "drop"}) for path in (PATH, f"{PATH}/{ref}")]
        assert [each.status_code for each in looked] == ([200, 200] if scope == "read" else [403, 403])
        assert [each.status_code for each in acted] == [403, 403]
        assert await state_of(site, ref) == "dead"


async def test_what_makes_no_sense_is_refused_in_words(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        for query in ("before=x", "before=nan_in-1", "before=1.0_in-0", "limit=0", "limit=501", "state=sent", "direction=up"):
            response = await client.get(f"{PATH}?{query}")
            assert response.status_code == 400, query
        for ref in ("in-0", "in-", "1", "in-99999999999999999999", "out-1x"):
            assert (await client.get(f"{PATH}/{ref}")).status_code == 400, ref
        assert (await client.get(f"{PATH}/in-77")).status_code == 404
        bodies: list[dict[str, object]] = [
            {"action": "drop"},
            {"action": "drop", "refs": []},
            {"action": "drop", "refs": [f"in-{number}" for number in range(501)]},
            {"action": "drop", "refs": ["in-1"], "filter": {}},
            {"action": "burn", "refs": ["in-1"]},
            {"action": "drop", "filter": {"state": "done"}},
            {"action": "drop", "filter": {}, "after": "garbage"},
        ]
        for body in bodies:
            response = await client.post(PATH, json=body)
            assert (response.status_code, bool(message_of(response))) == (400, True), body
        assert (await client.post(PATH, json={"action": "drop", "refs": ["in-1"] * 500})).json()["skipped"] == [
            {"ref": "in-1", "why": "there is no in-1 (any more)"}
        ]


async def test_nothing_is_done_while_the_daemon_stops_or_the_disk_is_full(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        refs = [await dead(site, str(number), text="x" * 3000) for number in range(60)]
        site.gateway.enter("draining")
        assert (await client.post(f"{PATH}/{refs[0]}", json={"action": "retry"})).status_code == 503
        site.gateway.enter("ready")
        site.fill_disk()
        statuses = {(await client.post(f"{PATH}/{ref}", json={"action": "drop", "note": "n" * 500})).status_code for ref in refs}
        assert 503 in statuses
        dropped = [entry.subject for entry in await site.store.audit_after(0, limit=1000)]
        left = (await client.get(f"{PATH}?limit=500")).json()["dead_letters"]
        assert {dead_letter["ref"] for dead_letter in left} == set(refs) - set(dropped)
