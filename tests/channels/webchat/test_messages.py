"""Messages of the web chat over HTTP: what is taken, answered and streamed, and the limits."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from gatewayd.channels.webchat.channel import PAGES_PER_NAME, WebchatChannel, client_id_of
from gatewayd.channels.webchat.http import LONGEST_TEXT
from gatewayd.model.config import (
    LimitsSection,
)
from tests.channels.webchat.site import CONFIG, site, streaming, wait_reply


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
        here.gateway.backlog._admission.acquire_nowait(("webchat", "main"), 1)  # one message waits for its turn
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
