"""Clients of agents' servers, attached through us: who may, what is passed on, and that no answer counts twice."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trio.testing
from msgspec.structs import replace

from gatewayd.agents import echo
from gatewayd.agents.opencode.proxy.upstream import MOST_BYTES
from gatewayd.model.config import (
    AgentApprovals,
    AgentFrame,
    AgentSettings,
    ApprovalRule,
    AuthSection,
    Scope,
    TokenConfig,
)
from gatewayd.model.secret import Secret
from gatewayd.web.proxy.forward import MOST_OPEN
from tests.web.api.test_audit import deeds
from tests.web.attached import EVENTS, PASSWORD, SESSION, AttachedSettings, Heard, Server, chunk, open_server, says
from tests.web.client import request
from tests.web.site import Site, configuration, open_site, token_of

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


async def test_a_read_is_passed_on_with_the_core_s_credentials_and_not_ours(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with attached(tmp_path) as (_, server, client):
        server.answers["GET /session/ses_1/message"] = says(
            [{"info": 1}], 200, "X-Next-Cursor: abc", "Set-Cookie: a=b", "Link: <u>"
        )
        answer = await client.get(
            "/session/ses_1/message?limit=1&before=a%2Fb%5B",
            headers={"Cookie": "x=y", "X-Other": "z", "Accept": "application/json"},
        )
        assert (answer.status_code, answer.json()) == (200, [{"info": 1}])
        assert answer.headers["x-next-cursor"] == "abc"
        assert "set-cookie" not in answer.headers
        assert "link" not in answer.headers
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        [heard] = server.heard
        assert heard.target == "/session/ses_1/message?limit=1&before=a%2Fb%5B"
        assert heard.headers["authorization"] == f"Basic {PASSWORD}"
        assert heard.headers["accept-encoding"] == "identity"
        assert not {"cookie", "x-other"} & heard.headers.keys()
        assert token_of("admin") not in str(heard)


@pytest.mark.parametrize(
    ("scopes", "path", "status"),
    [
        (("read",), "/session", 403),
        (("write",), "/session", 403),
        (("approvals",), "/session", 403),
        (("approvals", "write"), "/session", 200),
        (("approvals", "write"), "/config", 403),
        (("approvals", "write"), "/provider", 403),
        (("admin",), "/session", 200),
        (("admin",), "/config", 200),
    ],
)
async def test_who_may(tmp_path: Path, clock: trio.testing.MockClock, scopes: tuple[Scope, ...], path: str, status: int) -> None:
    token = "the-token-of-the-client-0123456789"
    auth = AuthSection(tokens={"client": TokenConfig(token=Secret(token), scopes=scopes)})
    async with open_server() as server:
        server.answers = {f"GET {path}": says([])}
        config = replace(configuration(agents=(AgentSettings("coder", frame(), AttachedSettings(server.url)),)), auth=auth)
        async with open_site(tmp_path, config) as site, site.client(None) as client:
            for headers in ({"Authorization": f"Bearer {token}"}, basic(token), basic(token, user="")):
                assert (await client.get(path, headers=headers)).status_code == status
            assert len(server.heard) == (3 if status == 200 else 0)


async def test_without_a_token_a_client_is_asked_for_basic(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, _), site.client(None) as client:
        for headers in (
            {},
            basic("wrong"),
            {"Authorization": "Basic %%%"},
            {"Authorization": "Basic"},
            {"Authorization": "Bearer x"},
        ):
            answer = await client.get("/session", headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == 'Basic realm="gatewayd", charset="UTF-8"'
        assert server.heard == []
        # Elsewhere Basic means nothing.
        assert (await client.get("/v1/channels", headers=basic(token_of("admin")))).status_code == 401


async def test_a_page_of_another_site_cannot_use_what_the_browser_has_kept(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, _), site.client(None) as client:
        server.answers["GET /session"] = says([])
        for site_is, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
            headers = {**basic(token_of("admin")), "Sec-Fetch-Site": site_is}
            assert (await client.get("/session", headers=headers)).status_code == status, site_is
        headers = {**basic(token_of("admin")), "Origin": "https://evil.example"}
        assert (await client.get("/session", headers=headers)).json()["error"]["code"] == "bad_origin"
        assert len(server.heard) == 2


@pytest.mark.parametrize(
    "target",
    [
        "/session/../config",
        "/session/ses_1/../../config",
        "/session/%2e%2e/config",
        "/session/ses_1%2f..%2fconfig",
        "/session/ses_1/..%2f..%2fconfig",
        "/session/ses_1/%00",
        "/session//config",
        "/session/",
        "/session/.hidden",
        "/session/a\\b",
        "/session/a;b",
        "/session/a b".replace(" ", "%20"),
        "/permission/%2E%2E/reply",
    ],
)
async def test_a_path_that_can_be_read_in_two_ways_is_refused(tmp_path: Path, clock: trio.testing.MockClock, target: str) -> None:
    async with attached(tmp_path) as (site, server, _), site.dial() as raw:
        answer = await raw.ask(request("GET", target, headers={"Authorization": f"Bearer {token_of('admin')}"}))
        assert answer.status in (400, 404, 405), answer.body
        assert server.heard == []


async def test_what_is_not_named_is_not_passed_on(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (_, server, client):
        for method, path in (
            ("GET", "/file/content?path=/etc/passwd"),
            ("GET", "/pty"),
            ("POST", "/global/dispose"),
            ("POST", "/config"),
            ("PATCH", "/config"),
            ("GET", "/api/session"),
            ("POST", "/api/session/ses_1/permission/per_1/reply"),
            ("POST", "/session/ses_1/nonsense"),
            ("GET", "/project/x/y"),
            ("POST", "/permission/per_1"),
            ("GET", "/question/que_1"),
            ("HEAD", "/session"),
        ):
            answer = await client.request(method, path)
            assert answer.status_code in (404, 405), path
        assert server.heard == []


async def test_credentials_in_a_query_are_refused(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (_, server, client):
        assert (await client.get("/session?auth_token=abc")).status_code == 400
        assert server.heard == []


async def test_an_escaped_colon_is_sent_bare(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    """OpenAgentic's ids have one, and it does not unescape paths."""
    async with attached(tmp_path) as (_, server, client):
        listed = [{"id": "call_5:0", "prompt": "Which?", "choices": []}]
        server.answers = {"GET /question": says(listed), "POST /question/call_5:0/reply": says(True)}
        answer = await client.post("/question/call_5%3A0/reply", json={"answers": ["Red"]})
        assert (answer.status_code, answer.json()) == (200, True)
        assert server.heard[-1].json == {"answers": ["Red"]}


