"""Accounts over HTTP: looked at, started and stopped."""

from pathlib import Path

import trio.testing

from tests.web.site import open_site


async def test_accounts_are_listed_in_the_order_of_the_configuration(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("read") as client:
        accounts = (await client.get("/v1/channels")).json()["accounts"]
        assert [(account["channel"], account["account"], account["state"]) for account in accounts] == [
            ("loopback", "main", "connected"),
            ("loopback", "off", "disabled"),
            ("loopback", "strict", "connected"),
            ("hook", "main", "connected"),
            ("hook", "plain", "connected"),
        ]


async def test_one_account_is_stopped_and_started(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        response = await client.post("/v1/channels/hook/stop", json={"account_id": "main"})
        assert response.status_code == 200
        [stopped] = response.json()["accounts"]
        assert (stopped["channel"], stopped["account"], stopped["state"]) == ("hook", "main", "stopped")
        assert site.gateway.manager.account("hook", "plain").status.state == "connected"
        await client.post("/v1/channels/hook/start?account_id=main")
        await trio.sleep(1)
        assert site.gateway.manager.account("hook", "main").status.state == "connected"


async def test_a_whole_channel_is_stopped(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        for body in (b"", b"{}", b'{"account_id": null}'):
            headers = {"Content-Type": "application/json"} if body else {}
            response = await client.post("/v1/channels/hook/restart", content=body, headers=headers)
            assert [account["account"] for account in response.json()["accounts"]] == ["main", "plain"]


async def test_what_cannot_be_done_is_said(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        for path, status, code, word in [
            ("/v1/channels/smoke/stop", 404, "not_found", "smoke"),
            ("/v1/channels/hook/stop?account_id=nobody", 404, "not_found", "hook/nobody"),
            ("/v1/channels/loopback/start?account_id=off", 409, "conflict", "disabled"),
            ("/v1/channels/hook/stop?account=main", 400, "bad_request", "account_id"),
            ("/v1/channels/hook/stop?account_id=main&account_id=plain", 400, "bad_request", "2 times"),
            ("/v1/channels/hook/explode", 404, "not_found", "path"),
        ]:
            response = await client.post(path)
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (status, code), path
            assert word in error["message"]


async def test_bodies_are_strict(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        path = "/v1/channels/hook/stop"
        for body, word in [({"acount_id": "main"}, "acount_id"), ({"account_id": 3}, "account_id"), ([], "object")]:
            response = await client.post(path, json=body)
            assert response.status_code == 400
            assert word in response.json()["error"]["message"]
        response = await client.post(path + "?account_id=main", json={"account_id": "plain"})
        assert response.status_code == 400
        response = await client.post(path, content=b"account_id=main", headers={"Content-Type": "text/plain"})
        assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")
        assert site.gateway.manager.account("hook", "main").status.state == "connected"


async def test_nothing_is_started_while_draining(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        site.gateway.enter("draining")
        response = await client.post("/v1/channels/hook/start")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "draining")
