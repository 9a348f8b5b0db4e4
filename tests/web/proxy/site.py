"""A daemon with one agent that has a server, and clients that reach the server through the daemon."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import trio
import trio.testing

from gatewayd.model.config import (
    AgentApprovals,
    AgentFrame,
    AgentSettings,
)
from tests.web.attached import AttachedSettings, Server, open_server
from tests.web.site import Site, configuration, open_site

THEIRS = "ses_theirs"
ASKED = {"id": "per_1", "sessionID": THEIRS, "permission": "bash", "patterns": ["ls"], "metadata": {"command": "ls"}}


def frame(**approvals: Any) -> AgentFrame:
    return AgentFrame(core="attached", approvals=AgentApprovals(**approvals))


@asynccontextmanager
async def attached(tmp_path: Path, **approvals: Any) -> AsyncIterator[tuple[Site, Server, httpx2.AsyncClient]]:
    """A daemon with one agent that has a server, and a client with an admin's token."""
    async with open_server() as server:
        agents = (AgentSettings("coder", frame(**approvals), AttachedSettings(server.url)),)
        async with open_site(tmp_path, configuration(agents=agents)) as site, site.client() as client:
            yield site, server, client


def basic(password: str, user: str = "opencode") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def message(text: str) -> dict[str, object]:
    return {"channel": "loopback", "account": "main", "peer": {"kind": "dm", "id": "7"}, "sender": {"id": "7"}, "text": text}


async def until_asked(site: Site, ref: str) -> str:
    """The id of the pending approval with this ref."""
    while (found := site.gateway.approvals.find_pending(agent="coder", ref=ref)) is None:
        await trio.testing.wait_all_tasks_blocked(0.001)
    return found.id