async def test_events_are_passed_on_as_they_come(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    go_on = trio.Event()

    async def stream(heard: Heard, connection: trio.SocketStream) -> None:
        await connection.send_all(EVENTS + chunk(b"data: one\n\n"))
        await go_on.wait()
        await connection.send_all(chunk(b"data: two\n\n") + b"0\r\n\r\n")

    async with attached(tmp_path) as (site, server, _), site.dial() as raw:
        server.answers["GET /event"] = stream
        await raw.say(request("GET", "/event", headers=basic(token_of("admin"))))
        status, headers = await raw.head()
        assert (status, headers["content-type"], headers["x-accel-buffering"]) == (200, "text/event-stream", "no")
        assert await raw.chunk() == b"data: one\n\n"
        go_on.set()
        assert await raw.chunk() == b"data: two\n\n"
        assert await raw.chunk() == b""
        assert await site.is_well()


async def test_a_stream_ends_when_its_token_is_taken_away(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    left = trio.Event()

    async def stream(heard: Heard, connection: trio.SocketStream) -> None:
        await connection.send_all(EVENTS)
        while not left.is_set():
            await connection.send_all(chunk(b": heartbeat\n\n"))
            with trio.move_on_after(10):
                assert await connection.receive_some() == b""
                left.set()

    async with attached(tmp_path) as (site, server, _), site.dial() as raw:
        server.answers["GET /event"] = stream
        await raw.say(request("GET", "/event", headers=basic(token_of("admin"))))
        await raw.head()
        for _ in range(4):
            assert await raw.chunk() == b": heartbeat\n\n"
        site.gateway.configured.replace(replace(site.gateway.config, auth=AuthSection(tokens={})))
        with trio.fail_after(40):
            while await raw.chunk():
                pass
            await left.wait()


async def test_a_client_that_leaves_ends_the_connection_to_the_server(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    left = trio.Event()

    async def stream(heard: Heard, connection: trio.SocketStream) -> None:
        await connection.send_all(EVENTS + chunk(b"data: one\n\n"))
        assert await connection.receive_some() == b""
        left.set()

    async with attached(tmp_path) as (site, server, _):
        server.answers["GET /event"] = stream
        async with site.dial() as raw:
            await raw.say(request("GET", "/event", headers=basic(token_of("admin"))))
            await raw.head()
            assert await raw.chunk() == b"data: one\n\n"
        with trio.fail_after(30):
            await left.wait()


async def test_a_client_that_does_not_read_is_cut_off_and_slows_the_server(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    sent = 0
    ended = trio.Event()

    async def flood(heard: Heard, connection: trio.SocketStream) -> None:
        nonlocal sent
        await connection.send_all(EVENTS)
        try:
            while True:
                await connection.send_all(chunk(b"data: " + b"x" * 60_000 + b"\n\n"))
                sent += 60_000
        except trio.BrokenResourceError:
            ended.set()

    async with attached(tmp_path) as (site, server, _):
        server.answers["GET /event"] = flood
        async with site.dial(receive_buffer=4096) as raw:
            await raw.say(request("GET", "/event", headers=basic(token_of("admin"))))
            with trio.fail_after(60):
                await ended.wait()
        assert sent < 20_000_000
        assert await site.is_well()


async def test_a_server_that_dies_in_the_middle_of_events_ends_the_stream(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async def die(heard: Heard, connection: trio.SocketStream) -> None:
        await connection.send_all(EVENTS + chunk(b"data: one\n\n"))

    async with attached(tmp_path) as (site, server, _), site.dial() as raw:
        server.answers["GET /event"] = die
        await raw.say(request("GET", "/event", headers=basic(token_of("admin"))))
        await raw.head()
        assert await raw.chunk() == b"data: one\n\n"
        assert await raw.chunk() == b""


async def test_an_answer_that_is_cut_is_not_taken_for_whole(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[dict[str, object]]
) -> None:
    async def die(heard: Heard, connection: trio.SocketStream) -> None:
        await connection.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        await connection.send_all(chunk(b"[1, "))

    async with attached(tmp_path) as (site, server, client):
        server.answers["GET /session"] = die
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/session")
        assert await site.is_well()
        assert [entry["event"] for entry in logged if entry["log_level"] in ("warning", "error")] == ["response_truncated"]


async def test_a_dead_server_and_a_silent_one(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async def silent(heard: Heard, connection: trio.SocketStream) -> None:
        await connection.receive_some()

    async def mute(heard: Heard, connection: trio.SocketStream) -> None:
        await connection.send_all(EVENTS + chunk(b": hello\n\n"))
        await connection.receive_some()

    async with attached(tmp_path) as (site, server, client):
        server.answers = {"GET /session": silent, "GET /event": mute}
        answer = await client.get("/session")
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "gateway_timeout")
        assert (await client.get("/event")).content == b": hello\n\n"  # ended when nothing had been heard for long
    agents = (AgentSettings("coder", frame(), AttachedSettings("http://127.0.0.1:1")),)
    async with open_site(tmp_path / "other", configuration(agents=agents)) as site, site.client() as client:
        answer = await client.get("/session")
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "bad_gateway")
        assert "127.0.0.1" not in answer.text


@pytest.mark.parametrize(
    ("raw", "status", "word"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", 502, "redirects"),
        (b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", 502, "999"),
        (b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", 502, "credentials"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", 404, "nothing at this path"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: image/svg+xml\r\nContent-Length: 5\r\n\r\n<svg>", 502, "protocol"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", 502, "proper answer"),
        (says({"name": "NotFoundError"}, 404), 404, "NotFoundError"),
        (says({"name": "UnknownError"}, 500), 500, "UnknownError"),
    ],
)
async def test_what_a_server_may_answer(
    tmp_path: Path, clock: trio.testing.MockClock, raw: bytes, status: int, word: str
) -> None:
    async with attached(tmp_path) as (_, server, client):
        server.answers["GET /session"] = raw
        answer = await client.get("/session")
        assert (answer.status_code, word in answer.text) == (status, True), answer.text
        assert "www-authenticate" not in answer.headers
        assert len(server.heard) == 1


async def test_a_write_is_recorded_and_bounded(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, client):
        server.answers = {
            "POST /session": says({"id": "ses_1"}),
            "PATCH /session/ses_1": says({}),
            "POST /session/ses_1/prompt_async": b"HTTP/1.1 204 No Content\r\n\r\n",
            "DELETE /session/ses_1": says(True),
            "POST /session/ses_1/abort": says(True),
        }
        assert (await client.post("/session", json={"title": "x"})).json() == {"id": "ses_1"}
        assert (await client.patch("/session/ses_1", json={"title": "y"})).status_code == 200
        parts = {"parts": [{"type": "text", "text": "a secret of mine"}]}
        assert (await client.post("/session/ses_1/prompt_async", json=parts)).status_code == 204
        assert server.heard[-1].json == parts
        assert (await client.post("/session/ses_1/abort")).json() is True
        assert (await client.delete("/session/ses_1")).json() is True
        big = await client.post("/session/ses_1/prompt_async", json={"parts": "x" * 200_000})
        assert (big.status_code, big.json()["error"]["code"]) == (413, "body_too_large")
        for content, kind, status in (
            (b"[]", "application/json", 400),
            (b"{", "application/json", 400),
            (b"{}", "text/plain", 415),
        ):
            answer = await client.post("/session", content=content, headers={"Content-Type": kind})
            assert answer.status_code == status
        assert await deeds(site) == [
            ("operator:admin", "proxy.post", "coder/session"),
            ("operator:admin", "proxy.patch", "coder/session/ses_1"),
            ("operator:admin", "proxy.post", "coder/session/ses_1/prompt_async"),
            ("operator:admin", "proxy.post", "coder/session/ses_1/abort"),
            ("operator:admin", "proxy.delete", "coder/session/ses_1"),
        ]
        async with site.client("approvals") as reader:
            assert "a secret of mine" not in (await reader.get("/v1/audit")).text
        site.gateway.enter("draining")
        assert (await client.post("/session", json={})).json()["error"]["code"] == "draining"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/session", {"permission": [{"permission": "*", "pattern": "*", "action": "allow"}]}),
        ("/session", {"permission": [{"permission": "*", "pattern": "*", "action": "deny"}, {"action": "allow"}]}),
        ("/session/ses_1/message", {"parts": [], "tools": {"bash": True}}),
        ("/session/ses_1/prompt_async", {"parts": [], "tools": {"edit": False, "bash": True}}),
    ],
)
async def test_nobody_allows_tools_by_the_way(
    tmp_path: Path, clock: trio.testing.MockClock, path: str, body: dict[str, object]
) -> None:
    async with attached(tmp_path) as (_, server, client):
        answer = await client.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
        assert server.heard == []


async def test_a_key_that_is_given_twice_is_passed_on_as_it_was_looked_at(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (_, server, client):
        server.answers["POST /session"] = says({})
        raw = b'{"permission":[{"action":"allow"}],"title":"x","permission":[{"action":"deny"}]}'
        assert (await client.post("/session", content=raw, headers={"Content-Type": "application/json"})).status_code == 200
        assert server.heard[-1].body.count(b"permission") == 1
        assert server.heard[-1].json["permission"] == [{"action": "deny"}]


async def test_an_answer_to_our_turn_is_given_at_our_desk_and_not_to_the_server(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with attached(tmp_path) as (site, server, client):
        for path, body, outcome in (
            ("/permission/per_7/reply", {"reply": "always"}, "allowed by operator:admin, None"),
            (
                f"/session/{SESSION}/permissions/per_7",
                {"response": "reject", "message": "not now"},
                "denied by operator:admin, not now",
            ),
        ):
            async with trio.open_nursery() as nursery:
                said: list[str] = []

                async def talk(said: list[str] = said) -> None:
                    answer = await client.post("/v1/chat/inbound?wait=60", json=message("ask per_7"))
                    said.append(answer.json()["payloads"][-1]["text"])

                nursery.start_soon(talk)
                await until_asked(site, "per_7")
                assert (await client.post(path, json=body)).json() is True
            assert said == [outcome]
        assert server.heard == []
        late = await client.post("/permission/per_7/reply", json={"reply": "once"})
        assert (late.status_code, late.json()["_tag"], late.json()["requestID"]) == (404, "PermissionNotFoundError", "per_7")
        assert [action for _, action, _ in await deeds(site)] == ["approval.allow", "approval.deny"]


async def test_a_press_and_an_answer_there_do_not_both_count(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, client):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask per_7")))
            approval = await until_asked(site, "per_7")
            answers: list[int] = []

            async def here() -> None:
                answers.append((await client.post(f"/v1/approvals/{approval}", json={"decision": "allow"})).status_code)

            async def there() -> None:
                answers.append((await client.post("/permission/per_7/reply", json={"reply": "reject"})).status_code)

            async with trio.open_nursery() as pressing:
                pressing.start_soon(here)
                pressing.start_soon(there)
        assert sorted(answers) in ([200, 404], [200, 409])
        assert all(heard.method == "GET" for heard in server.heard)


async def test_a_request_of_our_turn_that_is_not_asked_yet_is_not_answered_at_the_server(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with attached(tmp_path) as (site, server, client):
        server.answers = {
            "GET /permission": says(
                [{**ASKED, "id": "per_8", "sessionID": "ses_child"}, {**ASKED, "id": "per_9", "sessionID": SESSION}]
            ),
            "GET /session/ses_child": says({"id": "ses_child", "parentID": SESSION}),
        }
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask per_7")))
            await until_asked(site, "per_7")
            for request_id in ("per_8", "per_9"):
                answer = await client.post(f"/permission/{request_id}/reply", json={"reply": "once"})
                assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
            await client.post("/permission/per_7/reply", json={"reply": "once"})
        assert [heard.method for heard in server.heard] == ["GET"] * 3


async def test_a_request_of_the_client_s_own_session_is_recorded_and_answered_there(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with attached(tmp_path) as (site, server, client):
        server.answers = {"GET /permission": says([ASKED]), "POST /permission/per_1/reply": says(True)}
        answer = await client.post("/permission/per_1/reply?directory=x", json={"reply": "always"})
        assert answer.json() is True
        [heard] = server.of("POST /permission/per_1/reply")
        assert heard.target == "/permission/per_1/reply?directory=x"
        assert heard.json == {"reply": "once"}  # always would be for everybody
        [row] = await site.gateway.approvals.list(None)
        assert (row.state, row.tool, row.decided_by, row.ref, row.origin) == (
            "allowed",
            "bash",
            "operator:admin",
            "per_1",
            "proxy",
        )
        assert json.loads(row.input) == {"command": "ls", "patterns": ["ls"]}
        assert row.consumed_at is not None
        assert [action for _, action, _ in await deeds(site)] == ["approval.allowed"]
        # Denied after that: it is passed on, and allowed after that: not.
        assert (await client.post("/permission/per_1/reply", json={"reply": "reject"})).json() is True
        unknown = await client.post("/permission/per_2/reply", json={"reply": "once"})
        assert (unknown.status_code, unknown.json()["_tag"]) == (404, "PermissionNotFoundError")


async def test_what_was_denied_is_not_allowed_after_that(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (_, server, client):
        server.answers = {"GET /permission": says([ASKED]), "POST /permission/per_1/reply": says({"error": "x"}, 500)}
        await client.post("/permission/per_1/reply", json={"reply": "reject", "message": "no"})
        assert server.heard[-1].json == {"reply": "reject", "message": "no"}
        assert (await client.post("/permission/per_1/reply", json={"reply": "once"})).status_code == 404
        assert len(server.of("POST /permission/per_1/reply")) == 1


@pytest.mark.parametrize(
    "approvals", [{"quorum": 2}, {"rules": (ApprovalRule(action="deny", tool="bash", input={"command": "l*"}),)}]
)
async def test_the_agent_s_policy_holds_for_the_client_s_own_sessions(
    tmp_path: Path, clock: trio.testing.MockClock, approvals: dict[str, Any]
) -> None:
    async with attached(tmp_path, **approvals) as (site, server, client):
        server.answers = {
            "GET /permission": says([ASKED]),
            "POST /permission/per_1/reply": says(True),
            "POST /session/ses_theirs/shell": says({}),
        }
        for path, body in (
            ("/permission/per_1/reply", {"reply": "once"}),
            (f"/session/{THEIRS}/shell", {"agent": "build", "command": "ls"}),
        ):
            answer = await client.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
        assert await site.gateway.approvals.list(None) == []
        assert (await client.post("/permission/per_1/reply", json={"reply": "reject"})).json() is True


async def test_a_command_of_the_client_s_own_is_a_recorded_yes(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, client):
        server.answers["POST /session/ses_theirs/shell"] = says({})
        assert (await client.post(f"/session/{THEIRS}/shell", json={"agent": "build", "command": "ls"})).status_code == 200
        [row] = await site.gateway.approvals.list(None)
        assert (row.tool, row.state, row.decided_by) == ("bash", "allowed", "operator:admin")
        assert json.loads(row.input)["command"] == "ls"


async def test_nobody_prompts_into_a_session_in_which_our_turn_runs(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, client):
        server.answers = {
            "GET /session/ses_child": says({"parentID": SESSION}),
            "GET /session/ses_theirs": says({}),
            "POST /session/ses_theirs/message": says({}),
            f"POST /session/{SESSION}/abort": says(True),
            f"POST /session/{SESSION}/message": says({}),
        }
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask per_7")))
            await until_asked(site, "per_7")
            for session in (SESSION, "ses_child"):
                for verb in ("message", "prompt_async", "command", "shell", "revert", "summarize"):
                    answer = await client.post(f"/session/{session}/{verb}", json={})
                    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict"), (session, verb)
            assert (await client.delete(f"/session/{SESSION}")).status_code == 409
            assert (await client.post(f"/session/{THEIRS}/message", json={})).status_code == 200
            assert (await client.post(f"/session/{SESSION}/abort")).status_code == 200
            await client.post("/permission/per_7/reply", json={"reply": "once"})
        assert (await client.post(f"/session/{SESSION}/message", json={})).status_code == 200


async def test_a_question_of_our_turn_is_answered_once(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, client):
        for verb, body, outcome in (
            ("reply", {"answers": [["Red"]]}, "answers: ('Red',)"),
            ("reject", {}, "answers: None"),
        ):
            talk = message("question que_7:0") | {"event_key": verb}
            asked = (await client.post("/v1/chat/inbound?wait=60", json=talk)).json()
            assert asked["question"]
            if verb == "reply":
                two = await client.post("/question/que_7/reply", json={"answers": [["Red"], ["Blue"]]})
                assert two.status_code == 409
            assert (await client.post(f"/question/que_7/{verb}", json=body)).json() is True
            over = (await client.post("/v1/chat/inbound?wait=60", json=talk)).json()
            assert over["payloads"][-1]["text"] == outcome
        server.answers["GET /question"] = says([])
        late = await client.post("/question/que_7/reply", json={"answers": [["Red"]]})
        assert (late.status_code, late.json()["_tag"]) == (404, "QuestionNotFoundError")
        assert [heard.method for heard in server.heard] == ["GET"]
        done = await deeds(site)
        assert [(who, action) for who, action, _ in done] == [
            ("operator:admin", "question.answer"),
            ("operator:admin", "question.dismiss"),
        ]
        assert all(subject.startswith("qu_") for _, _, subject in done)


async def test_the_agent_is_the_only_one_or_named(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_server() as one, open_server() as two:
        one.answers["GET /session"], two.answers["GET /session"] = says("one"), says("two")
        agents = (
            AgentSettings("assistant", AgentFrame(), echo.EchoSettings()),
            AgentSettings("one", frame(), AttachedSettings(one.url)),
            AgentSettings("two", frame(), AttachedSettings(two.url)),
        )
        async with open_site(tmp_path, configuration(agents=agents)) as site, site.client() as client:
            several = await client.get("/session")
            assert (several.status_code, "(one, two)" in several.text) == (409, True)
            assert (await client.get("/session?agent=two")).json() == "two"
            assert two.heard[-1].target == "/session"
            assert (await client.get("/session", headers={"X-Gatewayd-Agent": "one"})).json() == "one"
            assert (await client.get("/session", headers=basic(token_of("admin"), user="two"))).json() == "two"
            for name, status, word in (("three", 404, "three"), ("assistant", 409, "has no server")):
                answer = await client.get(f"/session?agent={name}")
                assert (answer.status_code, word in answer.text) == (status, True)
        async with open_site(tmp_path / "x", configuration(agents=agents[:2])) as site, site.client() as client:
            assert (await client.get("/session")).json() == "one"
        async with open_site(tmp_path / "y") as site, site.client() as client:
            assert (await client.get("/session")).status_code == 404
        down = (agents[1], AgentSettings("down", frame(), AttachedSettings(down=True)))
        async with open_site(tmp_path / "z", configuration(agents=down)) as site, site.client() as client:
            # While one is down, nobody is handed to the other by mistake.
            assert (await client.get("/session")).status_code == 409
            answer = await client.get("/session?agent=down")
            assert (answer.status_code, "cannot be reached" in answer.text) == (503, True)


async def test_another_directory_is_for_who_may_do_everything(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    token = "the-token-of-the-client-0123456789"
    async with open_server() as server:
        server.answers = {"GET /path": says({"directory": "/srv/own"}), "GET /session": says([])}
        config = configuration(agents=(AgentSettings("coder", frame(), AttachedSettings(server.url)),))
        tokens = {**config.auth.tokens, "client": TokenConfig(token=Secret(token), scopes=("approvals", "write"))}
        async with open_site(tmp_path, replace(config, auth=AuthSection(tokens=tokens))) as site, site.client(None) as client:
            for query, header, status in (
                ("", None, 200),
                ("?directory=%2Fsrv%2Fown", None, 200),
                ("", "%2Fsrv%2Fown", 200),
                ("?directory=/srv/other", None, 403),
                ("?directory=/srv/own&directory=/srv/other", None, 403),
                ("?directory=/srv/own", "%2Fsrv%2Fother", 403),
            ):
                headers = basic(token) | ({} if header is None else {"X-Opencode-Directory": header})
                assert (await client.get(f"/session{query}", headers=headers)).status_code == status, (query, header)
            admin = basic(token_of("admin")) | {"X-Opencode-Directory": "%2Fsrv%2Fother"}
            assert (await client.get("/session", headers=admin)).status_code == 200
            assert server.heard[-1].headers["x-opencode-directory"] == "%2Fsrv%2Fother"


async def test_there_is_a_bound_on_what_is_under_way(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async def stream(heard: Heard, connection: trio.SocketStream) -> None:
        await connection.send_all(EVENTS + chunk(b": hello\n\n"))
        await connection.receive_some()

    async with attached(tmp_path) as (site, server, client):
        server.answers = {"GET /event": stream, "GET /session": says([])}
        async with trio.open_nursery() as nursery:
            opened: list[int] = []

            async def watch() -> None:
                async with site.dial() as raw:
                    await raw.say(request("GET", "/event", headers=basic(token_of("admin"))))
                    opened.append((await raw.head())[0])
                    await trio.sleep_forever()

            for _ in range(MOST_OPEN):
                nursery.start_soon(watch)
            while len(opened) < MOST_OPEN:
                await trio.testing.wait_all_tasks_blocked(0.001)
            full = await client.get("/session")
            assert (full.status_code, full.json()["error"]["code"]) == (503, "overloaded")
            nursery.cancel_scope.cancel()
        with trio.fail_after(30):
            while (await client.get("/session")).status_code == 503:
                await trio.testing.wait_all_tasks_blocked(0.001)


async def test_without_a_directory_of_its_own_a_client_works_where_the_agent_does(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with open_server() as server:
        server.answers = {"GET /session": says([]), "GET /path": says({"directory": "/home/x"})}
        agents = (AgentSettings("coder", frame(), AttachedSettings(server.url, directory="/srv/a b")),)
        async with open_site(tmp_path, configuration(agents=agents)) as site, site.client() as client:
            await client.get("/session?limit=1")
            await client.get("/session")
            await client.get("/session?directory=/elsewhere")
            assert [heard.target for heard in server.heard] == [
                "/session?limit=1&directory=%2Fsrv%2Fa%20b",
                "/session?directory=%2Fsrv%2Fa%20b",
                "/session?directory=/elsewhere",
            ]


async def test_a_request_that_says_not_whose_it_is_is_ours_if_it_is_the_same(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    """OpenAgentic's list has neither sessions nor unique ids."""
    same = {"id": "call_0", "tool": "bash", "input": {"command": "ls"}}
    other = {"id": "call_1", "tool": "bash", "input": {"command": "rm"}}
    async with attached(tmp_path) as (site, server, client):
        server.answers = {"GET /permission": says([same, other]), "POST /permission/call_1/reply": says(True)}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask ses:17")))
            await until_asked(site, "ses:17")
            assert (await client.post("/permission/call_1/reply", json={"reply": "allow"})).status_code == 409
            assert (await client.post("/permission/call_0/reply", json={"reply": "allow"})).json() is True
        assert server.of("POST /permission/call_0/reply") == []
        assert (await client.post("/permission/call_1/reply", json={"reply": "deny"})).json() is True
        assert server.heard[-1].json == {"reply": "deny"}


async def test_clients_that_leave_at_any_moment_leave_nothing_behind(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    open_now = 0

    async def stream(heard: Heard, connection: trio.SocketStream) -> None:
        nonlocal open_now
        open_now += 1
        try:
            await trio.sleep(int(heard.target.rpartition("=")[2]) / 1000)
            await connection.send_all(EVENTS + chunk(b": hello\n\n"))
            await connection.receive_some()
        finally:
            open_now -= 1

    async with attached(tmp_path) as (site, server, client):
        server.answers = {"GET /event": stream, "GET /session": says([])}
        for number in range(2 * MOST_OPEN):
            async with site.dial() as raw:
                await raw.say(request("GET", f"/event?n={number % 7}", headers=basic(token_of("admin"))))
                await trio.sleep(number % 5 / 1000)
        with trio.fail_after(30):
            while open_now:
                await trio.testing.wait_all_tasks_blocked(0.001)
        assert (await client.get("/session")).status_code == 200
        assert await site.is_well()


@asynccontextmanager
async def as_operator(tmp_path: Path, **approvals: Any) -> AsyncIterator[tuple[Site, Server, httpx2.AsyncClient]]:
    """As ``attached``, with a token that has no more than the scopes approvals and write."""
    token = "the-token-of-the-client-0123456789"
    async with open_server() as server:
        config = configuration(agents=(AgentSettings("coder", frame(**approvals), AttachedSettings(server.url)),))
        tokens = {**config.auth.tokens, "client": TokenConfig(token=Secret(token), scopes=("approvals", "write"))}
        async with open_site(tmp_path, replace(config, auth=AuthSection(tokens=tokens))) as site, site.client(None) as client:
            client.headers["Authorization"] = f"Bearer {token}"
            yield site, server, client


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("command", {"command": "init", "arguments": "!`id > /tmp/x`"}),
        ("init", {"modelID": "m", "providerID": "p", "messageID": "msg_1"}),
        ("shell", {"agent": "build", "command": "ls"}),
        ("revert", {"messageID": "msg_1"}),
        ("share", {}),
        ("message", {"noReply": True, "parts": [{"type": "file", "mime": "text/plain", "url": "file:///etc/passwd"}]}),
        ("prompt_async", {"parts": [{"type": "text", "text": "x"}, {"type": "subtask", "prompt": "x", "agent": "build"}]}),
    ],
)
async def test_what_runs_or_reads_unasked_is_for_admins(
    tmp_path: Path, clock: trio.testing.MockClock, verb: str, body: dict[str, object]
) -> None:
    async with as_operator(tmp_path) as (_, server, client):
        server.answers[f"POST /session/{THEIRS}/message"] = says({})
        answer = await client.post(f"/session/{THEIRS}/{verb}", json=body)
        assert (answer.status_code, answer.json()["error"]["code"], "admin" in answer.text) == (403, "forbidden", True)
        assert server.heard == []
        text = {"parts": [{"type": "text", "text": "see @/etc/passwd"}]}
        assert (await client.post(f"/session/{THEIRS}/message", json=text)).status_code == 200


@pytest.mark.parametrize("verb", ["command", "init"])
async def test_a_slash_command_is_a_recorded_yes(tmp_path: Path, clock: trio.testing.MockClock, verb: str) -> None:
    async with attached(tmp_path) as (site, server, client):
        server.answers[f"POST /session/{THEIRS}/{verb}"] = says({})
        body = {"command": verb, "arguments": "!`id`"} if verb == "command" else {}
        assert (await client.post(f"/session/{THEIRS}/{verb}", json=body)).status_code == 200
        [row] = await site.gateway.approvals.list(None)
        assert (row.tool, row.state, row.decided_by) == ("bash", "allowed", "operator:admin")
        assert row.consumed_at is not None
        assert json.loads(row.input)["slash_command"]["command"] == verb
        assert [action for _, action, _ in await deeds(site)] == ["approval.allowed", "proxy.post"]


@pytest.mark.parametrize(
    "approvals", [{"quorum": 2}, {"rules": (ApprovalRule(action="deny", tool="bash", input={"command": "rm *"}),)}]
)
async def test_the_agent_s_policy_holds_for_slash_commands(
    tmp_path: Path, clock: trio.testing.MockClock, approvals: dict[str, Any]
) -> None:
    """What one runs is not known, so it is whatever is denied, also if its body has a word of that name."""
    async with attached(tmp_path, **approvals) as (site, server, client):
        for verb, body in (("command", {"command": "review", "arguments": "x"}), ("init", {"command": "ls"})):
            answer = await client.post(f"/session/{THEIRS}/{verb}", json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
        assert await site.gateway.approvals.list(None) == []
        assert server.heard == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            {"id": "call_0", "tool": "Bash", "input": {"command": "ls"}},
            {"id": "call_0", "tool": "Bash", "input": {"command": "rm"}},
        ),
        (
            {"id": "call_0", "tool": "Bash", "input": {"command": "ls"}},
            {"id": "call_0", "tool": "Bash", "input": {"command": "ls"}},
        ),
        (ASKED, {**ASKED, "sessionID": "ses_other"}),
        (ASKED, {**ASKED, "metadata": {"command": "rm"}}),
    ],
)
async def test_every_answer_to_an_id_that_is_given_again_is_recorded(
    tmp_path: Path, clock: trio.testing.MockClock, first: dict[str, object], second: dict[str, object]
) -> None:
    yes, no = {"reply": "once"}, {"reply": "reject"}
    async with attached(tmp_path) as (site, server, client):
        path = f"/permission/{first['id']}/reply"
        server.answers[f"POST {path}"] = says(True)
        for listed, body in ((first, yes), (second, yes), (first, no), (second, yes)):
            server.answers["GET /permission"] = says([listed])
            assert (await client.post(path, json=body)).json() is True
        rows = await site.gateway.approvals.list(None)
        assert sorted(row.state for row in rows) == ["allowed", "allowed", "allowed", "denied"]
        shown = [json.dumps(entry.get("input") or entry["metadata"], separators=(",", ":"))[1:-1] for entry in (first, second)]
        assert sum(shown[1] in row.input for row in rows if row.state == "allowed") >= 2
        assert [action for _, action, _ in await deeds(site)] == [
            f"approval.{state}" for state in ("allowed", "allowed", "denied", "allowed")
        ]
        assert len(server.of(f"POST {path}")) == 4


async def test_a_used_yes_is_none_for_the_next_time(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, client):
        server.answers = {"GET /permission": says([ASKED]), "POST /permission/per_1/reply": says({"error": "x"}, 500)}
        for _ in range(2):
            assert (await client.post("/permission/per_1/reply", json={"reply": "once"})).status_code == 500
        assert [row.state for row in await site.gateway.approvals.list(None)] == ["allowed", "allowed"]
        statuses = [(await client.post("/permission/per_1/reply", json={"reply": "once"})).status_code for _ in range(20)]
        assert statuses == [500] * 18 + [409] * 2


async def test_an_answer_at_one_agent_s_server_is_none_at_another_s(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_server() as ours, open_server() as evil:
        agents = (
            AgentSettings("coder", frame(), AttachedSettings(ours.url)),
            AgentSettings("evil", frame(), AttachedSettings(evil.url)),
        )
        question = {"id": "que_7", "sessionID": THEIRS, "questions": [{}]}
        evil.answers = {
            "GET /permission": says([{**ASKED, "id": "per_7"}]),
            "POST /permission/per_7/reply": says(True),
            "GET /question": says([question]),
            "POST /question/que_7/reply": says(True),
        }
        async with open_site(tmp_path, configuration(agents=agents)) as site, site.client() as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask per_7")))
                await until_asked(site, "per_7")
                assert (await client.post("/permission/per_7/reply?agent=evil", json={"reply": "once"})).json() is True
                assert len(evil.of("POST /permission/per_7/reply")) == 1
                assert site.gateway.approvals.find_pending(agent="coder", ref="per_7") is not None
                await client.post("/permission/per_7/reply?agent=coder", json={"reply": "reject"})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("question que_7:0")))
                while site.gateway.questions.find_pending(agent="coder", ref="que_7:0") is None:
                    await trio.testing.wait_all_tasks_blocked(0.001)
                assert (await client.post("/question/que_7/reply?agent=evil", json={"answers": [["Red"]]})).json() is True
                assert len(evil.of("POST /question/que_7/reply")) == 1
                assert site.gateway.questions.find_pending(agent="coder", ref="que_7:0") is not None
                await client.post("/question/que_7/reject?agent=coder")


async def test_beside_our_turn_nobody_runs_anything_on_a_server_that_would_mix_them_up(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    """Whichever agent of that server it is, and whichever session."""
    async with open_server() as server:
        server.answers = {
            f"POST /session/{THEIRS}/message": says({}),
            f"POST /session/{THEIRS}/abort": says(True),
            f"GET /session/{THEIRS}": says({}),
        }
        settings = AttachedSettings(server.url, alone=True)
        agents = (AgentSettings("coder", frame(), settings), AgentSettings("beside", frame(), settings))
        async with open_site(tmp_path, configuration(agents=agents)) as site, site.client() as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask per_7")))
                await until_asked(site, "per_7")
                for agent in ("coder", "beside"):
                    for verb in ("message", "prompt_async", "command", "shell", "init", "summarize"):
                        answer = await client.post(f"/session/{THEIRS}/{verb}?agent={agent}", json={})
                        assert (answer.status_code, "agent coder runs" in answer.text) == (409, True), (agent, verb)
                assert server.heard == []
                assert (await client.post(f"/session/{THEIRS}/abort?agent=coder")).status_code == 200
                await client.post("/permission/per_7/reply?agent=coder", json={"reply": "reject"})
            assert (await client.post(f"/session/{THEIRS}/message?agent=beside", json={})).status_code == 200


async def test_our_turn_that_begins_while_a_run_is_looked_at_is_seen(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_server() as server:
        agents = (AgentSettings("coder", frame(), AttachedSettings(server.url, alone=True)),)
        async with open_site(tmp_path, configuration(agents=agents)) as site, site.client() as client:
            record = site.gateway.audit.record

            async def slow(*args: Any, **detail: Any) -> Any:
                nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask per_7")))
                await until_asked(site, "per_7")
                return await record(*args, **detail)

            async with trio.open_nursery() as nursery:
                site.gateway.audit.record = slow  # type: ignore[method-assign]
                answer = await client.post(f"/session/{THEIRS}/message", json={})
                site.gateway.audit.record = record  # type: ignore[method-assign]
                assert answer.status_code == 409
                await client.post("/permission/per_7/reply", json={"reply": "reject"})
            assert server.heard == []


CALLED = {**ASKED, "tool": {"messageID": "msg_1", "callID": "call_1"}}
CALL = {
    "type": "tool",
    "tool": "bash",
    "callID": "call_1",
    "state": {"status": "running", "input": {"command": "ls", "workdir": "/etc"}},
}


@pytest.mark.parametrize(
    ("rule", "parts", "status"),
    [
        # What is asked does not say where it runs: only the call does.
        ({"workdir": "/etc*"}, [{"type": "text", "text": "x"}, CALL], 403),
        ({"workdir": "/home*"}, [CALL], 200),
        ({"timeout": "*"}, [CALL], 200),
        ({"workdir": "/home*"}, [], 403),
        ({"workdir": "/home*"}, [{**CALL, "callID": "call_2"}], 403),
        ({"workdir": "/home*"}, [{**CALL, "state": {"status": "pending", "input": {}}}], 403),
        ({"workdir": "/home*"}, None, 403),
        ({"workdir": "/home*"}, [{"callID": 1}], 403),
        ({"command": "rm*"}, [], 200),
        ({"command": "rm*", "workdir": "/home*"}, [], 200),
        ({"command": "l*", "workdir": "/home*"}, [], 403),
    ],
)
async def test_a_denial_holds_for_what_the_tool_gets_or_may_get(
    tmp_path: Path, clock: trio.testing.MockClock, rule: dict[str, str], parts: list[object] | None, status: int
) -> None:
    rules = (ApprovalRule(action="deny", tool="edit"), ApprovalRule(action="deny", tool="bash", input=rule))
    async with attached(tmp_path, rules=rules) as (site, server, client):
        server.answers = {"GET /permission": says([CALLED]), "POST /permission/per_1/reply": says(True)}
        if parts is not None:
            server.answers[f"GET /session/{THEIRS}/message/msg_1"] = says({"info": {}, "parts": parts})
        answer = await client.post("/permission/per_1/reply", json={"reply": "once"})
        assert answer.status_code == status, answer.text
        rows = await site.gateway.approvals.list(None)
        assert len(rows) == (status == 200)
        if rows and parts == [CALL]:
            assert json.loads(rows[0].input) == {"command": "ls", "workdir": "/etc"}
        # A no is always possible.
        assert (await client.post("/permission/per_1/reply", json={"reply": "reject"})).json() is True


async def test_what_a_server_names_is_no_other_path_of_it(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (_, server, client):
        entry = {**CALLED, "tool": {"messageID": "../../config?x", "callID": "call_1"}}
        server.answers = {"GET /permission": says([entry]), "POST /permission/per_1/reply": says(True)}
        assert (await client.post("/permission/per_1/reply", json={"reply": "once"})).json() is True
        assert server.heard[1].target == f"/session/{THEIRS}/message/..%2F..%2Fconfig%3Fx"


async def test_a_list_that_is_too_long_is_not_read(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, client):
        long = [ASKED, *([1] * (MOST_BYTES // 3))]
        server.answers = {"GET /permission": says(long), "GET /question": says(long)}
        for path in ("/permission/per_1/reply", "/question/que_1/reject"):
            answer = await client.post(path, json={"reply": "once"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "bad_gateway")
        assert await site.gateway.approvals.list(None) == []
    assert MOST_BYTES <= 2 * 1024 * 1024


async def test_an_answer_that_came_too_late_for_our_question_is_recorded_as_one(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with attached(tmp_path) as (site, _, client):
        answers: list[int] = []

        async def reply() -> None:
            answers.append((await client.post("/question/que_7/reply", json={"answers": [["Red"]]})).status_code)

        record, ready = site.gateway.audit.record, trio.Event()

        async def together(actor: str, action: str, *args: Any, **detail: Any) -> Any:
            row = await record(actor, action, *args, **detail)
            if action == "question.answer" and sum(name == action for _, name, _ in await deeds(site)) == 2:
                ready.set()
            if action == "question.answer":
                await ready.wait()
            return row

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("question que_7:0")))
            while site.gateway.questions.find_pending(agent="coder", ref="que_7:0") is None:
                await trio.testing.wait_all_tasks_blocked(0.001)
            site.gateway.audit.record = together  # type: ignore[method-assign]
            nursery.start_soon(reply)
            nursery.start_soon(reply)
        assert sorted(answers) == [200, 404]
        assert [action for _, action, _ in await deeds(site)] == [*["question.answer"] * 2, "question.answer.refused"]


async def test_a_long_note_is_cut_where_it_is_kept(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    long = "n" * 700
    async with attached(tmp_path) as (site, server, client):
        server.answers = {"GET /permission": says([ASKED]), "POST /permission/per_1/reply": says(True)}
        await client.post("/permission/per_1/reply", json={"reply": "reject", "message": long})
        assert server.heard[-1].json["message"] == long
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask per_7")))
            await until_asked(site, "per_7")
            await client.post("/permission/per_7/reply", json={"reply": "reject", "message": long})
        notes = [row.note for row in await site.gateway.approvals.list(None)]
        assert notes == ["n" * 500 + "… (200 more characters were cut)"] * 2
