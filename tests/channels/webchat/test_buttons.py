"""Buttons of the web chat over real HTTP: who may press what, and what comes of it."""

import json
import time
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec.structs import replace

from gatewayd.agents.echo import EchoSettings
from gatewayd.model.config import AgentApprovals, AgentFrame, AgentSettings, ApprovalsSection, ApproverGroup
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, RichText, SendText
from gatewayd.ports.store import OutboundDraft
from tests.channels.webchat.site import CONFIG, Site, site, streaming

YES_NO = ((Choice("Yes", "ap:none:once"), Choice("No", "ap:none:deny")),)
APPROVED_BY_ALICE = replace(
    CONFIG,
    agents=(AgentSettings("assistant", AgentFrame(approvals=AgentApprovals(ask=("owners",))), EchoSettings()),),
    approvals=ApprovalsSection(groups={"owners": ApproverGroup(people=("webchat:alice",))}),
)


async def show(here: Site, name: str = "alice", choices: tuple[tuple[Choice, ...], ...] = YES_NO) -> str:
    """A line with buttons for ``name``; its id."""
    peer = Peer("dm", name)
    payload = SendText(peer, RichText("Really?"), choices=choices)
    [row] = await here.gateway.outbox.write([OutboundDraft("webchat", "main", f"webchat:main:dm:{name}", payload)])
    while (sent := await here.gateway.store.get_outbound(row.id)) is None or sent.state != "sent":
        await here.gateway.outbox.wait_settled()
    return f"out-{row.id}"


def press_of(line: str, data: str = "ap:none:once", press: str = "press-0001") -> dict[str, str]:
    return {"id": press, "line": line, "data": data}


async def test_a_press_is_journaled_once_and_answered_on_the_page_that_pressed(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        line = await show(here)
        async with streaming(here, client) as stream:
            kind, shown = await stream.next()
            assert (kind, shown["id"]) == ("message", line)
            assert shown["buttons"] == [[{"label": "Yes", "data": "ap:none:once"}, {"label": "No", "data": "ap:none:deny"}]]
            posts = [await client.post("/v1/webchat/presses", json=press_of(line)) for _ in range(2)]
            assert [(post.status_code, post.json()) for post in posts] == [(202, {"id": "in-1"})] * 2
            kind, answer = await stream.next()
            assert (kind, answer["press"]) == ("answer", "press-0001")
            assert answer["text"]
        row = await here.gateway.store.get_inbound(1)
        sent = await here.gateway.store.get_outbound(int(line.removeprefix("out-")))
        assert row is not None
        assert sent is not None
        assert sent.receipt is not None
        assert (row.envelope.kind, row.envelope.text, row.envelope.press) == ("button", "ap:none:once", "press-0001")
        assert row.envelope.message_id == sent.receipt.message_id
        assert row.envelope.peer == Peer("dm", "alice")
        history = (await client.get("/v1/webchat/history")).json()
        assert [line["id"] for line in history["lines"]] == [line]


async def test_a_tool_is_allowed_by_a_press_and_the_prompt_says_by_whom(tmp_path: Path) -> None:
    async with site(tmp_path, APPROVED_BY_ALICE) as here, here.logged_in() as client, streaming(here, client) as stream:
        await client.post("/v1/webchat/messages", json={"id": "message-1", "text": "/demo-tool rm -rf x"})
        prompt = (await stream.until_answer())[-1][1]
        [allow] = [button for row in prompt["buttons"] for button in row if button["label"] == "Allow once"]
        await client.post("/v1/webchat/presses", json=press_of(prompt["id"], allow["data"]))
        told: dict[str, Any] = {}
        while not {"answer", "edit", "message"} <= told.keys():
            kind, data = await stream.next()
            told[kind] = data
        assert told["answer"] == {"press": "press-0001", "text": "Allowed."}
        assert told["edit"]["id"] == prompt["id"]
        assert "webchat:alice" in told["edit"]["html"]
        assert "buttons" not in told["edit"]
        assert told["message"]["from"] == "agent"
        late = press_of(prompt["id"], allow["data"], "press-0002")
        assert (await client.post("/v1/webchat/presses", json=late)).status_code == 202
        kind, answer = await stream.next()
        assert (kind, answer["press"]) == ("answer", "press-0002")
        assert "Too late" in answer["text"]


async def test_nobody_presses_in_the_chat_of_another(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in("bob") as bob:
        line = await show(here, "alice")
        for wrong in (line, "out-999999"):
            answer = await bob.post("/v1/webchat/presses", json=press_of(wrong))
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert await here.gateway.store.get_inbound(1) is None


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [("ready", 503, "overloaded"), ("sending", 503, "overloaded"), ("parked", 409, "conflict"), ("dead", 409, "conflict")],
)
async def test_a_line_that_was_not_sent_has_no_buttons_to_press(
    state: Literal["ready", "sending", "parked", "dead"], status: int, code: str, tmp_path: Path
) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        payload = SendText(Peer("dm", "alice"), RichText("Really?"), choices=YES_NO)
        [row] = await here.gateway.store.add_outbound([OutboundDraft("webchat", "main", "c", payload)], now=time.time())
        if state in ("sending", "dead"):
            assert await here.gateway.store.mark_sending(row.id)
        if state in ("parked", "dead"):
            await here.gateway.store.settle_outbound(row.id, state, now=time.time(), reason="a reason")
        answer = await client.post("/v1/webchat/presses", json=press_of(f"out-{row.id}"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    "body",
    [
        {"id": "short", "line": "out-1", "data": "x"},
        {"id": "press-0001", "line": "in-1", "data": "x"},
        {"id": "press-0001", "line": "out-", "data": "x"},
        {"id": "press-0001", "line": "out-" + "9" * 19, "data": "x"},
        {"id": "press-0001", "line": "out-1", "data": ""},
        {"id": "press-0001", "line": "out-1", "data": "x" * 65},
        {"id": "press-0001", "line": "out-1", "data": "x", "name": "bob"},
        {"id": "press-0001", "line": "out-1"},
        ["press-0001"],
    ],
)
async def test_presses_are_bounded_and_strict(body: object, tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        await show(here)
        assert (await client.post("/v1/webchat/presses", json=body)).status_code == 400


async def test_other_sites_cannot_press(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        press = json.dumps(press_of(await show(here))).encode()
        answer = await client.post("/v1/webchat/presses", content=press, headers={"Content-Type": "text/plain"})
        assert answer.status_code == 415
        headers = {"Content-Type": "application/json", "Origin": "https://evil.example"}
        answer = await client.post("/v1/webchat/presses", content=press, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "bad_origin")
        assert await here.gateway.store.get_inbound(1) is None
