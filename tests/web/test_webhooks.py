"""Webhooks, on the fast path and on the app's: journaled before they are answered, or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from gatewayd.model.config import LimitsSection
from gatewayd.ports.channel import WebhookReply
from gatewayd.web.http.errors import BODY_SECONDS
from gatewayd.web.server.connection import HEAD_SECONDS
from gatewayd.web.server.http1 import KEEP_ALIVE_SECONDS
from gatewayd.web.webhooks import _AFTERWARDS_WAITING, AFTERWARDS_SECONDS, WORKERS, parse_target
from tests.web import hook
from tests.web.client import RawClient, chunked, request
from tests.web.site import MAX_BODY, Site, configuration, open_site

MAIN = "/v1/webhooks/hook/main"
SIGNED = {"X-Hook-Secret": hook.SECRET, "Content-Type": "application/json"}
HANDED_OVER = request("GET", "/health")
"""After this, the same connection is hypercorn's: webhooks on it take the app's route."""


def update(key: str = "1", **fields: object) -> bytes:
    return json.dumps({"key": key, **fields}).encode()


def post(body: bytes, *, target: str = MAIN, headers: dict[str, str] | None = None) -> bytes:
    return request("POST", target, headers=SIGNED if headers is None else headers, body=body)


async def go_slow(client: RawClient, slow: bool) -> None:
    """Make the rest of the connection take the app's route, if the test says so."""
    if slow:
        assert (await client.ask(HANDED_OVER)).status == 200


both_paths = pytest.mark.parametrize("slow", [False, True], ids=["fast", "slow"])


@both_paths
async def test_a_webhook_is_journaled_then_answered_then_followed_up(
    tmp_path: Path, clock: trio.testing.MockClock, slow: bool
) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await go_slow(client, slow)
        answer = await client.ask(post(update("k1", text="hello")))
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"ok k1", "text/plain")
        [row] = await site.rows()
        assert (row.envelope.event_key, row.envelope.text) == ("k1", "hello")
        await trio.sleep(1)
        assert site.hook().followed_up == ["k1"]
        status = site.gateway.manager.account("hook", "main").status
        assert status.last_inbound_at is not None


@both_paths
async def test_state_alone_is_stored(tmp_path: Path, clock: trio.testing.MockClock, slow: bool) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await go_slow(client, slow)
        assert (await client.ask(post(update("", cursor="42")))).status == 200
        assert await site.store.load_state("hook", "main", "cursor") == "42"
        assert await site.rows() == []


@both_paths
async def test_a_delivery_report_is_journaled_before_it_is_answered_also_without_a_message(
    tmp_path: Path, clock: trio.testing.MockClock, slow: bool
) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await go_slow(client, slow)
        await client.ask(post(update("k1", text="hello")))
        await trio.sleep(1)
        answer = await client.ask(post(update("", read="1")))
        reply = await site.store.get_outbound(1)
        assert reply is not None
        assert (answer.status, reply.state, reply.read_at is None) == (200, "sent", False)
        assert (await client.ask(post(update("", read="m" * 3000)))).status == 500


@both_paths
async def test_the_driver_sees_the_request_as_it_was(tmp_path: Path, clock: trio.testing.MockClock, slow: bool) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await go_slow(client, slow)
        body = b' {"key": "k", "text": "\\u00fc\\u20ac"}  '
        await client.ask(post(body, target=f"{MAIN}?a=1&b=%20x", headers={**SIGNED, "X-Odd": "Caf\xe9", "X-CAPS": "Yes"}))
        [seen] = site.hook().seen
        assert (seen.method, seen.query, seen.body) == ("POST", "a=1&b=%20x", body)
        assert set(seen.headers) == {"host", "x-hook-secret", "content-type", "x-odd", "x-caps", "content-length"}
        assert seen.headers["x-caps"] == "Yes"
        assert seen.headers["content-length"] == str(len(body))
        assert all(name == name.lower() for name in seen.headers)


