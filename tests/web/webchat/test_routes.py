"""The web chat over real HTTP: who gets in, what is taken, and what is told."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import trio
from msgspec.structs import replace

from gatewayd.agents import echo
from gatewayd.agents.echo import EchoSettings
from gatewayd.channels.webchat import PLUGIN
from gatewayd.channels.webchat.channel import PAGES_PER_NAME, WebchatChannel, client_id_of
from gatewayd.channels.webchat.login import new_login_link
from gatewayd.channels.webchat.settings import WebchatSettings
from gatewayd.hub.gateway import Gateway
from gatewayd.model.config import (
    AccountFrame,
    AccountSettings,
    AgentFrame,
    AgentSettings,
    AuthSection,
    GatewayConfig,
    GatewaySection,
    LimitsSection,
    TokenConfig,
)
from gatewayd.model.secret import Secret
from gatewayd.plugins import Registry
from gatewayd.web.access.auth import FAILURES_PER_WINDOW
from gatewayd.web.app import create_app
from gatewayd.web.http.assets import load_pages
from gatewayd.web.server.listen import open_listeners
from gatewayd.web.server.server import GatewayServer
from gatewayd.web.webchat.routes import COOKIE, LONGEST_TEXT
from gatewayd.wiring import join, run_hub
from tests.hub.house import NoStalls
from tests.stores.opened_before import open_store
from tests.web.client import RawClient, dial, request
from tests.web.site import no_reload

PATIENCE = 20.0
TOKENS = {
    "ops": TokenConfig(token=Secret("operator-token-0123456789"), scopes=("admin",)),
    "reader": TokenConfig(token=Secret("reader-token-0123456789"), scopes=("read",)),
}
CONFIG = GatewayConfig(
    gateway=GatewaySection(bind="127.0.0.1:0", public_url="https://chat.example"),
    auth=AuthSection(tokens=TOKENS),
    agents=(AgentSettings("assistant", AgentFrame(), EchoSettings()),),
    accounts=(AccountSettings("webchat", "main", AccountFrame(), WebchatSettings()),),
)
OPS = {"Authorization": "Bearer operator-token-0123456789"}
ENDPOINTS = [
    ("GET", "/v1/webchat/history"),
    ("GET", "/v1/webchat/stream"),
    ("POST", "/v1/webchat/messages"),
    ("POST", "/v1/webchat/presses"),
    ("POST", "/v1/webchat/logout"),
]


class Site:
    """The daemon's parts behind a real server. ``client`` has nobody's cookies; ``logged_in`` gives one that has."""

    def __init__(self, gateway: Gateway, url: str) -> None:
        self.gateway = gateway
        self.url = url

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, verify=False, trust_env=False, timeout=PATIENCE)

    async def code(self, name: str = "alice") -> str:
        return (await new_login_link(self.gateway.store, self.url, name, time.time())).code

    @asynccontextmanager
    async def logged_in(self, name: str = "alice") -> AsyncIterator[httpx2.AsyncClient]:
        """A browser whose one page shows ``name``."""
        async with self.client() as client:
            answer = await client.post("/v1/webchat/login", json={"code": await self.code(name)})
            assert answer.status_code == 200
            client.params = httpx2.QueryParams(name=name)
            yield client


@asynccontextmanager
async def site(state_dir: Path, config: GatewayConfig = CONFIG) -> AsyncIterator[Site]:
    """Joined as the daemon joins them, with the echo agent."""
    with trio.fail_after(PATIENCE):
        async with (
            open_store(state_dir, now=time.time) as store,
            httpx2.AsyncClient() as http,
            anyio.create_task_group() as nursery,
        ):
            gateway = join(config, Registry.of([PLUGIN], [echo.PLUGIN]), store, http, state_dir=state_dir, stalls=NoStalls())
            server = GatewayServer(
                create_app(gateway, no_reload, {}, max_connections=100), max_body_bytes=1_048_576, grace_seconds=0.2
            )
            async with run_hub(gateway, host=nursery):
                [url] = await nursery.start(server.serve, await open_listeners("127.0.0.1:0"))
                gateway.enter("ready")
                yield Site(gateway, url)
                server.stop()
            nursery.cancel_scope.cancel()


class Stream:
    """The events of one open page. ``rest`` reads to the end of the stream."""

    def __init__(self, connection: RawClient) -> None:
        self._connection = connection
        self._events: list[tuple[str, Any]] = []

    async def next(self) -> tuple[str, Any]:
        while not self._events:
            block = (await self._connection.chunk()).decode()
            assert block, "the stream has ended"
            self._events = [_event(event) for event in block.removesuffix("\n\n").split("\n\n")]
        return self._events.pop(0)

    async def until_answer(self) -> list[tuple[str, Any]]:
        """Events up to and with the first line of the agent."""
        told = [await self.next()]
        while told[-1][1].get("from") != "agent":
            told.append(await self.next())
        return told

    async def ended(self) -> bool:
        while await self._connection.chunk():
            pass
        return True


def _event(text: str) -> tuple[str, Any]:
    kind, data = text.split("\n")
    return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@asynccontextmanager
async def streaming(here: Site, client: httpx2.AsyncClient, after: str = "0.0") -> AsyncIterator[Stream]:
    """A page of the person whose cookie ``client`` has."""
    headers = {"Cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
    async with dial(here.url) as connection:
        await connection.say(request("GET", f"/v1/webchat/stream?name={client.params['name']}&after={after}", headers=headers))
        status, answered = await connection.head()
        assert (status, answered["content-type"], answered["cache-control"]) == (200, "text/event-stream", "no-store")
        stream = Stream(connection)
        assert await stream.next() == ("hello", {})
        yield stream


async def wait_reply(here: Site, client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    """The lines of the history once an answer is among them."""
    async with streaming(here, client) as stream:
        await stream.until_answer()
    found: list[dict[str, Any]] = (await client.get("/v1/webchat/history")).json()["lines"]
    return found


async def post_and_answer(here: Site, client: httpx2.AsyncClient) -> str:
    """Say something; the id of the answer's line."""
    await client.post("/v1/webchat/messages", json={"id": "message-1", "text": "hello"})
    return str((await wait_reply(here, client))[-1]["id"])


