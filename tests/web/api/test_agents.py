"""Agent cores over HTTP: what they are, what their processes said, and how they are opened anew."""

from pathlib import Path

import trio.testing

from gatewayd.model.config import AgentFrame, AgentSettings
from tests.web.api.test_audit import deeds
from tests.web.attached import AttachedSettings
from tests.web.site import configuration, open_site


async def test_agents_are_listed(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("read") as client:
        [agent] = (await client.get("/v1/agents")).json()["agents"]
        assert (agent["agent"], agent["core"], agent["state"], agent["turns"]) == ("assistant", "echo", "open", 0)
        assert (await client.get("/v1/agents/assistant")).status_code == 403


async def test_one_agent_with_its_output(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        report = (await client.get("/v1/agents/assistant")).json()
        assert report["agent"]["agent"] == "assistant"
        assert report["output"] == []
        missing = await client.get("/v1/agents/asistant")
        assert (missing.status_code, missing.json()["error"]["message"]) == (404, "there is no agent 'asistant'")


async def test_a_core_is_opened_anew(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client() as client:
        before = site.gateway.agents.open_core("assistant")
        assert before is not None
        answer = await client.post("/v1/agents/assistant/restart", json={})
        assert (answer.status_code, answer.json()["agent"]) == (200, "assistant")
        assert await site.gateway.agents.core("assistant") is not before
        assert (await client.post("/v1/agents/nobody/restart")).status_code == 404
        site.gateway.enter("draining")
        assert (await client.post("/v1/agents/assistant/restart")).status_code == 503
        assert await deeds(site) == [
            ("operator:admin", "agents.restart", "assistant"),
            ("operator:admin", "agents.restart", "nobody"),
            ("operator:admin", "agents.restart.refused", "nobody"),
        ]


async def test_what_a_core_knows_of_itself_is_shown_and_its_last_words_stay(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    agents = (AgentSettings("coder", AgentFrame(core="attached"), AttachedSettings("http://127.0.0.1:9")),)
    async with open_site(tmp_path, configuration(agents=agents)) as site, site.client() as client:
        report = (await client.get("/v1/agents/coder")).json()
        shown = {key: report["agent"][key] for key in ("version", "pid", "sessions", "url", "running")}
        assert shown == {"version": "1.2.3", "pid": 4711, "sessions": 1, "url": "http://127.0.0.1:9", "running": 0}
        assert report["output"] == ["listening", "a warning"]
        await site.gateway.agents._supervisor.stop("coder")
        report = (await client.get("/v1/agents/coder")).json()
        assert (report["agent"]["state"], report["agent"]["pid"]) == ("parked", None)
        assert report["output"] == ["listening", "a warning"]
        # One that is down is opened again, too.
        assert (await client.post("/v1/agents/coder/restart")).json()["state"] in ("opening", "open")
