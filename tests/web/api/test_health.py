"""Health and readiness: public, cheap, and true."""

from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from gatewayd import __version__
from gatewayd.model.config import AccountSettings
from gatewayd.model.errors import StoreRefused
from tests.web import hook
from tests.web.client import now, request
from tests.web.site import ACCOUNTS, OPEN, configuration, open_site

DOWN = (*ACCOUNTS, AccountSettings("hook", "down", OPEN, hook.HookSettings(down=True)))


async def test_health_tells_the_public_facts(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client(None) as client:
        for path in ("/health", "/healthz"):
            response = await client.get(path)
            assert response.status_code == 200
            health = response.json()
            assert health["uptime_s"] >= 0
            del health["uptime_s"]
            assert health == {"ok": True, "version": __version__, "channels_running": 4, "agentcore_mode": "echo"}


async def test_health_does_not_touch_the_store(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        site.store._reader._connection.close()
        async with site.dial() as client:
            assert (await client.ask(request("GET", "/health"))).status == 200
            await client.say(request("HEAD", "/health"))
            assert (await client.head())[0] == 200


async def test_ready_when_every_enabled_account_is_connected(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client(None) as client:
        response = await client.get("/readyz")
        assert (response.status_code, response.json()) == (200, {"ready": True})


async def test_not_ready_while_an_account_is_down_and_only_a_token_learns_which(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with open_site(tmp_path, configuration(accounts=DOWN), connected=False) as site:
        async with site.client(None) as client:
            response = await client.get("/readyz")
            assert (response.status_code, response.json()) == (503, {"ready": False})
        async with site.client("write") as client:
            assert (await client.get("/readyz")).json() == {"ready": False}
        async with site.client("read") as client:
            response = await client.get("/readyz")
        assert response.status_code == 503
        told = response.json()
        assert [(account["channel"], account["account"], account["state"]) for account in told["accounts"]] == [
            ("hook", "down", "starting")
        ]
        [problem] = told["problems"]
        assert problem == {
            "code": "account_down",
            "level": "failing",
            "subject": "hook/down",
            "since": told["accounts"][0]["since"],
            "text": "hook/down is starting",
        }


async def test_a_wrong_token_is_told_so_even_here(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client(None) as client:
        response = await client.get("/readyz", headers={"Authorization": "Bearer wrong"})
        assert response.status_code == 401


async def test_an_account_stopped_by_the_operator_is_not_a_problem(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("read") as client:
        await site.gateway.manager.stop("hook")
        assert (await client.get("/readyz")).json() == {"ready": True, "problems": [], "accounts": []}


async def test_not_ready_while_draining(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("read") as client:
        site.gateway.enter("draining")
        response = await client.get("/readyz")
        assert response.status_code == 503
        [problem] = response.json()["problems"]
        assert (problem["code"], problem["subject"], problem["since"]) == ("draining", "", now())


async def test_not_ready_while_the_store_does_not_write(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client(None) as client:
        site.fill_disk()
        for _ in range(50):
            site.gateway.events.emit("test.filler", filler="x" * 4000)
        await trio.sleep(5)
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/health")).status_code == 200


async def test_ready_again_by_itself_when_there_is_room_although_nobody_writes(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    async with open_site(tmp_path) as site, site.client("read") as client:
        site.fill_disk()
        with pytest.raises(StoreRefused):
            await site.store.save_state("loopback", "main", "filler", "x" * 100_000)
        for _ in range(2):
            site.gateway.events.emit("test.filler", filler="x" * 100_000)
            await trio.sleep(60)
            [problem] = (await client.get("/readyz")).json()["problems"]
            assert problem["code"] == "store_unwritable"
        site.store._writer._connection.execute("PRAGMA max_page_count = 1000000")
        await trio.sleep(2)
        assert (await client.get("/readyz")).json()["problems"] == []
        told = [event for event in await site.gateway.events.after(0, limit=1000) if event.kind == "gateway.store"]
        assert b'"writes":true' in bytes(told[-1].data)
    said = [entry["event"] for entry in logged if entry["event"].startswith("store_")]
    assert (said[0], said[-1]) == ("store_unwritable", "store_writable")


async def test_the_uptime_does_not_follow_the_wall_clock(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("read") as client:
        before = (await client.get("/health")).json()["uptime_s"]
        site.gateway.now = lambda: 5.0  # somebody has set it back by years
        await trio.sleep(100)
        after = (await client.get("/health")).json()["uptime_s"]
        assert 100 <= after - before < 101
        assert (await client.get("/v1/gateway/status")).json()["uptime_s"] >= after
