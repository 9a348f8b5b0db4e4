"""Logins of the web chat, listed and ended over HTTP, and by gatewayctl's words."""

import json
import time
from functools import partial
from pathlib import Path

import pytest
import trio

from gatewayd.channels.webchat.channel import WebchatChannel
from gatewayd.channels.webchat.conversation import Conversation, Cursor, feed
from gatewayd.channels.webchat.http import COOKIE
from gatewayd.channels.webchat.login import end_session, find_login, list_sessions, log_in, prolong
from tests.channels.webchat.site import OPS, site, streaming


async def test_a_login_is_listed_without_its_secret(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in("alice") as alice, here.logged_in("bob"), here.client() as ops:
        await here.code("carol")
        async with streaming(here, alice), streaming(here, alice):
            listed = await ops.get("/v1/webchat/sessions", headers=OPS)
        told = listed.json()
        assert [(one["name"], one["pages"]) for one in told["sessions"]] == [("alice", 2), ("bob", 0)]
        assert told["links"] == 1
        [row, _] = await here.gateway.store.list_tokens("web_session")
        assert alice.cookies[COOKIE] not in listed.text
        assert row.digest not in listed.text
        guess = {"Cookie": f"{COOKIE}={told['sessions'][0]['id']}"}
        assert (await ops.get("/v1/webchat/history", headers=guess)).status_code == 401


async def test_an_ended_login_ends_its_open_pages_and_no_others(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as lost, here.logged_in() as kept, here.client() as ops:
        async with streaming(here, lost) as gone, streaming(here, kept) as on:
            [first, _] = (await ops.get("/v1/webchat/sessions", headers=OPS)).json()["sessions"]
            began = trio.current_time()
            ended = await ops.post("/v1/webchat/revoke", json={"id": first["id"]}, headers=OPS)
            assert await gone.ended()
            assert trio.current_time() - began < 5, "it did not wait for the next ping"
            assert [one["id"] for one in ended.json()["sessions"]] == [first["id"]]
            await kept.post("/v1/webchat/messages", json={"id": "message-1", "text": "still here"})
            assert (await on.next())[0] == "message"
        assert (await lost.get("/v1/webchat/history")).status_code == 401
        assert (await kept.get("/v1/webchat/history")).status_code == 200


async def test_a_name_s_logins_and_links_end_together(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as one, here.logged_in() as other, here.client() as ops:
        code = await here.code("alice")
        console = await ops.post("/v1/console/links", json={}, headers=OPS)
        ended = (await ops.post("/v1/webchat/revoke", json={"name": "alice"}, headers=OPS)).json()
        assert (len(ended["sessions"]), ended["links"]) == (2, 1)
        for client in (one, other):
            assert (await client.get("/v1/webchat/history")).status_code == 401
        assert (await ops.post("/v1/webchat/login", json={"code": code})).status_code == 401
        secret = console.json()["url"].partition("#code=")[2]
        assert (await ops.post("/v1/console/login", json={"code": secret})).status_code == 200


async def test_who_ended_a_login_is_in_the_audit_log(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in(), here.client() as ops:
        assert (await ops.post("/v1/webchat/revoke", json={"name": "nobody"}, headers=OPS)).status_code == 404
        await ops.post("/v1/webchat/revoke", json={"name": "alice"}, headers=OPS)
        rows = await here.gateway.store.audit_after(0, limit=10)
        assert [(row.actor, row.action, row.subject) for row in rows] == [
            ("operator:ops", "webchat.revoke", "nobody"),
            ("operator:ops", "webchat.revoke.refused", "nobody"),
            ("operator:ops", "webchat.revoke", "alice"),
        ]


@pytest.mark.parametrize("body", [{}, {"id": "0" * 12, "name": "alice"}, {"id": ""}, {"id": "0" * 64}, {"name": "*"}])
async def test_it_must_be_said_which(tmp_path: Path, body: dict[str, str]) -> None:
    async with site(tmp_path) as here, here.logged_in() as client, here.client() as ops:
        answer = await ops.post(
            "/v1/webchat/revoke", content=json.dumps(body), headers=OPS | {"Content-Type": "application/json"}
        )
        assert answer.status_code == 400
        assert (await client.get("/v1/webchat/history")).status_code == 200


async def test_one_that_has_expired_is_no_login(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in():
        assert len(await list_sessions(here.gateway.store, time.time())) == 1
        assert await list_sessions(here.gateway.store, time.time() + 31 * 86_400) == []


async def test_a_page_that_opens_while_its_login_ends_is_not_greeted(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        desk = here.desk()
        channel = desk.require_channel()
        assert isinstance(channel, WebchatChannel)
        login = await find_login(here.gateway.store, client.cookies[COOKIE], time.time())
        assert login is not None
        blocks = feed(Conversation(desk, login), channel, Cursor())
        await end_session(here.gateway.store, login.id, time.time())
        assert [block async for block in blocks] == []


async def test_a_login_that_is_ended_while_it_is_prolonged_stays_ended(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        store, began = here.gateway.store, time.time()
        for _ in range(20):
            login = await log_in(store, await here.code(), began, session_days=30)
            assert login is not None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(prolong, store, login, began + 5 * 86_400, session_days=30))
                nursery.start_soon(end_session, store, login.id, began)
            assert await find_login(store, login.token, began) is None
