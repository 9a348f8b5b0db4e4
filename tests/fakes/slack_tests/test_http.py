"""The fake's Events API over HTTP, and the faults of its Web API."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import httpx2
import msgspec
import pytest
import trio

from tests.fakes.bot_api.http_server import Request, Response, listen, port_of, serve_http
from tests.fakes.slack_platform import FakeSlack, Json
from tests.fakes.slack_tests.client import Client, client_of


class App:
    """An app that listens: what came, and what to answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.came: list[Request] = []
        self.answers: list[Response | None] = []

    async def handle(self, request: Request) -> Response | None:
        self.came.append(request)
        if b"url_verification" in request.body:
            return Response(200, msgspec.json.encode({"challenge": msgspec.json.decode(request.body)["challenge"]}))
        return self.answers.pop(0) if self.answers else Response(200, b"", "text/plain")

    def heads(self) -> list[tuple[str | None, str | None]]:
        return [(one.headers.get("x-slack-retry-num"), one.headers.get("x-slack-retry-reason")) for one in self.came]


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack.serve(mode="events") as slack:
        yield slack


@pytest.fixture
async def app(slack: FakeSlack) -> AsyncIterator[App]:
    listener = await listen(0)
    app = App(f"http://127.0.0.1:{port_of(listener)}/slack")
    slack.set_request_urls(app.url)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, listener, app.handle)
        yield app
        nursery.cancel_scope.cancel()


async def test_an_event_is_signed(slack: FakeSlack, app: App, alice: str, general: str) -> None:
    assert await slack.verify_request_url(app.url)
    app.came.clear()
    slack.say(alice, general, "hello")
    await slack.wait_delivered()
    (request,) = app.came
    base = b"v0:" + request.headers["x-slack-request-timestamp"].encode() + b":" + request.body
    signature = "v0=" + hmac.new(slack.signing_secret.encode(), base, hashlib.sha256).hexdigest()
    assert request.headers["x-slack-signature"] == signature
    assert msgspec.json.decode(request.body)["event"]["text"] == "hello"


async def test_a_signature_can_be_wrong(slack: FakeSlack, app: App, alice: str, general: str) -> None:
    slack.sign_with(signing_secret="another", skew_seconds=-400)
    slack.say(alice, general, "hello")
    await slack.wait_delivered()
    headers, body = app.came[0].headers, app.came[0].body
    base = b"v0:" + headers["x-slack-request-timestamp"].encode() + b":" + body
    assert headers["x-slack-signature"] == "v0=" + hmac.new(b"another", base, hashlib.sha256).hexdigest()
    assert 398 <= msgspec.json.decode(body)["event_time"] - int(headers["x-slack-request-timestamp"]) <= 402


async def test_presses_and_commands_are_forms(slack: FakeSlack, client: Client, app: App, alice: str, general: str) -> None:
    button = {"type": "button", "text": {"type": "plain_text", "text": "Yes"}, "action_id": "yes"}
    ts = (await client.call("chat.postMessage", channel=general, text="?", blocks=[{"type": "actions", "elements": [button]}]))[
        "ts"
    ]
    await slack.wait_delivered()
    app.came.clear()
    app.answers = [Response(200, b'{"text": "one moment"}')]
    command = slack.command(alice, general, "/ask", "what now?")
    await slack.wait_delivered()
    slack.press(alice, general, ts)
    await slack.wait_delivered()
    first, second = (parse_qs(request.body.decode()) for request in app.came)
    assert first["text"] == ["what now?"]
    assert command.answer == {"text": "one moment"}
    assert msgspec.json.decode(second["payload"][0])["actions"][0]["action_id"] == "yes"


async def test_an_event_is_sent_again_with_its_reason(
    slack: FakeSlack, app: App, alice: str, general: str, autojump_clock: object
) -> None:
    app.answers = [Response(500, b""), None, Response(302, b""), Response(200, b"")]
    slack.say(alice, general, "hello")
    await slack.wait_delivered()
    assert app.heads() == [(None, None), ("1", "http_error"), ("2", "connection_failed"), ("3", "too_many_redirects")]
    assert round(trio.current_time()) == 360
    assert slack.outcomes() == ["delivered"]


