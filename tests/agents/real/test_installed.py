"""The installed servers start, talk to the scripted model, and are gone afterwards."""

from pathlib import Path

import httpx2
import pytest
import trio

from tests.agents.real.installed import Project, RunningServer, openagentic_server, opencode_server
from tests.fakes.model_server import ModelServer


async def ask(server: RunningServer, text: str) -> str:
    """The answer to one prompt in a new session, by the blocking form that both servers have."""
    async with server.client() as client:
        session = (await client.post("/session", json={})).json()["id"]
        body = {"text": text, "parts": [{"type": "text", "text": text}]}
        message = (await client.post(f"/session/{session}/message", json=body)).json()
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


async def test_opencode(opencode_binary: Path, opencode_project: Project, model: ModelServer) -> None:
    with trio.fail_after(120):
        async with opencode_server(opencode_binary, opencode_project) as server:
            assert await ask(server, "say hello there") == "hello there"
    assert [seen.text for seen in model.requests] == ["say hello there"]
    async with server.client() as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get("/global/health")


@pytest.mark.parametrize("deltas", [True, False])
async def test_openagentic(openagentic_project: Project, model: ModelServer, deltas: bool) -> None:
    with trio.fail_after(60):
        async with openagentic_server(openagentic_project, deltas=deltas) as server:
            assert await ask(server, "say hello there") == "hello there"
    assert [seen.path for seen in model.requests] == ["/v1/responses"]