# The page.


async def test_the_page_is_served_to_anybody_and_trusts_nobody(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.client() as client:
        page = await client.get("/")
        assert page.status_code == 200
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in policy
        again = await client.get("/", headers={"If-None-Match": page.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_the_page_names_only_its_own_files_and_runs_nothing_inline() -> None:
    pages = load_pages()
    html = pages["index.html"].body.decode()
    for name in ("webchat.css", "webchat.js", "icon.svg"):
        assert f"/static/{name}" in html
    assert "<script>" not in html
    assert "style=" not in html
    for name, asset in pages.items():
        text = asset.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, name
        assert "https://" not in text, name


async def test_every_file_of_the_page_is_served_and_nothing_beside(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.client() as client:
        for name, asset in load_pages().items():
            answer = await client.get(f"/static/{name}")
            assert answer.content == asset.body
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for wrong in ("/static/webchat.py", "/static/%2e%2e/webchat.py", "/static/", "/static/../auth.py"):
            assert (await client.get(wrong)).status_code == 404


# Logging in.


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


# Talking.


async def test_a_message_is_answered_and_both_are_in_the_history(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        answer = await client.post("/v1/webchat/messages", json={"id": "message-1", "text": "**hello** <i>"})
        assert (answer.status_code, answer.json()) == (202, {"id": "in-1"})
        lines = await wait_reply(here, client)
        assert [(line["id"], line["from"]) for line in lines] == [("in-1", "you"), ("out-1", "agent")]
        assert lines[0]["text"] == "**hello** <i>"
        assert lines[1]["html"] == "<p><strong>hello</strong> &lt;i&gt;</p>\n"


async def test_the_chat_commands_are_answered_here_too(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        await client.post("/v1/webchat/messages", json={"id": "message-1", "text": "/help"})
        lines = await wait_reply(here, client)
        assert "<li><code>/new [TEXT]</code> Begin a new session" in lines[1]["html"]
        assert "/approve" not in lines[1]["html"]
        assert here.gateway.agents.snapshot()[0].turns == 0


async def test_a_message_that_is_posted_twice_is_one(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        posts = [await client.post("/v1/webchat/messages", json={"id": "message-1", "text": "hello"}) for _ in range(3)]
        assert [(post.status_code, post.json()) for post in posts] == [(202, {"id": "in-1"})] * 3
        assert [line["from"] for line in await wait_reply(here, client)] == ["you", "agent"]


async def test_a_reply_streams_and_a_second_device_sees_everything(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as laptop, here.logged_in() as phone:
        async with streaming(here, phone) as stream:
            await laptop.post("/v1/webchat/messages", json={"id": "message-1", "text": "hello"})
            told = await stream.until_answer()
        assert [data["id"] for kind, data in told if kind == "message"] == ["in-1", "out-1"]


async def test_one_persons_words_are_not_shown_to_another(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in("alice") as alice, here.logged_in("bob") as bob:
        await alice.post("/v1/webchat/messages", json={"id": "message-1", "text": "a secret"})
        await wait_reply(here, alice)
        await bob.post("/v1/webchat/messages", json={"id": "message-1", "text": "mine"})
        assert [line.get("text", line.get("html")) for line in await wait_reply(here, bob)] == ["mine", "<p>mine</p>\n"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"id": "message-1", "text": "x" * LONGEST_TEXT}, 202),
        ({"id": "message-1", "text": "x" * (LONGEST_TEXT + 1)}, 413),
        ({"id": "message-1", "text": " \n"}, 400),
        ({"id": "short", "text": "x"}, 400),
        ({"id": "message 1", "text": "x"}, 400),
        ({"id": "message-1", "text": "x", "name": "bob"}, 400),
        ({"text": "x"}, 400),
        (["message-1"], 400),
    ],
)
async def test_messages_are_bounded_and_strict(body: object, status: int, tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        assert (await client.post("/v1/webchat/messages", json=body)).status_code == status


async def test_half_an_emoji_is_taken_as_a_sign(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        body = b'{"id":"message-1","text":"half \\ud83d"}'
        answer = await client.post("/v1/webchat/messages", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 202
        assert (await client.get("/v1/webchat/history")).json()["lines"][0]["text"] == "half \ufffd"


async def test_other_sites_cannot_post(tmp_path: Path) -> None:
    message = b'{"id":"message-1","text":"forged"}'
    async with site(tmp_path) as here, here.logged_in() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = await client.post("/v1/webchat/messages", content=message, headers={"Content-Type": kind})
            assert answer.status_code == 415
        headers = {"Content-Type": "application/json", "Origin": "https://evil.example"}
        answer = await client.post("/v1/webchat/messages", content=message, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "bad_origin")
        assert (await client.get("/v1/webchat/history")).json()["lines"] == []


async def test_a_full_inbox_says_come_back(tmp_path: Path) -> None:
    config = replace(CONFIG, limits=LimitsSection(inbox_backlog=1))
    async with site(tmp_path, config) as here, here.logged_in() as client:
        here.gateway.backlog._room.take_nowait(("webchat", "main"), 1)  # one message waits for its turn
        answer = await client.post("/v1/webchat/messages", json={"id": "message-1", "text": "hello"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
        assert int(answer.headers["Retry-After"]) > 0
        assert (await client.get("/v1/webchat/history")).json()["lines"] == []


async def test_a_stopped_account_shows_its_history_and_takes_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        await client.post("/v1/webchat/messages", json={"id": "message-1", "text": "hello"})
        await wait_reply(here, client)
        async with streaming(here, client) as stream:
            await here.gateway.manager.stop("webchat")
            assert await stream.ended()
        message, press = {"id": "message-2", "text": "more"}, {"id": "press-0001", "line": "out-1", "data": "x"}
        for path, body in (("/v1/webchat/messages", message), ("/v1/webchat/presses", press), ("/v1/webchat/stream", None)):
            method = "GET" if body is None else "POST"
            answer = await client.request(method, path, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert len((await client.get("/v1/webchat/history")).json()["lines"]) == 2


async def test_a_draining_daemon_takes_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        here.gateway.enter("draining")
        answer = await client.post("/v1/webchat/messages", json={"id": "message-1", "text": "hello"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")


async def test_pages_are_bounded_and_a_page_that_leaves_makes_room(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client, AsyncExitStack() as pages:
        for _ in range(PAGES_PER_NAME - 1):
            await pages.enter_async_context(streaming(here, client))
        async with streaming(here, client):
            answer = await client.get("/v1/webchat/stream")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
        channel = here.gateway.manager.account("webchat", "main").channel
        assert isinstance(channel, WebchatChannel)
        while channel.open_pages == PAGES_PER_NAME:
            await trio.lowlevel.checkpoint()  # the server learns from the kernel that the page has left
        await pages.enter_async_context(streaming(here, client))


async def test_a_wrong_cursor_is_refused(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        for wrong in ("x", "1", "1.2.3", "-1.0", "9" * 19 + ".0"):
            assert (await client.get("/v1/webchat/stream", params={"after": wrong})).status_code == 400
        for wrong in ("0", "201", "x"):
            assert (await client.get("/v1/webchat/history", params={"limit": wrong})).status_code == 400


# Whom a page shows.


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


async def test_a_line_says_which_message_of_a_page_it_is(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in() as client:
        async with streaming(here, client) as stream:
            await client.post("/v1/webchat/messages", json={"id": "message-1", "text": "hello"})
            assert (await stream.next())[1]["client"] == "message-1"
        assert (await client.get("/v1/webchat/history")).json()["lines"][0]["client"] == "message-1"


def test_a_message_of_elsewhere_has_no_page() -> None:
    assert client_id_of("alice:message-1", "alice") == "message-1"
    for key in ("42", "bob:message-1", "alice2:message-1", "Alice:message-1"):
        assert client_id_of(key, "alice") == ""


async def test_of_two_cookies_of_the_name_both_are_tried(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.logged_in("alice") as client:
        session = client.cookies[COOKIE]
        for cookies in (f"{COOKIE}=of-another-program; {COOKIE}={session}", f"{COOKIE}={session}; {COOKIE}=x"):
            async with here.client() as other:
                assert (await other.get("/v1/webchat/history", headers={"Cookie": cookies})).status_code == 200
