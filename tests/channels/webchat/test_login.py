"""Who gets into the web chat: links, codes, cookies, and whom an open page shows."""

from hashlib import sha256
from pathlib import Path

import httpx2
import pytest
from msgspec.structs import replace

from gatewayd.channels.webchat.http import COOKIE
from gatewayd.model.config import (
    GatewaySection,
)
from gatewayd.ports.store import TokenRow
from gatewayd.web.access.auth import FAILURES_PER_WINDOW
from tests.channels.webchat.site import CONFIG, ENDPOINTS, OPS, post_and_answer, site


async def test_a_login_link_works_once(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.client() as client, here.client() as thief:
        code = await here.code()
        answer = await client.post("/v1/webchat/login", json={"code": code})
        assert answer.json() == {"name": "alice"}
        refused = await thief.post("/v1/webchat/login", json={"code": code})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
        assert "Set-Cookie" not in refused.headers
        assert (await client.get("/v1/webchat/history")).json() == {"name": "alice", "lines": [], "cursor": "0.0", "more": False}


async def test_the_cookie_is_for_this_site_and_not_for_scripts(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.client() as client:
        answer = await client.post("/v1/webchat/login", json={"code": await here.code()})
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith(f"{COOKIE}=")
        assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=2592000"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        headers = {"Host": "chat.example", "Origin": "https://chat.example"}
        public = await client.post("/v1/webchat/login", json={"code": await here.code()}, headers=headers)
        assert "Secure" in public.headers["Set-Cookie"].split("; ")


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
async def test_nothing_is_told_without_a_login(method: str, path: str, tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.client() as client:
        body: dict[str, str] | None = None if method == "GET" else {}
        for headers in ({}, OPS, {"Cookie": f"{COOKIE}=guess"}, {"Cookie": f"{COOKIE}="}):
            answer = await client.request(method, path, json=body, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")


async def test_guessed_codes_are_answered_429_and_a_right_one_logs_in(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.client() as client:
        for _ in range(FAILURES_PER_WINDOW):
            assert (await client.post("/v1/webchat/login", json={"code": "abcd-efgh"})).status_code == 401
        answer = await client.post("/v1/webchat/login", json={"code": "abcd-efgh"})
        assert answer.status_code == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        # It has 80 bits: nobody has guessed it.
        assert (await client.post("/v1/webchat/login", json={"code": await here.code()})).status_code == 200


async def test_wrong_tokens_lock_out_no_login(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.client() as client:
        for _ in range(FAILURES_PER_WINDOW + 2):
            await client.post("/v1/webchat/links", json={}, headers={"Authorization": "Bearer wrong"})
        assert (await client.post("/v1/webchat/login", json={"code": "abcd-efgh"})).status_code == 401
        assert (await client.post("/v1/webchat/login", json={"code": await here.code()})).status_code == 200


async def test_logging_out_ends_the_session(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        kept = {"Cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
        assert (await client.post("/v1/webchat/logout", json={})).json() == {}
        assert COOKIE not in client.cookies
        assert (await client.get("/v1/webchat/history", headers=kept)).status_code == 401


async def test_logging_in_anew_ends_the_session_before(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        kept = {"Cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
        assert (await client.post("/v1/webchat/login", json={"code": await here.code("bob")})).json() == {"name": "bob"}
        async with here.client() as other:
            assert (await other.get("/v1/webchat/history", headers=kept)).status_code == 401


async def test_links_are_made_for_admins(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.client() as client:
        assert (await client.post("/v1/webchat/links", json={})).status_code == 401
        reader = {"Authorization": "Bearer reader-token-0123456789"}
        assert (await client.post("/v1/webchat/links", json={}, headers=reader)).status_code == 403
        bad = await client.post("/v1/webchat/links", json={"name": "No Such Name"}, headers=OPS)
        assert bad.status_code == 400
        link = (await client.post("/v1/webchat/links", json={"name": "bob"}, headers=OPS)).json()
        assert link["url"] == f"https://chat.example/#code={link['code']}"
        assert (await client.post("/v1/webchat/login", json={"code": link["code"]})).json() == {"name": "bob"}


async def test_a_link_leads_to_where_it_was_asked_for(tmp_path: Path) -> None:
    async with site(tmp_path, replace(CONFIG, gateway=GatewaySection())) as here, here.client() as client:
        link = (await client.post("/v1/webchat/links", json={}, headers=OPS)).json()
        assert link["url"].startswith(f"{here.url}/#code=")


async def test_without_an_account_there_is_no_chat(tmp_path: Path) -> None:
    async with site(tmp_path, replace(CONFIG, accounts=())) as here, here.client() as client:
        answer = await client.post("/v1/webchat/links", json={}, headers=OPS)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_logins_from_before_the_routes_were_a_plug_ins_are_valid(tmp_path: Path) -> None:
    """Rows as they were written then."""
    async with site(tmp_path) as here, here.client() as client, here.client() as other:
        digests = {what: sha256(what.encode()).hexdigest() for what in ("a-session-token", "abcdefghijklmnop")}
        now = here.gateway.now()
        session = TokenRow(digests["a-session-token"], "web_session", "alice", "webchat", (), now - 86_400.0, now + 86_400.0)
        await here.gateway.store.put_token(session)
        code = TokenRow(digests["abcdefghijklmnop"], "login_code", "bob", "webchat", (), now - 60.0, now + 60.0)
        await here.gateway.store.put_token(code)
        client.cookies[COOKIE] = "a-session-token"
        assert (await client.get("/v1/webchat/history")).json()["name"] == "alice"
        assert (await other.post("/v1/webchat/login", json={"code": "ABCD-efgh-ijkl-mnop"})).json() == {"name": "bob"}


async def test_a_page_of_somebody_else_does_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in("guest") as client:
        line = await post_and_answer(here, client)
        client.params = httpx2.QueryParams(name="frida")
        bodies = {
            "messages": {"id": "message-2", "text": "for the agent of frida"},
            "presses": {"id": "press-0001", "line": line, "data": "x"},
            "logout": {},
        }
        for method, path in ENDPOINTS:
            answer = await client.request(method, path, json=bodies.get(path.rpartition("/")[2]))
            assert answer.status_code == 409
            assert answer.json()["error"]["code"] == "other_login"
            assert "guest" in answer.json()["error"]["message"]
        client.params = httpx2.QueryParams(name="guest")
        assert len((await client.get("/v1/webchat/history")).json()["lines"]) == 2, "nothing stored, and still logged in"


async def test_a_page_must_say_whom_it_shows_but_for_its_first_look(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        client.params = httpx2.QueryParams()
        for method, path in ENDPOINTS:
            if path != "/v1/webchat/history":
                answer = await client.request(method, path, json=None if method == "GET" else {})
                assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
        assert (await client.get("/v1/webchat/history")).json()["name"] == "alice"
        assert (await client.get("/v1/webchat/history", params={"name": "No such"})).status_code == 400


async def test_of_two_cookies_the_one_of_whom_the_page_shows_counts(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in("alice") as alice, here.logged_in("bob") as bob, here.client() as other:
        cookies = "; ".join(f"{COOKIE}={client.cookies[COOKIE]}" for client in (alice, bob))
        for name in ("alice", "bob"):
            answer = await other.get(f"/v1/webchat/history?name={name}", headers={"Cookie": cookies})
            assert answer.json()["name"] == name


async def test_of_two_cookies_of_the_name_both_are_tried(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in("alice") as client:
        session = client.cookies[COOKIE]
        for cookies in (f"{COOKIE}=of-another-program; {COOKIE}={session}", f"{COOKIE}={session}; {COOKIE}=x"):
            async with here.client() as other:
                assert (await other.get("/v1/webchat/history", headers={"Cookie": cookies})).status_code == 200
