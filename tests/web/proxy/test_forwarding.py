"""What of a request and of its response is forwarded, and what happens when the server fails."""

from pathlib import Path

import httpx2
import pytest
import trio
import trio.testing

from gatewayd.agents.opencode.proxy.upstream import MOST_BYTES
from gatewayd.model.config import (
    AgentSettings,
)
from gatewayd.web.proxy.forward import MOST_OPEN
from tests.web.api.test_audit import deeds
from tests.web.attached import EVENTS, PASSWORD, AttachedSettings, Heard, chunk, says
from tests.web.client import request
from tests.web.proxy.site import ASKED, THEIRS, attached, basic, frame
from tests.web.proxy.test_answers import CALLED
from tests.web.site import configuration, open_site, token_of


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


async def test_an_escaped_colon_is_sent_bare(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    """OpenAgentic's ids have one, and it does not unescape paths."""
    async with attached(tmp_path) as (_, server, client):
        listed = [{"id": "call_5:0", "prompt": "Which?", "choices": []}]
        server.answers = {"GET /question": says(listed), "POST /question/call_5:0/reply": says(True)}
        answer = await client.post("/question/call_5%3A0/reply", json={"answers": ["Red"]})
        assert (answer.status_code, answer.json()) == (200, True)
        assert server.heard[-1].json == {"answers": ["Red"]}


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
