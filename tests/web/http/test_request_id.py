"""Each answer has the id of its request, whoever answers, and the log lines that the request leads to have it, too."""

from pathlib import Path

import pytest
import structlog
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from structlog.typing import EventDict

from gatewayd.web.http.request_id import request_id_of
from tests.web.client import chunked, request
from tests.web.hook import SECRET
from tests.web.site import open_site, token_of

ADMIN = {"Authorization": f"Bearer {token_of('admin')}"}
HOOK = {"X-Hook-Secret": SECRET}
REQUESTS = {
    "a probe": request("GET", "/health"),
    "the app": request("GET", "/v1/gateway/status", headers=ADMIN),
    "no token": request("GET", "/v1/gateway/status"),
    "another host": request("GET", "/v1/gateway/status", host="elsewhere.example"),
    "no route": request("GET", "/nowhere"),
    "another method": request("DELETE", "/health"),
    "a webhook": request("POST", "/v1/webhooks/hook/main", headers=HOOK, body=b'{"key": "1"}'),
    "a refused webhook": request("POST", "/v1/webhooks/hook/main", body=b'{"key": "1"}'),
    "a webhook by the app": request(
        "POST", "/v1/webhooks/hook/main", headers=HOOK | {"Transfer-Encoding": "chunked"}, body=chunked(b'{"key": "2"}')
    ),
    "no protocol of ours": request("GET", "/health", headers={"Connection": "Upgrade", "Upgrade": "websocket"}),
    "no request": b"\r\n \r\n\r\n",
    "a stream": request("GET", "/v1/events", headers=ADMIN),
}


@pytest.mark.parametrize("raw", REQUESTS.values(), ids=REQUESTS)
async def test_every_answer_has_one(tmp_path: Path, clock: trio.testing.MockClock, raw: bytes) -> None:
    own = raw.replace(b"\r\n", b"\r\nX-Request-Id: Root=1-67891233-abcdef\r\n", 1)
    other = raw.replace(b"\r\n", b'\r\nX-Request-Id: a"b\r\n', 1)
    async with open_site(tmp_path) as site:
        told = []
        for each in (raw, raw, own, other):
            async with site.dial() as client:
                await client.say(each)
                told.append((await client.head())[1]["x-request-id"])
    assert len(set(told)) == 4
    if raw.startswith((b"GET", b"POST", b"DELETE")) and b"websocket" not in raw:
        assert told[2] == "Root=1-67891233-abcdef"
    assert 'a"b' not in told


async def test_each_request_of_a_connection_has_its_own(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        hooks = [await client.ask(REQUESTS["a webhook"]) for _ in range(2)]
        others = [await client.ask(REQUESTS["the app"]) for _ in range(2)]
    assert len({answer.headers["x-request-id"] for answer in hooks + others}) == 4


@pytest.mark.parametrize("framing", [{}, {"Transfer-Encoding": "chunked"}])
async def test_log_lines_have_it(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict], framing: dict[str, str]
) -> None:
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, *structlog.get_config()["processors"]])
    body = b'{"key": "1", "crash": true}'
    raw = request(
        "POST",
        "/v1/webhooks/hook/main",
        headers=HOOK | framing | {"X-Request-Id": "mine"},
        body=chunked(body) if framing else body,
    )
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(raw)
        assert (answer.status, answer.headers["x-request-id"]) == (500, "mine")
        assert (await client.ask(REQUESTS["a webhook"])).status == 200
    [failed] = [line for line in logged if line["event"] == "webhook_driver_failed"]
    assert failed["request_id"] == "mine"
    assert [line for line in logged if line.get("request_id") == "mine"] == [failed]


@given(st.binary(max_size=200))
def test_only_what_is_well_formed_is_taken(value: bytes) -> None:
    taken = request_id_of([(b"host", b"x"), (b"x-request-id", value)])
    assert taken.encode() == value or (len(taken) == 16 and taken.isalnum())
    assert taken.isascii()
    assert taken.isprintable()
    assert not set(taken) & set("\"'\\ ,;$`<>(){}&|")
