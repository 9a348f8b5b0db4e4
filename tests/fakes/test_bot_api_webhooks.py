"""The fake Bot API, held against the platform's rules: webhooks."""

import msgspec
import pytest
import trio
from trio.testing import MockClock

from tests.fakes.bot_api import FakeBotApi, Json
from tests.fakes.bot_api.http_server import Request, Response, listen, port_of, serve_http
from tests.fakes.bot_client import ALICE, Client


class Hook:
    """A webhook's receiver: records requests, answers what ``answers`` says, then 200."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.times: list[float] = []
        self.answers: list[Response | None] = []
        self.running = 0
        self.most_at_once = 0
        self.seconds = 0.0

    async def handle(self, request: Request) -> Response | None:
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        await trio.sleep(self.seconds)
        self.running -= 1
        self.requests.append(request)
        self.times.append(trio.current_time())
        return self.answers.pop(0) if self.answers else Response(200, b"")

    def texts(self) -> list[str]:
        return [msgspec.json.decode(request.body)["message"]["text"] for request in self.requests]


@pytest.fixture
async def hook(api: FakeBotApi, nursery: trio.Nursery) -> Hook:
    """Listens behind https://bot.example, as behind a TLS proxy."""
    hook = Hook()
    listener = await listen(0)
    nursery.start_soon(serve_http, listener, hook.handle)
    api.route_webhooks("https://bot.example", f"http://127.0.0.1:{port_of(listener)}")
    return hook


async def test_a_webhook_gets_each_update_with_the_secret(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, hook: Hook
) -> None:
    api.user_sends(ALICE, "before")
    answer = await bot.call("setWebhook", url="https://bot.example/in?x=1", secret_token="s-3_T")
    assert (answer["result"], answer["description"]) == (True, "Webhook was set")
    api.user_sends(ALICE, "after")
    await api.wait_delivered()
    assert hook.texts() == ["before", "after"]
    request = hook.requests[0]
    assert (request.method, request.path, request.query) == ("POST", "/in", "x=1")
    assert request.headers["x-telegram-bot-api-secret-token"] == "s-3_T"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == "bot.example"
    info = await bot.ok("getWebhookInfo")
    assert (info["url"], info["pending_update_count"], info["max_connections"]) == ("https://bot.example/in?x=1", 0, 40)


async def test_a_failed_delivery_is_repeated_with_growing_pauses(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, hook: Hook
) -> None:
    hook.answers = [Response(503, b""), None, Response(500, b""), Response(429, b"", headers=(("Retry-After", "30"),))]
    await bot.ok("setWebhook", url="https://bot.example/in")
    api.user_sends(ALICE, "one")
    api.user_sends(ALICE, "two")
    await trio.sleep(1)
    info = await bot.ok("getWebhookInfo")
    assert info["pending_update_count"] == 2
    assert info["last_error_message"] == "Webhook connection closed"
    await api.wait_delivered()
    assert hook.texts() == ["one"] * 5 + ["two"]
    pauses = [later - earlier for earlier, later in zip(hook.times, hook.times[1:], strict=False)]
    assert pauses == pytest.approx([0, 2, 4, 30, 0], abs=0.2)


async def test_a_refused_connection_is_repeated(api: FakeBotApi, bot: Client, autojump_clock: MockClock, hook: Hook) -> None:
    await bot.ok("setWebhook", url="http://127.0.0.1:9/closed")
    api.user_sends(ALICE, "kept")
    await trio.sleep(100)
    assert (await bot.ok("getWebhookInfo"))["last_error_message"].startswith("Connection failed")
    await bot.ok("setWebhook", url="https://bot.example/in")
    await api.wait_delivered()
    assert hook.texts() == ["kept"]


@pytest.mark.parametrize("connections", [1, 3])
async def test_chats_are_delivered_side_by_side_and_each_in_order(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, hook: Hook, connections: int
) -> None:
    hook.seconds = 1.0
    for number in range(3):
        for chat in range(1, 7):
            api.user_sends(chat, f"{chat}.{number}")
    await bot.ok("setWebhook", url="https://bot.example/in", max_connections=connections)
    await api.wait_delivered()
    assert hook.most_at_once == connections
    assert len(hook.texts()) == 18
    for chat in range(1, 7):
        own = [text for text in hook.texts() if text.startswith(f"{chat}.")]
        assert own == [f"{chat}.0", f"{chat}.1", f"{chat}.2"]


async def test_deleting_a_webhook_keeps_or_drops_what_waits(api: FakeBotApi, bot: Client, autojump_clock: MockClock) -> None:
    await bot.ok("setWebhook", url="http://127.0.0.1:9/closed")
    api.user_sends(ALICE, "waits")
    assert (await bot.call("deleteWebhook"))["description"] == "Webhook was deleted"
    assert api.pending_update_count == 1
    assert (await bot.call("deleteWebhook", drop_pending_updates=True))["description"] == "Webhook is already deleted"
    assert api.pending_update_count == 0
    assert (await bot.ok("getWebhookInfo")) == {"url": "", "has_custom_certificate": False, "pending_update_count": 0}


@pytest.mark.parametrize(
    ("params", "description"),
    [
        ({"url": "bot.example"}, "Bad Request: invalid webhook URL specified"),
        (
            {"url": "https://bot.example:444/"},
            "Bad Request: bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443",
        ),
        ({"url": "https://b.example/", "secret_token": "a b"}, "Bad Request: secret token contains unallowed characters"),
        ({"url": "https://b.example/", "secret_token": "x" * 257}, "Bad Request: secret token is too long"),
    ],
)
async def test_bad_webhooks_are_refused(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, params: Json, description: str
) -> None:
    assert await bot.refused("setWebhook", **params) == (400, description)
    assert await bot.refused("setWebhook", url="https://b.example/") == (429, "Too Many Requests: retry after 1")
    assert api.webhook_url == ""


async def test_an_update_can_be_posted_past_the_queue(
    api: FakeBotApi, bot: Client, autojump_clock: MockClock, hook: Hook
) -> None:
    await bot.ok("setWebhook", url="https://bot.example/in", secret_token="right")
    update = api.user_sends(ALICE, "again")
    await api.wait_delivered()
    hook.answers = [Response(200, b""), Response(403, b"")]
    assert await api.post_update(update) == 200
    assert await api.post_update(update, secret_token="wrong") == 403
    assert [request.headers["x-telegram-bot-api-secret-token"] for request in hook.requests] == ["right", "right", "wrong"]
    assert hook.texts() == ["again"] * 3
