"""Tokens that are no operator's see that something happens, and not who wrote, where, and what."""

import json
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from gatewayd.model.config import AuthSection, GatewayConfig, Role, TokenConfig
from gatewayd.model.records.event import Event
from gatewayd.model.secret import Secret
from gatewayd.model.status import AgentStatus
from gatewayd.web.access.redaction import redacted_agent, redacted_event
from tests.web.api.test_events import Reader
from tests.web.client import request
from tests.web.site import Site, configuration, open_site, token_of

SECRETS = ("alice", "4711", "launch the rocket")
TOKEN = "a-token-that-only-looks-01"


def site_config(role: Role) -> GatewayConfig:
    token = TokenConfig(token=Secret(TOKEN), role=role, scopes=("read",))
    write = TokenConfig(token=Secret(token_of("write")), scopes=("write",))
    return replace(configuration(), auth=AuthSection(tokens={"looker": token, "write": write}))


async def talk(site: Site) -> None:
    body = {
        "channel": "loopback",
        "account": "main",
        "peer": {"kind": "dm", "id": "alice"},
        "sender": {"id": "alice", "name": "4711"},
        "text": "/demo-tool launch the rocket",
        "event_key": "k",
    }
    async with site.client("write") as client:
        assert (await client.post("/v1/chat/inbound", json=body)).status_code == 202
    await trio.sleep(1)


@pytest.mark.parametrize("role", ["node", "connector"])
async def test_a_program_sees_no_people(tmp_path: Path, clock: trio.testing.MockClock, role: Role) -> None:
    async with open_site(tmp_path, site_config(role)) as site:
        await talk(site)
        seen = []
        async with site.dial() as client:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            for path in ("/v1/agents", "/v1/channels", "/v1/gateway/status", "/metrics", "/readyz"):
                answer = await client.ask(request("GET", path, headers=headers))
                assert answer.status in (200, 503)
                seen.append(answer.body.decode())
            route = await client.ask(
                request("GET", "/v1/gateway/route?channel=loopback&account=main&peer=dm:alice", headers=headers)
            )
            assert route.status == 403
        events = await site.store.events_after(0, limit=1000)
        seen += [bytes(redacted_event(event).data).decode() for event in events]
        assert not [secret for secret in SECRETS for text in seen if secret in text]
        assert any("alice" in bytes(event.data).decode() for event in events), "which the log has"


async def test_its_stream_of_events_has_none_either(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path, site_config("node")) as site, site.dial() as client:
        await talk(site)
        await client.say(request("GET", "/v1/events?after=0", headers={"Authorization": f"Bearer {TOKEN}"}))
        assert (await client.head())[0] == 200
        reader = Reader(client)
        told = {}
        while "approval.pending" not in told:
            block = await reader.block()
            assert block is not None
            told[block.kind] = block.data["data"]
        assert set(told["inbound.received"]) == {"id", "channel", "account", "event_kind"}
        assert set(told["approval.pending"]) == {"id", "agent", "turn_id", "expires_at"}


KEYS = (
    "peer",
    "sender_id",
    "session_key",
    "by",
    "tool",
    "detail",
    "name",
    "address",
    "message_id",
    "text",
    "reason",
    "id",
    "state",
)


@given(st.dictionaries(st.sampled_from(KEYS), st.text() | st.integers()))
def test_whatever_an_event_says(data: dict[str, object]) -> None:
    event = Event(1, 2.0, "inbound.done", Raw(json.dumps(data).encode()))
    shown = json.loads(bytes(redacted_event(event).data))
    assert shown.keys() <= {"reason", "id", "state"}
    assert all(data[key] == value for key, value in shown.items())
    assert not any(isinstance(value, str) and (" " in value or not value.isascii()) for value in shown.values())


def test_an_error_of_a_core_may_hold_what_was_written_to_it() -> None:
    assert redacted_agent(AgentStatus("a", "echo", last_error="ValueError: my password is x")).last_error is None