async def test_a_platform_that_verifies_by_get_is_answered(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(request("GET", f"{MAIN}?hub.challenge=4711", headers=SIGNED))
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"hub.challenge=4711", "text/plain")
        assert [seen.method for seen in site.hook().seen] == ["GET"]
        assert (await client.ask(request("GET", f"{MAIN}?hub.challenge=4711"))).status == 401
        assert await site.rows() == []


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("GET", "/v1/webhooks/loopback/main", "POST"),
        ("GET", "/v1/webhooks/hook/nobody", "POST"),
        ("GET", "/v1/webhooks/no/body", "POST"),
    ],
)
async def test_another_method_is_refused_whether_or_not_the_account_exists(
    method: str, target: str, allowed: str, tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(request(method, target, headers=SIGNED))
        assert (answer.status, answer.code, answer.headers["allow"]) == (405, "method_not_allowed", allowed)
        assert site.hook().seen == []


@both_paths
async def test_the_same_event_twice_is_one_row(tmp_path: Path, clock: trio.testing.MockClock, slow: bool) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await go_slow(client, slow)
        for _ in range(4):
            assert (await client.ask(post(update("same")))).status == 200
        assert len(await site.rows()) == 1


@both_paths
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (update(), {}, 401),
        (update(), {"X-Hook-Secret": ""}, 401),
        (update(), {"X-Hook-Secret": hook.SECRET + "x"}, 401),
        (update(status=403), SIGNED, 403),
        (b"", SIGNED, 400),
        (b"\xff\xfe\x00", SIGNED, 400),
        (b'{"key": 1', SIGNED, 400),
        (b"[" * 50_000, SIGNED, 400),
        (b'{"key":' * 9_000, SIGNED, 400),
        (update(crash=True), SIGNED, 500),
        (update("a\0b"), SIGNED, 500),
    ],
    ids=["none", "empty", "wrong", "refused", "nothing", "binary", "cut", "deep-list", "deep-object", "crash", "id"],
)
async def test_what_is_refused_leaves_no_row(
    tmp_path: Path, clock: trio.testing.MockClock, slow: bool, body: bytes, headers: dict[str, str], status: int
) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await go_slow(client, slow)
        assert (await client.ask(post(body, headers=headers))).status == status
        assert await site.rows() == []
        assert (await client.ask(post(update("after")))).status == 200, "the connection goes on"


@both_paths
async def test_what_does_not_exist_all_looks_the_same(tmp_path: Path, clock: trio.testing.MockClock, slow: bool) -> None:
    """No account, no such channel, a channel without webhooks, and one without a secret."""
    targets = ["hook/nobody", "nothing/main", "loopback/main", "hook/plain", "hook/", "hook", "", "hook/main/more", "hook/main/"]
    async with open_site(tmp_path) as site, site.dial() as client:
        await go_slow(client, slow)
        answers = [await client.ask(post(update(), target=f"/v1/webhooks/{target}")) for target in targets]
        assert {answer.status for answer in answers} == {404}
        exact = [answer for answer, target in zip(answers, targets, strict=True) if target.count("/") == 1 and target[-1] != "/"]
        assert len({answer.body for answer in exact}) == 1
        assert await site.rows() == []


@both_paths
@pytest.mark.parametrize("state", ["starting", "draining"])
async def test_nothing_is_taken_before_and_after(tmp_path: Path, clock: trio.testing.MockClock, slow: bool, state: str) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await go_slow(client, slow)
        site.gateway.enter(state)  # type: ignore[arg-type]
        for target in (MAIN, "/v1/webhooks/nothing/main"):
            answer = await client.ask(post(update(), target=target))
            assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "draining", "5")
        assert await site.rows() == []


@both_paths
async def test_an_account_that_does_not_run_is_unavailable(tmp_path: Path, clock: trio.testing.MockClock, slow: bool) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await go_slow(client, slow)
        await site.gateway.manager.stop("hook", "main")
        answer = await client.ask(post(update()))
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "unavailable", "5")
        assert await site.rows() == []


@both_paths
async def test_a_full_inbox_is_overloaded(tmp_path: Path, clock: trio.testing.MockClock, slow: bool) -> None:
    config = configuration(limits=LimitsSection(inbox_backlog=1))
    async with open_site(tmp_path, config) as site, site.dial() as client:
        await go_slow(client, slow)
        await _fill_inbox(site)
        before = len(await site.rows())
        answer = await client.ask(post(update("later")))
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "overloaded", "5")
        assert len(await site.rows()) == before


