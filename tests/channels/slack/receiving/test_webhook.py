"""Requests of Slack's over HTTP: what is signed is read, whatever it is, and nothing else."""

import hmac
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.channels.slack.receiving.gaps import RATE_LIMITED_SECONDS
from gatewayd.channels.slack.receiving.webhook import EventsWebhook
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import WebhookReply, WebhookRequest
from gatewayd.testing.channel_contract import Services
from tests.channels.slack.receiving.slack_side import APP
from tests.channels.slack.receiving.socket_rig import PlainReceiver

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
NOW = 1_800_000_000
FORM = "application/x-www-form-urlencoded"


def signed(body: bytes, at: int | str = NOW, *, secret: str = SECRET) -> dict[str, str]:
    signature = hmac.new(secret.encode(), f"v0:{at}:".encode() + body, sha256).hexdigest()
    return {"x-slack-request-timestamp": str(at), "x-slack-signature": f"v0={signature}", "content-type": "application/json"}


class Web:
    """One app's requests."""

    def __init__(self) -> None:
        self.services = Services(httpx2.AsyncClient())
        self.webhook = EventsWebhook(self.services, PlainReceiver(), signing_secret=Secret(SECRET))

    def post(
        self, body: object, *, form: bool = False, at: int | str = NOW, secret: str = SECRET, **headers: str
    ) -> WebhookReply:
        data = body if isinstance(body, bytes) else urlencode(body).encode() if form else json.dumps(body).encode()  # type: ignore[arg-type]
        given = signed(data, at, secret=secret) | ({"content-type": FORM} if form else {})
        return self.send(data, given | {name.replace("_", "-"): value for name, value in headers.items()})

    def send(self, body: bytes, headers: Mapping[str, str]) -> WebhookReply:
        """At NOW."""

        async def go() -> WebhookReply:
            return self.webhook.receive(WebhookRequest("POST", headers, "", body))

        return trio.run(go, clock=MockClock())


def event(text: str = "one", **fields: Any) -> dict[str, Any]:
    return {"type": "event_callback", "team_id": "T01", "api_app_id": APP, "event": {"type": "message", "text": text}, **fields}


def keys(reply: WebhookReply) -> list[str]:
    return [envelope.event_key for envelope in reply.envelopes]


def test_an_event_is_read_and_answered_with_nothing() -> None:
    reply = Web().post(event("hello"))
    assert (reply.status, reply.body, keys(reply), reply.state) == (200, b"", ["hello"], {"last": "hello"})


@pytest.mark.parametrize("content_type", [FORM, f"{FORM}; charset=UTF-8", FORM.upper()])
def test_an_interaction_is_the_json_in_a_form(content_type: str) -> None:
    reply = Web().post({"payload": json.dumps(event("pressed: ä&=+"))}, form=True, content_type=content_type)
    assert (reply.status, reply.body, keys(reply)) == (200, b"", ["pressed: ä&=+"])


def test_a_command_is_a_form() -> None:
    fields = {"command": "/ask", "text": "a=b&c", "api_app_id": APP, "user_id": "U01"}
    reply = Web().post(fields, form=True)
    assert (reply.status, reply.body, keys(reply)) == (200, b"", ["a=b&c"])


