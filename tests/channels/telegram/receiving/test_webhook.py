import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.channels.telegram.api import BotApi
from gatewayd.channels.telegram.receiving.inbound import Bot, Receiver, to_inbound
from gatewayd.channels.telegram.receiving.webhook import CHECK_SECONDS, WebhookReceiver
from gatewayd.channels.telegram.settings import TelegramSettings
from gatewayd.channels.telegram.state import Migrations
from gatewayd.kit.repeat import ATTEMPTS
from gatewayd.model.errors import NeedsOperator, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import WebhookRequest
from gatewayd.testing.channel_contract import Services
from tests.channels.telegram.receiving.test_wire import updates
from tests.channels.telegram.rig import WEBHOOK_URL, Rig, rig_for
from tests.fakes.bot_api import FakeBotApi

MESSAGE = {
    "update_id": 9,
    "message": {
        "message_id": 5,
        "date": 1,
        "chat": {"id": 4711, "type": "private", "first_name": "Alice"},
        "from": {"id": 4711, "is_bot": False, "first_name": "Alice"},
        "text": "hello",
    },
}


@pytest.fixture
async def api() -> AsyncIterator[FakeBotApi]:
    async with FakeBotApi.serve() as api:
        yield api


def secret_of(rig: Rig) -> str:
    [secret] = [value for key, value in rig.services.kept.items() if key.startswith("webhook_secret.")]
    return secret


def request(body: Any, secret: str | None) -> WebhookRequest:
    headers = {"content-type": "application/json"}
    if secret is not None:
        headers["x-telegram-bot-api-secret-token"] = secret
    return WebhookRequest("POST", headers, "", body if isinstance(body, bytes) else json.dumps(body).encode())


async def test_it_registers_itself_and_stays_registered(api: FakeBotApi, autojump_clock: MockClock) -> None:
    async with rig_for(api, mode="webhook", webhook_max_connections=7) as rig, rig.listening():
        assert rig.services.connected_as == ["@echo_bot"]
    assert api.calls("setWebhook") == [
        {
            "url": WEBHOOK_URL,
            "secret_token": secret_of(rig),
            "max_connections": 7,
            "allowed_updates": [
                "message",
                "edited_message",
                "channel_post",
                "edited_channel_post",
                "callback_query",
                "my_chat_member",
            ],
        }
    ]
    assert len(secret_of(rig)) >= 40
    assert api.webhook_url == WEBHOOK_URL, "a restart loses nothing"
    assert api.calls("deleteWebhook") == []
    await trio.sleep(2)  # Telegram takes one setWebhook a second
    async with rig_for(api, kept=rig.services.kept, mode="webhook") as again, again.listening():
        assert api.calls("setWebhook")[1]["secret_token"] == secret_of(rig)


async def test_each_token_has_its_own_secret(api: FakeBotApi, autojump_clock: MockClock) -> None:
    kept: dict[str, str] = {}
    async with rig_for(api, kept=kept, mode="webhook"), rig_for(api, kept=kept, mode="webhook", token="1:other"):
        secrets = {value for key, value in kept.items() if key.startswith("webhook_secret.")}
    assert len(secrets) == 2


async def test_an_update_is_taken(api: FakeBotApi, autojump_clock: MockClock) -> None:
    async with rig_for(api, mode="webhook") as rig:
        reply = rig.channel.receive(request(MESSAGE, secret_of(rig)))
    assert reply.status == 200
    [envelope] = reply.envelopes
    assert (envelope.text, envelope.peer, envelope.event_key) == ("hello", Peer("dm", "4711"), "424242:9")


async def test_the_name_is_known_before_the_first_call_after_a_restart(api: FakeBotApi, autojump_clock: MockClock) -> None:
    async with rig_for(api, mode="webhook") as rig, rig.listening():
        pass
    group = {"id": -4001, "type": "group", "title": "Family"}
    entities = [{"type": "mention", "offset": 0, "length": 9}]
    update = {"update_id": 9, "message": {**MESSAGE["message"], "chat": group, "text": "@echo_bot", "entities": entities}}  # type: ignore[dict-item]
    async with rig_for(api, kept=rig.services.kept, mode="webhook") as again:
        [envelope] = again.channel.receive(request(update, secret_of(rig))).envelopes
    assert envelope.addressed


@pytest.mark.parametrize("secret", [None, "", "wrong", "ünïcode", "\ud83d"])
async def test_without_the_secret_nothing_is_taken(api: FakeBotApi, secret: str | None, autojump_clock: MockClock) -> None:
    async with rig_for(api, mode="webhook") as rig:
        reply = rig.channel.receive(request(MESSAGE, secret))
        assert (reply.status, reply.envelopes) == (401, ())
        assert secret_of(rig).encode() not in reply.body


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b"null", b"\xff", b"[" * 50_000, {"update_id": "x"}])
async def test_what_is_no_update_is_a_bad_request(api: FakeBotApi, body: Any, autojump_clock: MockClock) -> None:
    async with rig_for(api, mode="webhook") as rig:
        reply = rig.channel.receive(request(body, secret_of(rig)))
    assert (reply.status, reply.envelopes) == (400, ())