@both_paths
async def test_a_store_that_refuses_means_unavailable(tmp_path: Path, clock: trio.testing.MockClock, slow: bool) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await go_slow(client, slow)
        site.fill_disk()
        answers = [await client.ask(post(update(f"big-{n}", text="x" * 50_000))) for n in range(5)]
        refused = [answer for answer in answers if answer.status != 200]
        assert refused, "the disk is not full"
        assert {(a.status, a.code, a.headers["retry-after"]) for a in refused} == {(503, "unavailable", "5")}
        assert len(await site.rows()) == len(answers) - len(refused)


async def test_what_follows_an_answer_cannot_hurt_and_is_bounded(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    room = WORKERS + _AFTERWARDS_WAITING
    async with open_site(tmp_path) as site, site.dial() as client:
        driver = site.hook()
        driver.on_follow_up = trio.Event()
        for n in range(room + 10):
            assert (await client.ask(post(update(f"k{n}", text="explode")))).status == 200
        driver.on_follow_up.set()
        await trio.sleep(1)
        assert sorted(driver.followed_up) == sorted(f"k{n}" for n in range(room))
        assert [entry["event"] for entry in logged].count("webhook_followup_skipped") == 1
        assert [entry["event"] for entry in logged].count("webhook_followup_failed") == room
        await client.ask(post(update("after")))
        await trio.sleep(1)
        assert driver.followed_up[-1] == "after"


@pytest.mark.parametrize("obeys", [True, False])
async def test_what_follows_an_answer_may_not_take_for_ever(tmp_path: Path, clock: trio.testing.MockClock, obeys: bool) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        driver = site.hook()
        driver.on_follow_up = release = trio.Event()
        driver.ignores_cancellation = not obeys
        for n in range(WORKERS):
            await client.ask(post(update(f"k{n}")))
        await trio.sleep(AFTERWARDS_SECONDS + 1)
        driver.on_follow_up = None
        async with site.dial() as other:
            await other.ask(post(update("after")))
        await trio.sleep(1)
        assert driver.followed_up == ["after"]
        release.set()


@both_paths
async def test_a_journal_that_takes_too_long_is_overloaded(tmp_path: Path, clock: trio.testing.MockClock, slow: bool) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await go_slow(client, slow)
        site.gateway.manager.account("hook", "main")._deliveries.total_tokens = 0
        began = trio.current_time()
        answer = await client.ask(post(update()))
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "overloaded", "5")
        assert hook.PLUGIN.webhook_answer_seconds <= trio.current_time() - began < hook.PLUGIN.webhook_answer_seconds + 1
        assert await site.rows() == []


# Framing.


