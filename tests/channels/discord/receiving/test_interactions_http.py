"""Interactions over HTTP: what is signed is answered, whatever it is, and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey
from structlog.testing import capture_logs

from gatewayd.channels.discord.receiving.cursors import DiscordState
from gatewayd.channels.discord.receiving.inbound import Bot, Receiver
from gatewayd.channels.discord.receiving.interactions_http import InteractionsWebhook
from gatewayd.channels.discord.settings import DiscordSettings
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import AccountConfig, WebhookReply, WebhookRequest
from gatewayd.testing.services import ServicesInMemory

APP, BOT, ADA, CHANNEL, MESSAGE = "100000000000000001", "100000000000000002", "100000000000000003", "4" * 18, "5" * 18
TOKEN = "aW50ZXJhY3Rpb24-secret"  # of the fake
KEY = SigningKey(b"k" * 32)
PING: dict[str, Any] = {"id": "6" * 18, "application_id": APP, "type": 1, "token": TOKEN, "version": 1}
PRESS = PING | {
    "type": 3,
    "channel_id": CHANNEL,
    "user": {"id": ADA, "username": "ada"},
    "message": {"id": MESSAGE, "channel_id": CHANNEL},
    "data": {"component_type": 2, "custom_id": "0/allow"},
}
COMMAND = PING | {
    "type": 2,
    "channel_id": CHANNEL,
    "user": {"id": ADA, "username": "ada"},
    "data": {"type": 1, "name": "status"},
}


class Web:
    """One app's requests."""

    def __init__(self) -> None:
        services = ServicesInMemory()
        settings = DiscordSettings(token=Secret("t"), interactions="http", public_key=KEY.verify_key.encode().hex())
        account = AccountConfig(channel="discord", account="main", settings=settings)
        receiver = Receiver(account, Bot(APP, BOT, "bot"), settings, DiscordState(services.state), lambda: 1_800_000_000.0)
        self.webhook = InteractionsWebhook(services.log, receiver, public_key=settings.public_key or "")

    def post(self, body: object, timestamp: str = "1800000000") -> WebhookReply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send(data, timestamp, KEY.sign(timestamp.encode() + data).signature.hex())

    def send(self, body: bytes, timestamp: str | None, signature: str | None) -> WebhookReply:
        headers = {"x-signature-timestamp": timestamp, "x-signature-ed25519": signature}
        return self.webhook.receive(WebhookRequest("POST", {k: v for k, v in headers.items() if v is not None}, "", body))


def answer(reply: WebhookReply) -> Any:
    assert (reply.status, reply.content_type) == (200, "application/json")
    return json.loads(reply.body)


def test_the_check_of_the_portal_is_answered() -> None:
    assert answer(Web().post(PING)) == {"type": 1}


@pytest.mark.parametrize(("body", "kind", "text", "first"), [(PRESS, "button", "allow", 6), (COMMAND, "command", "/status", 5)])
def test_what_somebody_did_is_journaled_and_the_answer_deferred(body: dict[str, Any], kind: str, text: str, first: int) -> None:
    reply = Web().post(body)
    assert answer(reply) == {"type": first}
    [envelope] = reply.envelopes
    assert (envelope.kind, envelope.text, envelope.sender.id) == (kind, text, ADA)
    assert "interaction:" + body["id"] == envelope.event_key
    assert Web().post(body).envelopes[0].event_key == envelope.event_key, "by which the hub knows a second one"


@pytest.mark.parametrize(
    ("body", "first"),
    [
        (COMMAND | {"type": 4}, 8),
        (COMMAND | {"type": 5}, 4),
        (COMMAND | {"type": 99}, 4),
        (PRESS | {"context": 2}, 4),
        (PRESS | {"application_id": "9" * 18}, 4),
    ],
)
def test_what_is_not_used_is_answered_and_journaled_nowhere(body: dict[str, Any], first: int) -> None:
    reply = Web().post(body)
    assert answer(reply)["type"] == first
    assert reply.envelopes == ()
    if first == 4:
        assert answer(reply)["data"]["flags"] == 64, "only this person sees it"


@given(st.binary(max_size=300) | st.dictionaries(st.sampled_from([*PRESS, "member"]), st.none() | st.integers() | st.text()))
def test_what_nobody_can_read_is_400(body: bytes | dict[str, Any]) -> None:
    with capture_logs() as logs:
        reply = Web().post(body)
    assert reply.status in (200, 400)
    assert reply.envelopes == ()
    assert TOKEN not in str(logs)


@given(st.data())
def test_what_is_not_signed_is_401(data: st.DataObject) -> None:
    """Discord tries this now and then, and takes the address away where it is taken."""
    body, timestamp = json.dumps(PING).encode(), "1800000000"
    signature = KEY.sign(timestamp.encode() + body).signature.hex()
    match data.draw(st.sampled_from(["body", "timestamp", "signature", "none", "key"])):
        case "body":
            at = data.draw(st.integers(0, len(body) - 1))
            body = body[:at] + bytes([body[at] ^ data.draw(st.integers(1, 255))]) + body[at + 1 :]
        case "timestamp":
            timestamp = data.draw(st.text(max_size=20).filter(lambda it: it != timestamp))
        case "signature":
            right = signature
            signature = data.draw(st.text(max_size=140) | st.just(signature[64:] + signature[:64]))
            assert signature != right
        case "none":
            signature = ""
        case _:
            signature = SigningKey(b"o" * 32).sign(timestamp.encode() + body).signature.hex()
    reply = Web().send(body, timestamp, signature or None)
    assert (reply.status, reply.envelopes, reply.state) == (401, (), {})
    assert Web().send(body, None, signature or None).status == 401