@pytest.mark.parametrize("update", [{"update_id": 9, "hologram_call": {}}, {"update_id": 9, "message": "unreadable"}])
async def test_what_cannot_be_used_is_taken_and_skipped(api: FakeBotApi, update: Any, autojump_clock: MockClock) -> None:
    async with rig_for(api, mode="webhook") as rig:
        reply = rig.channel.receive(request(update, secret_of(rig)))
    assert (reply.status, reply.envelopes) == (200, ())


@pytest.fixture(scope="module")
def receiver() -> WebhookReceiver:
    services = Services(httpx2.AsyncClient())
    api = BotApi(services.http, TelegramSettings(Secret("424242:x"), api_base="http://127.0.0.1:9"))
    return WebhookReceiver(
        api,
        services,
        Migrations(),
        url=WEBHOOK_URL,
        secret="s",
        max_connections=1,
        read=lambda update: to_inbound(update, Receiver("telegram", "main", Bot(424242)), received_at=0.0),
    )


@given(body=st.binary(max_size=300) | updates.map(lambda update: json.dumps(update).encode()))
def test_any_body_gets_an_answer(receiver: WebhookReceiver, body: bytes) -> None:
    reply = receiver.receive(request(body, "s"))
    assert reply.status == 200 if b'"update_id"' in body else reply.status == 400


async def test_a_polling_account_has_no_webhook(api: FakeBotApi, autojump_clock: MockClock) -> None:
    async with rig_for(api) as rig:
        assert rig.channel.receive(request(MESSAGE, "")).status == 404


async def test_a_press_is_journaled_and_left_to_the_hub_to_answer(api: FakeBotApi, autojump_clock: MockClock) -> None:
    async with rig_for(api, mode="webhook") as rig:
        shown = api.user_sends(4711, "choose")["message"]["message_id"]
        update = api.user_presses(4711, shown, "yes")
        press = request(update, secret_of(rig))
        reply = rig.channel.receive(press)
        [envelope] = reply.envelopes
        assert (envelope.kind, envelope.text, envelope.press) == ("button", "yes", update["callback_query"]["id"])
        await rig.channel.received(press, reply)
        assert api.calls("answerCallbackQuery") == []


async def test_only_what_telegram_sent_shows_that_it_is_alive(api: FakeBotApi, autojump_clock: MockClock) -> None:
    async with rig_for(api, mode="webhook") as rig:
        for body, secret, heard in [(b"{}", "wrong", 0), (b"{", None, 0), (MESSAGE, secret_of(rig), 1)]:
            call = request(body, secret)
            await rig.channel.received(call, rig.channel.receive(call))
            assert rig.services.heard_times == heard


async def test_what_telegram_could_not_deliver_is_said(api: FakeBotApi, autojump_clock: MockClock) -> None:
    """The fake really calls, and gets no answer where nobody listens."""
    api.route_webhooks("https://bot.example.org", "http://127.0.0.1:9")
    with capture_logs() as logs:
        async with rig_for(api, mode="webhook") as rig, rig.listening():
            await trio.sleep(1)
            api.user_sends(4711, "hello?")
            await trio.sleep(CHECK_SECONDS * 1.2)
    [failing] = [entry for entry in logs if entry["event"] == "telegram_webhook_failing"]
    assert "Connection failed" in failing["error"]
    assert failing["waiting"] == 1


async def test_a_registration_that_is_gone_is_taken_back(api: FakeBotApi, autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with rig_for(api, mode="webhook") as rig, rig.listening():
            thief = b'{"ok":true,"result":{"url":"https://thief.example/secret-path"}}'
            api.garble_next("getWebhookInfo", status=200, body=thief, times=2)
            await trio.sleep(CHECK_SECONDS * 1.2)
            await api.wait_call("setWebhook", count=2)
    assert [entry["event"] for entry in logs] == ["telegram_webhook_lost", "telegram_webhook_replaced"]
    assert logs[1]["found_host"] == "thief.example"


async def test_an_outage_of_the_check_is_waited_out_by_the_supervisor(api: FakeBotApi, autojump_clock: MockClock) -> None:
    async with rig_for(api, mode="webhook") as rig:
        api.fail_next("getWebhookInfo", 500, "Internal Server Error", times=ATTEMPTS)
        with pytest.raises(TryAgain):
            await rig.channel.listen(rig.journal)


async def test_a_url_that_telegram_does_not_take_needs_the_operator(api: FakeBotApi, autojump_clock: MockClock) -> None:
    async with rig_for(api, mode="webhook") as rig:
        api.fail_next("setWebhook", 400, "Bad Request: bad webhook: IP address 127.0.0.1 is reserved")
        with pytest.raises(NeedsOperator, match="is reserved"):
            await rig.channel.listen(rig.journal)