async def test_pipelined_webhooks_are_answered_in_order(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await client.say(b"".join(post(update(f"k{n}")) for n in range(5)))
        assert [(await client.answer()).body for _ in range(5)] == [b"ok k%d" % n for n in range(5)]
        assert [row.envelope.event_key for row in await site.rows()] == [f"k{n}" for n in range(5)]


async def test_a_connection_may_mix_webhooks_and_the_rest(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await client.say(post(update("a")) + HANDED_OVER + post(update("b")) + HANDED_OVER + post(update("c")))
        assert [(await client.answer()).status for _ in range(5)] == [200] * 5
        assert [row.envelope.event_key for row in await site.rows()] == ["a", "b", "c"]


async def test_a_body_may_come_in_pieces(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        for byte in post(update("slowly")):
            await client.say(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        assert (await client.answer()).body == b"ok slowly"


@both_paths
async def test_expect_100_continue(tmp_path: Path, clock: trio.testing.MockClock, slow: bool) -> None:
    body = update("polite")
    async with open_site(tmp_path) as site, site.dial() as client:
        await go_slow(client, slow)
        head = request("POST", MAIN, headers={**SIGNED, "Expect": "100-continue", "Content-Length": str(len(body))})
        assert (await client.ask(head)).status == 100
        assert (await client.ask(body)).body == b"ok polite"


async def test_a_chunked_webhook_is_taken(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        head = request("POST", MAIN, headers={**SIGNED, "Transfer-Encoding": "chunked"})
        assert (await client.ask(head + chunked(update("pieces"), size=3))).body == b"ok pieces"
        assert (await client.ask(post(update("more")))).body == b"ok more"


@both_paths
async def test_a_body_of_the_largest_size_is_taken_and_one_byte_more_is_not(
    tmp_path: Path, clock: trio.testing.MockClock, slow: bool
) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await go_slow(client, slow)
        body = update("large", text="")
        largest = body[:-2] + b"x" * (MAX_BODY - len(body)) + body[-2:]
        assert len(largest) == MAX_BODY
        assert (await client.ask(post(largest))).status == 200
        answer = await client.ask(post(largest + b" "))
        assert (answer.status, answer.code) == (413, "body_too_large")
        assert await client.closed()
        assert len(await site.rows()) == 1


async def test_an_http_1_0_client_is_answered_and_closed(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(request("POST", MAIN, headers=SIGNED, body=update(), version="1.0"))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.closed()


async def test_connection_close_is_honoured(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(post(update(), headers={**SIGNED, "Connection": "close"}))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.closed()


async def test_a_slow_body_is_timed_out(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        began = trio.current_time()
        answer = await client.ask(post(update())[:-1])
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert BODY_SECONDS <= trio.current_time() - began < BODY_SECONDS + 1
        assert await site.rows() == []


async def test_a_body_that_is_cut_off_is_no_webhook(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await client.say(post(update())[:-1])
        await client.stream.send_eof()
        assert (await client.answer()).code == "bad_request"
        assert await site.rows() == []


async def test_a_client_that_has_finished_sending_is_answered(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await client.say(post(update("last words")))
        await client.stream.send_eof()
        assert (await client.answer()).body == b"ok last words"


async def test_an_idle_connection_is_closed_without_a_word(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await client.ask(post(update()))
        began = trio.current_time()
        assert await client.closed()
        assert KEEP_ALIVE_SECONDS <= trio.current_time() - began < KEEP_ALIVE_SECONDS + 1


async def test_a_later_head_that_is_slow_is_timed_out(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await client.ask(post(update()))
        await trio.sleep(HEAD_SECONDS)
        began = trio.current_time()
        assert (await client.ask(b"POST /v1/webh")).code == "request_timeout"
        assert HEAD_SECONDS <= trio.current_time() - began < HEAD_SECONDS + 1


async def test_neither_host_nor_origin_is_asked_of_a_platform(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        for _ in range(2):
            headers = {**SIGNED, "Origin": "https://elsewhere.example"}
            answer = await client.ask(request("POST", MAIN, host="inside.proxy", headers=headers, body=update()))
            assert answer.status == 200
            await go_slow(client, slow=True)


def test_targets() -> None:
    assert parse_target("/v1/webhooks/a/b?c=d?e") == ("a", "b", "c=d?e")
    assert parse_target("/v1/webhooks/%61/b") == ("a", "b", "")
    assert parse_target("/v1/webhooks/a/b/c") == ("a", "b/c", "")
    assert parse_target("/v1/chat/inbound") is None


async def _fill_inbox(site: Site) -> None:
    """One message whose turn waits for an approval, and one that waits behind it."""
    account = site.gateway.manager.account("hook", "main")
    for n in range(2):
        envelope = hook.HookChannel._envelope(site.hook(), hook.Update(key=f"full-{n}", text="/demo-tool x"))
        await account.deliver([envelope])
        await trio.sleep(1)
    assert site.gateway.backlog.why_full("hook", "main")


def exits() -> WebhookReply:
    raise SystemExit(1)


def fails() -> WebhookReply:
    raise KeyError("x-other-header")


WRONG: dict[str, Callable[[], Any]] = {
    "exits": exits,
    "fails": fails,
    "text": lambda: "no reply",
    "status": lambda: WebhookReply(status="200"),  # type: ignore[arg-type]
    "early": lambda: WebhookReply(status=99),
    "body": lambda: WebhookReply(status=401, body="text"),  # type: ignore[arg-type]
    "header": lambda: WebhookReply(status=401, content_type="text/plain\r\nx-other: 1"),
}


@both_paths
@pytest.mark.parametrize("method", ["check_headers", "receive"])
@pytest.mark.parametrize("how", WRONG)
async def test_whatever_a_driver_makes_of_a_request_is_an_error_of_this_request_only(
    tmp_path: Path, clock: trio.testing.MockClock, slow: bool, method: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await go_slow(client, slow)
        with monkeypatch.context() as patch:
            patch.setattr(hook.HookChannel, method, lambda *_: WRONG[how]())
            assert (await client.ask(post(update("k1", text="hello")))).status == 500
        assert (await client.ask(post(update("k1", text="hello")))).status == 200
