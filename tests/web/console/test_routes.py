"""The way into the console: once, for a while, and for no more than who asked for it may do."""

import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gatewayd.model.config import AuthSection, Scope, TokenConfig
from gatewayd.model.secret import Secret
from tests.web.api.test_chat import message
from tests.web.site import Site, configuration, open_site, token_of


async def new_code(site: Site, scope: Scope = "admin", page: str | None = None) -> str:
    async with site.client(scope) as client:
        made = await client.post("/v1/console/links", json={} if page is None else {"page": page})
    assert made.status_code == 200, made.text
    url, _, code = str(made.json()["url"]).partition("#code=")
    assert url.endswith(f"/{page or 'approvals'}")
    return code


async def log_in(site: Site, code: str) -> tuple[int, dict[str, Any]]:
    async with site.client(None) as client:
        answer = await client.post("/v1/console/login", json={"code": code})
    return answer.status_code, answer.json()


async def get(site: Site, path: str, bearer: str) -> int:
    async with site.client(None) as client:
        answer = await client.get(path, headers={"Authorization": f"Bearer {bearer}"})
    return answer.status_code


async def test_a_link_logs_in_once_and_may_what_its_maker_may(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        code = await new_code(site, "approvals")
        status, session = await log_in(site, code)
        assert (status, session["scopes"], session["name"]) == (200, ["approvals"], "approvals")
        assert await get(site, "/v1/approvals", session["token"]) == 200
        assert await get(site, "/v1/gateway/status", session["token"]) == 403
        assert (await log_in(site, code))[0] == 401


async def test_who_may_not_answer_gets_no_link(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        async with site.client("read") as client:
            assert (await client.post("/v1/console/links", json={})).status_code == 403
        async with site.client(None) as client:
            assert (await client.post("/v1/console/links", json={})).status_code == 401


@pytest.mark.parametrize(
    ("maker", "page", "scopes"),
    [
        ("admin", "approvals", ["approvals", "read"]),
        ("admin", "dead-letters", ["read", "admin"]),
        ("admin", "trace", ["read"]),
        ("read", "dead-letters", ["read"]),
        ("read", "trace", ["read"]),
    ],
)
async def test_a_login_may_what_its_page_is_for_and_its_maker_may(
    tmp_path: Path, maker: Scope, page: str, scopes: list[str]
) -> None:
    async with open_site(tmp_path) as site:
        _, session = await log_in(site, await new_code(site, maker, page))
        assert session["scopes"] == scopes
        assert await get(site, "/v1/dead-letters", session["token"]) == (200 if "read" in scopes else 403)
        async with site.client(None) as client:
            headers = {"Authorization": f"Bearer {session['token']}"}
            order = {"action": "drop", "filter": {}}
            acted = await client.post("/v1/dead-letters", json=order, headers=headers)
            assert acted.status_code == (200 if "admin" in scopes else 403)
            assert (await client.post("/v1/console/logout", json={}, headers=headers)).status_code == 200
        assert await get(site, "/v1/dead-letters", session["token"]) == 401


async def test_who_may_not_look_gets_no_link_to_dead_letters(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, site.client("approvals") as client:
        for page in ("dead-letters", "trace"):
            refused = await client.post("/v1/console/links", json={"page": page})
            assert (refused.status_code, refused.json()["error"]["message"]) == (
                403,
                "this token lacks the scope 'read': use one that has it",
            )
        assert (await client.post("/v1/console/links", json={"page": "status"})).status_code == 400


async def test_a_code_of_the_console_opens_nothing_else(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        code = await new_code(site)
        async with site.client(None) as client:
            assert (await client.post("/v1/webchat/login", json={"code": code})).status_code in (401, 404)
        assert await get(site, "/v1/approvals", code) == 401
        assert (await log_in(site, code))[0] == 200


async def test_logging_out_ends_the_token_of_the_page_and_no_other(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        _, session = await log_in(site, await new_code(site))
        async with site.client(None) as client:
            headers = {"Authorization": f"Bearer {session['token']}"}
            assert (await client.post("/v1/console/logout", json={}, headers=headers)).status_code == 200
        assert await get(site, "/v1/approvals", session["token"]) == 401
        async with site.client("admin") as client:
            assert (await client.post("/v1/console/logout", json={})).status_code == 200
            assert (await client.get("/v1/approvals")).status_code == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("none", 200),
        ("removed", 401),
        ("replaced", 401),
        ("reduced", 403),
    ],
)
async def test_a_login_ends_with_the_token_that_it_was_asked_for_with(tmp_path: Path, change: str, status: int) -> None:
    tokens = {
        "none": {"admin": TokenConfig(token=Secret(token_of("admin")), scopes=("admin",))},
        "removed": {},
        "replaced": {"admin": TokenConfig(token=Secret("another-0123456789abcdef"), scopes=("admin",))},
        "reduced": {"admin": TokenConfig(token=Secret(token_of("admin")), scopes=("read",))},
    }
    async with open_site(tmp_path) as site:
        _, session = await log_in(site, await new_code(site))
        code = await new_code(site)
        assert await get(site, "/v1/approvals", session["token"]) == 200
        site.gateway.configured.replace(replace(site.gateway.config, auth=AuthSection(tokens=tokens[change])))
        assert await get(site, "/v1/approvals", session["token"]) == status
        _, later = await log_in(site, code)
        assert await get(site, "/v1/approvals", later["token"]) == status


async def test_a_login_brings_nothing_for_an_account_that_is_not_its_makers(tmp_path: Path) -> None:
    token = TokenConfig(token=Secret(token_of("admin")), scopes=("admin",), accounts=("loopback/main",))
    config = replace(configuration(), auth=AuthSection(tokens={"admin": token}))
    async with open_site(tmp_path, config) as site, site.client(None) as client:
        _, session = await log_in(site, await new_code(site, page="dead-letters"))
        headers = {"Authorization": f"Bearer {session['token']}"}
        statuses = {}
        for account in ("main", "strict"):
            body = message(account=account)
            statuses[account] = (await client.post("/v1/chat/inbound", json=body, headers=headers)).status_code
        assert statuses == {"main": 202, "strict": 403}


async def test_the_page_and_its_files_come_with_a_policy_that_runs_nothing_else(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, site.client(None) as client:
        for name in ("approvals", "dead-letters", "trace"):
            page = await client.get(f"/{name}")
            assert page.status_code == 200
            assert "script-src 'self'" in page.headers["content-security-policy"]
            assert re.search(r"<script(?! type=.module. src=./static/[\w-]+\.js.></script>)| style=| on\w+=", page.text) is None
            files = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
            assert f"/static/{name}.js" in files
            for file in [*files, "/static/console.js"]:
                assert (await client.get(file)).status_code == 200


async def test_ways_in_are_audited(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        code = await new_code(site)
        await log_in(site, "wrong")
        await log_in(site, code)
        async with site.client("admin") as client:
            entries = (await client.get("/v1/audit?limit=50")).json()["entries"]
        assert [entry["action"] for entry in entries] == ["console.link", "auth.failed", "console.login"]


async def test_a_login_of_the_page_makes_no_further_links(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        _, session = await log_in(site, await new_code(site))
        async with site.client(None) as client:
            headers = {"Authorization": f"Bearer {session['token']}"}
            assert (await client.post("/v1/console/links", json={}, headers=headers)).status_code == 403
