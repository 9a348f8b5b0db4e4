"""Metrics: complete in the docs, true, bounded, and each gateway's own."""

import re
from pathlib import Path

import trio.testing
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from gatewayd.model.config import LimitsSection
from tests.web.client import request
from tests.web.site import Site, configuration, open_site

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/metrics.md").read_text()
ALERTS = (ROOT / "contrib/examples/alerts.yml").read_text()

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(site: Site) -> Series:
    """Every sample, by its name and labels."""
    async with site.client("read") as client:
        response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(response.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def one(series: Series, name: str, **labels: str) -> float:
    return series[f"gatewayd_{name}", frozenset(labels.items())]


def documented() -> dict[str, set[str]]:
    """Names on the page, with their labels."""
    rows = re.findall(r"^\| `(gatewayd_\w+)` \| (\w+) \|([^|]*)\|", PAGE, re.M)
    found: dict[str, set[str]] = {}
    for name, kind, labels in rows:
        names = [f"{name}{part}" for part in ("_bucket", "_sum", "_count")] if kind == "histogram" else [name]
        for full in names:
            found[full] = set(re.findall(r"`(\w+)`", labels)) | ({"le"} if full.endswith("_bucket") else set())
    return found


async def test_the_page_names_every_metric_with_its_labels_and_no_other(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        site.gateway.enter("draining")  # so that there is a problem, too
        series = await scrape(site)
    ours = {name: {label for label, _ in labels} for name, labels in series if name.startswith("gatewayd_")}
    shown = documented()
    assert ours == {name: labels for name, labels in shown.items() if name in ours}
    # Series that appear with their first value: no platform was heard, no turn ended.
    assert shown.keys() - ours.keys() <= {"gatewayd_account_heard_timestamp_seconds"}


def test_the_alerts_use_what_there_is() -> None:
    used = set(re.findall(r"\bgatewayd_\w+", ALERTS)) - {"gatewayd_token"}
    assert used
    assert used <= documented().keys()


async def test_a_message_is_counted_on_its_whole_way(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        async with site.client("write") as client:
            body = {
                "channel": "loopback",
                "account": "main",
                "peer": {"kind": "dm", "id": "7"},
                "sender": {"id": "7"},
                "text": "hi",
            }
            answer = await client.post("/v1/chat/inbound?wait=10", json=body)
            assert answer.status_code == 200
        while site.gateway.outbox.depth("loopback", "main"):
            await site.gateway.outbox.wait_settled()
        series = await scrape(site)
    assert one(series, "inbound_total", outcome="received") == one(series, "inbound_total", outcome="done") == 1
    assert one(series, "outbound_total", outcome="sent") == 1
    assert one(series, "delivery_seconds_count") == 1
    assert one(series, "turn_seconds_count", agent="assistant") == one(series, "agent_turns_total", agent="assistant") == 1
    assert one(series, "store_commit_seconds_count") >= 4
    assert one(series, "ready") == 1
    assert one(series, "accounts", state="connected") == 4
    assert one(series, "account_up", channel="loopback", account="off") == 0
    assert one(series, "http_connections", state="open") >= 1
    assert series["process_resident_memory_bytes", frozenset()] > 10_000_000
    assert series["process_open_fds", frozenset()] > 3


async def test_requests_are_counted_wherever_they_are_answered(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        async with site.dial() as fast:
            assert (await fast.ask(request("POST", "/v1/webhooks/hook/main", body=b"{}"))).status == 401
            assert (await fast.ask(request("POST", "/v1/webhooks/hook/none", body=b"{}"))).status == 404
        async with site.dial() as slow:
            assert (await slow.ask(request("GET", "/health"))).status == 200
            assert (await slow.ask(request("GET", "/nowhere"))).status == 404
        async with site.dial() as broken:
            assert (await broken.ask(b"nonsense\r\n\r\n")).status == 400
        series = await scrape(site)
    found = {name: one(series, "http_requests_total", status=name) for name in ("2xx", "4xx", "5xx")}
    assert found == {"2xx": 1, "4xx": 4, "5xx": 0}


async def test_strangers_make_no_series(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path, configuration(limits=LimitsSection(sender_backlog=1))) as site:
        before = (await scrape(site)).keys()
        for number in range(50):
            async with site.client("write") as client:
                peer = {"kind": "dm", "id": f"peer-{number}"}
                body = {"channel": "loopback", "account": "main", "peer": peer, "sender": {"id": f"who-{number}"}, "text": "hi"}
                await client.post("/v1/chat/inbound?wait=10", json=body)
                await client.get(f"/nowhere/{number}")
        assert (await scrape(site)).keys() == before


async def test_only_a_read_token_sees_them(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        async with site.client(None) as client:
            assert (await client.get("/metrics")).status_code == 401
        async with site.client("write") as client:
            assert (await client.get("/metrics")).status_code == 403


async def test_the_global_registry_knows_nothing_of_us(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path / "one") as one_site, open_site(tmp_path / "two") as other:
        await scrape(one_site)
        await scrape(other)
    assert [family.name for family in REGISTRY.collect() if family.name.startswith("gatewayd")] == []