async def test_an_app_may_ask_for_no_repetition(slack: FakeSlack, app: App, alice: str, general: str) -> None:
    app.answers = [Response(500, b"", headers=(("X-Slack-No-Retry", "1"),))]
    slack.say(alice, general, "hello")
    await slack.wait_delivered()
    assert (len(app.came), slack.outcomes()) == (1, ["lost"])


# Faults


@pytest.fixture
async def client(slack: FakeSlack) -> AsyncIterator[Client]:
    async with client_of(slack) as client:
        yield client


async def test_a_limit_holds_until_its_time_is_over(
    client: Client, slack: FakeSlack, general: str, autojump_clock: object
) -> None:
    slack.rate_limit("chat.postMessage", 149)
    refused = await client.ask("chat.postMessage", json={"channel": general, "text": "x"})
    assert (refused.status_code, refused.headers["retry-after"], refused.json()["error"]) == (429, "149", "ratelimited")
    await trio.sleep(100)
    refused = await client.ask("chat.postMessage", json={"channel": general, "text": "x"})
    assert refused.headers["retry-after"] == "49"
    assert (await client.call("chat.update", channel=general, ts="1", text="x"))["error"] == "message_not_found"
    await trio.sleep(49)
    assert (await client.call("chat.postMessage", channel=general, text="x"))["ok"]


async def test_calls_are_counted(client: Client, slack: FakeSlack, alice: str, general: str, autojump_clock: object) -> None:
    slack.allow("chat.postMessage", 1, 1.0, per="channel")
    places = (general, general, slack.dm(alice))
    results = [(await client.ask("chat.postMessage", json={"channel": place, "text": "x"})).status_code for place in places]
    assert results == [200, 429, 200]
    await trio.sleep(1)
    assert (await client.call("chat.postMessage", channel=general, text="x"))["ok"]


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
async def test_a_connection_breaks_before_or_after_the_effect(client: Client, slack: FakeSlack, general: str, kind: Any) -> None:
    slack.fault(kind, "chat.postMessage")
    with pytest.raises(httpx2.TransportError):
        await client.call("chat.postMessage", channel=general, text="x")
    assert slack.texts(general) == (["x"] if kind == "drop_after" else [])


async def test_an_error_after_the_effect(client: Client, slack: FakeSlack, general: str) -> None:
    slack.refuse("chat.postMessage", "fatal_error", after=True)
    assert await client.call("chat.postMessage", channel=general, text="x") == {"ok": False, "error": "fatal_error"}
    assert slack.texts(general) == ["x"]


async def test_an_answer_that_never_comes(client: Client, slack: FakeSlack, general: str, autojump_clock: object) -> None:
    slack.fault("hang_after", "chat.postMessage")
    slack.delay("chat.postMessage", 20)
    with trio.move_on_after(30) as scope:
        await client.call("chat.postMessage", channel=general, text="x")
    assert scope.cancelled_caught
    assert slack.texts(general) == ["x"]
    assert (await client.call("chat.postMessage", channel=general, text="y"))["ok"]
    assert round(trio.current_time()) == 50


async def test_other_answers(client: Client, slack: FakeSlack, general: str) -> None:
    slack.break_with("auth.test", 503, when=lambda params: "x" in params)
    slack.redirect("auth.test", "https://example.com/")
    redirected = await client.ask("auth.test")
    assert (redirected.status_code, redirected.headers["location"]) == (302, "https://example.com/")
    assert (await client.call("auth.test"))["ok"]
    assert (await client.ask("auth.test", json={"x": "1"})).status_code == 503
    held: list[Json] = []
    released = slack.hold("chat.postMessage")
    async with trio.open_nursery() as nursery:

        async def post() -> None:
            held.append(await client.call("chat.postMessage", channel=general, text="x"))

        nursery.start_soon(post)
        await slack.wait_call("chat.postMessage")
        assert slack.texts(general) == []
        released.set()
    assert held[0]["ok"]
    slack.fault("drop_before", "*", times=None)
    slack.clear_faults()
    assert (await client.call("auth.test"))["ok"]
