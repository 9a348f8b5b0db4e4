"""POST /v1/gateway/reload: who may, and what is answered."""

from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gatewayd.model.config import Scope
from gatewayd.model.errors import ConfigError, ConfigProblem, Conflict, GatewayError, StoreRefused, TryAgain
from gatewayd.model.reload import Change, ReloadReport
from tests.web.site import open_site

REPORT = ReloadReport(
    "gatewayd.toml",
    (Change("changed", "[channels.telegram.accounts.main]", ("token",), "reconnected"), Change("added", "[agents.new]")),
    (Change("changed", "[gateway]", ("bind",)),),
    unchanged_accounts=3,
    unchanged_agents=1,
    pending=("telegram/main",),
)


async def test_the_report_is_the_answer(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        actors: list[str] = []

        async def reload(actor: str) -> ReloadReport:
            await trio.lowlevel.checkpoint()
            actors.append(actor)
            return REPORT

        site.reload = reload
        answer = await client.post("/v1/gateway/reload")
        assert (answer.status_code, actors) == (200, ["operator:admin"])
        assert answer.json() == {
            "source": "gatewayd.toml",
            "applied": [
                {
                    "kind": "changed",
                    "table": "[channels.telegram.accounts.main]",
                    "keys": ["token"],
                    "effect": "reconnected",
                },
                {"kind": "added", "table": "[agents.new]"},
            ],
            "needs_restart": [{"kind": "changed", "table": "[gateway]", "keys": ["bind"]}],
            "unchanged_accounts": 3,
            "unchanged_agents": 1,
            "pending": ["telegram/main"],
            "warnings": [],
        }
        assert (await client.post("/v1/gateway/reload", json={})).status_code == 200
        assert (await client.post("/v1/gateway/reload", json={"force": True})).status_code == 400
        assert (await client.get("/v1/gateway/reload")).status_code == 405
        await wait_all_tasks_blocked()


async def test_all_that_is_wrong_is_told(tmp_path: Path) -> None:
    problems = [ConfigProblem("[a].b", "unknown key", "x.toml", 3, nearest="c"), ConfigProblem("", "and that")]

    async def reload(actor: str) -> ReloadReport:
        raise ConfigError(problems)

    async with open_site(tmp_path) as site, site.client() as client:
        site.reload = reload
        answer = await client.post("/v1/gateway/reload")
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] == "invalid_config"
        assert [problem["what"] for problem in answer.json()["problems"]] == ["unknown key", "and that"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Conflict("the daemon is draining"), 409, "conflict"),
        (StoreRefused("the disk is full"), 503, "unavailable"),
        (TryAgain("not in 30 s"), 503, "unavailable"),
    ],
)
async def test_other_refusals_are_told_in_words(tmp_path: Path, error: GatewayError, status: int, code: str) -> None:
    async def reload(actor: str) -> ReloadReport:
        raise error

    async with open_site(tmp_path) as site, site.client() as client:
        site.reload = reload
        answer = await client.post("/v1/gateway/reload")
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("scope", ["read", "write", "approvals", "pairing", None])
async def test_only_an_admin_may(tmp_path: Path, scope: Scope | None) -> None:
    async with open_site(tmp_path) as site, site.client(scope) as client:
        answer = await client.post("/v1/gateway/reload")
        assert answer.status_code == (401 if scope is None else 403)


async def test_what_came_from_nowhere_cannot_be_read_again(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        answer = await client.post("/v1/gateway/reload")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