def test_the_address_is_verified_only_when_it_is_signed() -> None:
    challenge = {"type": "url_verification", "token": "x", "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}
    reply = Web().post(challenge)
    assert (reply.status, reply.body, reply.content_type) == (200, challenge["challenge"].encode(), "text/plain")
    assert Web().post(challenge, secret="another").status == 401
    assert Web().send(json.dumps(challenge).encode(), {"content-type": "application/json"}).status == 401


@pytest.mark.parametrize(
    ("late", "status"), [(0, 200), (300, 200), (301, 401), (-300, 200), (-301, 401), (10**9, 401), (-(10**9), 401)]
)
def test_a_request_of_another_time_is_refused(late: int, status: int) -> None:
    reply = Web().post(event(), at=NOW - late)
    assert reply.status == status
    assert bool(reply.envelopes) == (status == 200)


@pytest.mark.parametrize("name", ["x-slack-signature", "x-slack-request-timestamp"])
@pytest.mark.parametrize("value", [None, "", "v0=", "v0=ä", "nan", "-1", "1e9", "0" * 100])
def test_a_header_that_is_missing_or_wrong_is_a_refusal(name: str, value: str | None) -> None:
    headers = {"content-type": "application/json", "x-slack-signature": "v0=" + "0" * 64, "x-slack-request-timestamp": str(NOW)}
    del headers[name]
    if value is not None:
        headers[name] = value
    reply = Web().send(json.dumps(event()).encode(), headers)
    assert (reply.status, reply.envelopes) == (401, ())
    assert b"signing secret" in reply.body


def test_what_slack_sends_again_is_read() -> None:
    with capture_logs() as logs:
        reply = Web().post(event(), x_slack_retry_num="1", x_slack_retry_reason="http_timeout")
    assert keys(reply) == ["one"]
    assert [(entry["event"], entry["attempt"], entry["reason"]) for entry in logs] == [("slack_sends_again", "1", "http_timeout")]


def test_a_header_of_nonsense_is_not_logged() -> None:
    with capture_logs() as logs:
        Web().post(event(), x_slack_retry_num="\x1b[31m", x_slack_retry_reason="x" * 1000)
    assert [(entry["attempt"], entry["reason"]) for entry in logs] == [("?", "?")]


@pytest.mark.parametrize("form", [False, True])
def test_a_request_for_another_app_is_refused_in_words(form: bool) -> None:
    web = Web()
    foreign = event(api_app_id="A0OTHER")
    reply = web.post({"payload": json.dumps(foreign)} if form else foreign, form=form)
    assert (reply.status, reply.envelopes, reply.body) == (403, (), b"this account is of another app")
    assert "of the app A0OTHER, and the bot token of the app A0APP" in (web.services.lacking["requests"] or "")
    web.post(event())
    assert web.services.lacking["requests"] is None
    assert web.post({"command": "/ask", "api_app_id": "A0OTHER"}, form=True).status == 403


def test_the_check_of_the_certificate_is_answered_and_does_nothing() -> None:
    web = Web()
    unsigned = {"content-type": FORM}
    assert web.send(b"ssl_check=1&token=xxx", unsigned).status == 200
    smuggled = urlencode({"ssl_check": "1", "payload": json.dumps(event())}).encode()
    assert web.send(smuggled, unsigned) == WebhookReply()
    assert web.send(b"ssl_check=0", unsigned).status == 401
    assert web.send(b"ssl_check=true", unsigned).status == 401
    assert web.send(b"ssl_check=0&ssl_check=1", unsigned).status == 401
    assert web.post({"ssl_check": "1", "payload": json.dumps(event())}, form=True) == WebhookReply()


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b"", False),
        (b"{", False),
        (b"[]", False),
        (b"null", False),
        (b'{"type": "event_callback"}', False),
        (b'{"type": "url_verification"}', False),
        (b'{"type": "url_verification", "challenge": "' + b"x" * 1001 + b'"}', False),
        (b"payload=", True),
        (b"payload={", True),
        (b"nothing=1", True),
        (b"&".join([b"a=1"] * 101), True),
    ],
)
def test_what_is_signed_and_cannot_be_read_is_taken_and_skipped(body: bytes, form: bool) -> None:
    with capture_logs() as logs:
        reply = Web().post(body, form=form)
    assert reply == WebhookReply()
    assert [entry["event"] for entry in logs] == ["slack_event_skipped"]


@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["type", "api_app_id", "challenge", "event", "x"]), inner)
        ),
    ).map(lambda it: json.dumps(it).encode()),
    st.booleans(),
)
def test_any_signed_bytes_get_an_answer(body: bytes, form: bool) -> None:
    assert Web().post(body, form=form).status in (200, 403)


@given(
    st.binary(max_size=300),
    st.dictionaries(st.sampled_from(["x-slack-signature", "x-slack-request-timestamp", "content-type"]), st.text(max_size=80)),
)
def test_nothing_that_is_not_signed_is_read(body: bytes, headers: dict[str, str]) -> None:
    reply = Web().send(body, headers)
    assert reply.status in (401, 200)
    assert reply.envelopes == ()
    assert reply.status == 401 or b"ssl_check" in body


async def test_it_fetches_at_the_start_and_when_slack_has_left_events_out(autojump_clock: MockClock) -> None:
    web = Web()
    fetched: list[float] = []

    async def fetch() -> None:
        await trio.lowlevel.checkpoint()
        fetched.append(trio.current_time())

    limited = {"type": "app_rate_limited", "team_id": "T01", "api_app_id": APP, "minute_rate_limited": 1518467820}
    body = json.dumps(limited).encode()
    request = WebhookRequest("POST", signed(body), "", body)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(web.webhook.watch, fetch)
        await trio.sleep(1)
        assert web.webhook.receive(request) == WebhookReply()
        await trio.sleep(RATE_LIMITED_SECONDS - 1)
        assert "app_rate_limited" in (web.services.lacking["events"] or "")
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert fetched == [0.0, 1.0 + RATE_LIMITED_SECONDS]
    assert web.services.lacking == {"events": None}
