"""Calls of the Web API, and to which hosts the tokens go. The other side is a function from requests to responses."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.errors import SlackError
from gatewayd.channels.slack.settings import PUBLIC_API, SlackSettings
from gatewayd.channels.slack.wire.answers import Posted
from gatewayd.model.errors import AnswerExpired, GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.secret import Secret
from tests.channels.slack.other_side import Other, ok, refused
from tests.channels.slack.test_settings import APP, BOT

OWN = "http://127.0.0.1:4321/slack/api"
ME = {"ok": True, "team_id": "T1", "user_id": "U1", "bot_id": "B1", "team": "Us", "user": "bot"}


async def test_what_is_nested_is_sent_as_json_and_the_token_in_the_header_alone() -> None:
    other = Other(ok(channel="C1", ts="1.000100"))
    await other.api.call("chat.postMessage", {"channel": "C1", "text": "ä"}, repeatable=False, resource="C1")
    (request,) = other.requests
    assert (request.method, str(request.url)) == ("POST", "https://slack.com/api/chat.postMessage")
    assert request.headers["authorization"] == f"Bearer {BOT}"
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    assert request.content == '{"channel":"C1","text":"ä"}'.encode()


async def test_what_reads_is_asked_with_a_form() -> None:
    other = Other(ok(channel="C1"))
    params = {"channel": "C1&x=1", "limit": 20, "inclusive": True, "files": [{"id": "F1"}]}
    await other.api.ask("conversations.history", params, Posted, purpose="fetch", token="app")
    (request,) = other.requests
    assert request.headers["authorization"] == f"Bearer {APP}"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.content == b"channel=C1%26x%3D1&limit=20&inclusive=true&files=%5B%7B%22id%22%3A%22F1%22%7D%5D"


async def test_no_redirect_is_followed_with_the_token() -> None:
    other = Other(httpx2.Response(302, headers={"location": "https://evil.example/api"}))
    with pytest.raises(SlackError) as caught:
        await other.api.call("chat.postMessage", {}, repeatable=False)
    assert caught.value.status == 302
    assert len(other.requests) == 1


async def test_a_call_without_its_token_is_not_made() -> None:
    other = Other()
    api = SlackApi(other.http, SlackSettings(bot_token=Secret(BOT)))
    with pytest.raises(NeedsOperator):
        await api.call("apps.connections.open", {}, repeatable=True, token="app")
    assert other.requests == []


async def test_an_error_by_name_has_all_that_slack_says() -> None:
    other = Other(
        refused(
            "missing_scope",
            needed="files:write",
            provided="chat:write,im:read",
            response_metadata={"messages": [f"[ERROR] about {BOT}", "second"]},
        )
    )
    with pytest.raises(SlackError) as caught:
        await other.api.call("files.info", {}, repeatable=True)
    error = caught.value
    assert (error.method, error.name, error.needed, error.provided) == (
        "files.info",
        "missing_scope",
        "files:write",
        "chat:write,im:read",
    )
    assert error.messages == ("[ERROR] about ***", "second")


@pytest.mark.parametrize("error", ["fatal_error", "internal_error", "service_unavailable", "request_timeout"])
async def test_a_failure_after_which_it_may_be_done(error: str) -> None:
    for repeatable, kind in ((False, OutcomeUnknown), (True, TryAgain)):
        other = Other(refused(error))
        with pytest.raises(GatewayError) as caught:
            await other.api.call("chat.postMessage", {}, repeatable=repeatable)
        assert type(caught.value) is kind
        assert error in caught.value.reason


@pytest.mark.parametrize(
    ("answer", "once", "again"),
    [
        (httpx2.Response(502, text="<html>bad gateway"), OutcomeUnknown, TryAgain),
        (httpx2.Response(200, text="<html>an error page"), OutcomeUnknown, TryAgain),
        (httpx2.Response(500, json={"ok": True}), OutcomeUnknown, TryAgain),
        (httpx2.Response(403, text="<html>a proxy"), SlackError, SlackError),
        (httpx2.ConnectError("no"), TryAgain, TryAgain),
    ],
)
async def test_what_is_no_answer_of_the_web_api(
    answer: httpx2.Response | Exception, once: type[Exception], again: type[Exception]
) -> None:
    for repeatable, kind in ((False, once), (True, again)):
        with pytest.raises(kind):
            await Other(answer).api.call("chat.postMessage", {}, repeatable=repeatable)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: refused("ratelimited", 429, {"retry-after": "30"}),
        lambda: httpx2.Response(429, text="slow down", headers={"retry-after": "30"}),
        lambda: refused("rate_limited", 200, {"retry-after": "30"}),
    ],
)
async def test_too_many_calls_pause_the_channel_and_then_the_sends(
    answer: Callable[[], httpx2.Response], autojump_clock: MockClock
) -> None:
    other = Other(answer(), answer())
    for channel, scope in (("C1", "conversation"), ("C1", "conversation"), ("C2", "sends"), ("C3", "conversation")):
        with pytest.raises(TryAgain) as caught:
            await other.api.call("chat.postMessage", {}, repeatable=False, resource=channel)
        assert (caught.value.scope, caught.value.after_seconds) == (scope, 30)
    assert len(other.requests) == 2  # what waits is not asked for


async def test_a_429_without_a_time_is_a_second(autojump_clock: MockClock) -> None:
    with pytest.raises(TryAgain) as caught:
        await Other(refused("ratelimited", 429)).api.call("chat.update", {}, repeatable=True)
    assert caught.value.after_seconds == 1.0


async def test_an_answer_without_an_end_is_an_outage_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayd.channels.slack.api.MAX_ANSWER_BYTES", 100)
    for repeatable, kind in ((False, OutcomeUnknown), (True, TryAgain)):
        with pytest.raises(kind, match="longer than 100 bytes"):
            await Other(ok(messages="x" * 100)).api.call("chat.update", {}, repeatable=repeatable)


async def test_no_answer_pauses_a_channel_for_days(autojump_clock: MockClock) -> None:
    with pytest.raises(TryAgain) as caught:
        await Other(refused("ratelimited", 429, {"retry-after": "9999999"})).api.call("chat.update", {}, repeatable=True)
    assert caught.value.after_seconds == 3600


async def test_a_read_is_asked_again_after_a_short_outage(autojump_clock: MockClock) -> None:
    other = Other(httpx2.Response(503, text="no"), httpx2.ConnectError("no"), ok(channel="C1", ts="2.0"))
    found = await other.api.ask("chat.update", {}, Posted, purpose="send")
    assert found == Posted("C1", "2.0")


async def test_a_read_raises_errors_of_gatewayd_alone(autojump_clock: MockClock) -> None:
    with pytest.raises(SendRejected):
        await Other(refused("user_not_found")).api.ask("users.info", {}, Posted, purpose="fetch")
    with pytest.raises(TryAgain):
        await Other(*[ok(ts=7)] * 3).api.ask("users.info", {}, Posted, purpose="fetch")


async def test_who_we_are_and_what_the_token_may() -> None:
    answer = httpx2.Response(200, json=ME, headers={"x-oauth-scopes": "chat:write, files:read,im:history"})
    me, scopes = await Other(answer).api.who_am_i()
    assert (me.user_id, me.bot_id, me.team_id) == ("U1", "B1", "T1")
    assert scopes == {"chat:write", "files:read", "im:history"}


async def test_a_token_that_is_no_bots_is_no_identity(autojump_clock: MockClock) -> None:
    with pytest.raises(NeedsOperator, match="bot"):
        await Other(httpx2.Response(200, json={**ME, "bot_id": None})).api.who_am_i()


@pytest.mark.parametrize(
    ("api_base", "url", "goes"),
    [
        (PUBLIC_API, "https://files.slack.com/files-pri/T1-F1/a.png", True),
        (PUBLIC_API, "https://slack.com/files-pri/T1-F1/a.png", True),
        (PUBLIC_API, "https://FILES.slack.com/files-pri/T1-F1/a.png", True),
        (PUBLIC_API, "http://files.slack.com/files-pri/T1-F1/a.png", False),
        (PUBLIC_API, "https://files.slack.com:8443/a.png", False),
        (PUBLIC_API, "https://files.slack.com.evil.example/a.png", False),
        (PUBLIC_API, "https://files.slack.com@evil.example/a.png", False),
        (PUBLIC_API, "https://evil.example\\@files.slack.com/a.png", False),
        (PUBLIC_API, "https://user:pw@files.slack.com/a.png", False),
        (PUBLIC_API, "https://docs.google.com/document/d/1", False),
        (PUBLIC_API, "//files.slack.com/a.png", False),
        (PUBLIC_API, "https://[::1/a.png", False),
        (PUBLIC_API, "", False),
        (OWN, "http://127.0.0.1:4321/files/a.png", True),
        (OWN, "http://127.0.0.1:4322/files/a.png", False),
        (OWN, "https://files.slack.com/files-pri/T1-F1/a.png", False),
    ],
)
async def test_the_token_goes_to_slack_alone(api_base: str, url: str, goes: bool) -> None:
    other = Other(httpx2.Response(200, content=b"png"), api_base=api_base)
    if goes:
        assert (await other.api.download(url, at_most_bytes=10)).body == b"png"
        assert other.requests[0].headers["authorization"] == f"Bearer {BOT}"
    else:
        with pytest.raises(SendRejected):
            await other.api.download(url, at_most_bytes=10)
        assert other.requests == []


@given(st.text(), st.sampled_from(["", "https://", "https://files.slack.com", "//", "https:\\\\", "https://files.slack.com@"]))
def test_an_address_of_any_form_is_slacks_or_none(text: str, begin: str) -> None:
    url = Other().api._url_of(begin + text, "files.slack.com")
    assert url is None or (url.scheme, url.host, url.userinfo) == ("https", "files.slack.com", b"")


async def test_a_file_is_read_up_to_its_bound() -> None:
    with pytest.raises(SendRejected, match="too large"):
        await Other(httpx2.Response(200, content=b"x" * 11)).api.download("https://files.slack.com/a", at_most_bytes=10)


class Pieces:
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"c"


async def test_an_upload_has_no_token_and_its_length() -> None:
    other = Other(httpx2.Response(200, text="OK - 3"))
    await other.api.upload("https://files.slack.com/upload/v1/x", Pieces(), 3)
    (request,) = other.requests
    assert "authorization" not in request.headers
    assert request.headers["content-length"] == "3"
    assert request.content == b"abc"


@pytest.mark.parametrize(
    ("url", "answer", "kind"),
    [
        ("https://files.slack.com/upload", httpx2.Response(500), TryAgain),
        ("https://files.slack.com/upload", httpx2.Response(429, headers={"retry-after": "3"}), TryAgain),
        ("https://files.slack.com/upload", httpx2.ReadError("cut"), TryAgain),
        ("https://files.slack.com/upload", httpx2.Response(404), SendRejected),
        ("https://evil.example/upload", httpx2.Response(200), SendRejected),
    ],
)
async def test_an_upload_that_fails_has_shown_nothing(
    url: str, answer: httpx2.Response | Exception, kind: type[GatewayError]
) -> None:
    with pytest.raises(kind):
        await Other(answer).api.upload(url, Pieces(), 3)


async def test_an_answer_goes_to_slacks_hooks_without_a_token() -> None:
    other = Other(httpx2.Response(200, text="ok"), ok())
    for _ in range(2):
        await other.api.answer("https://hooks.slack.com/commands/T1/1/x", {"text": "hi"})
    assert all("authorization" not in request.headers for request in other.requests)
    assert other.requests[0].content == b'{"text":"hi"}'


@pytest.mark.parametrize(
    ("url", "answer", "kind"),
    [
        ("https://hooks.slack.com/x", refused("used_url", 404), AnswerExpired),
        ("https://hooks.slack.com/x", refused("expired_url", 404), AnswerExpired),
        ("https://hooks.slack.com/x", refused("expired_url"), AnswerExpired),
        ("https://hooks.slack.com/x", httpx2.Response(302), AnswerExpired),
        ("https://evil.example/x", ok(), AnswerExpired),
        ("https://slack.com/x", ok(), AnswerExpired),
        ("https://hooks.slack.com/x", httpx2.Response(429, headers={"retry-after": "3"}), TryAgain),
        ("https://hooks.slack.com/x", httpx2.ConnectError("no"), TryAgain),
        ("https://hooks.slack.com/x", httpx2.Response(500), OutcomeUnknown),
    ],
)
async def test_an_answer_that_is_not_taken(url: str, answer: httpx2.Response | Exception, kind: type[GatewayError]) -> None:
    with pytest.raises(kind):
        await Other(answer).api.answer(url, {})


@given(st.binary() | st.text().map(lambda it: it.encode()), st.integers(200, 599))
async def test_any_answer_at_all_is_a_success_or_an_error(body: bytes, status: int) -> None:
    try:
        await Other(httpx2.Response(status, content=body)).api.call("chat.update", {}, repeatable=True)
    except (SlackError, TryAgain):
        return
    assert status == 200
    assert b'"ok"' in body


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda it: st.lists(it) | st.dictionaries(st.text(), it)
)


@given(st.fixed_dictionaries({}, optional={"ok": _JSON, "error": _JSON, "needed": _JSON, "response_metadata": _JSON}))
async def test_an_error_has_words_of_its_own_form_alone(body: dict[str, Any]) -> None:
    other, found = Other(httpx2.Response(200, json=body)), SlackError("", "")
    try:
        await other.api.call("conversations.info", {}, repeatable=False)
    except SlackError as error:
        found = error
    except (OutcomeUnknown, TryAgain):
        pass
    else:
        assert body["ok"] is True
    assert all(letter.isascii() and (letter.isalnum() or letter in "_:., -") for letter in found.name + found.needed)


class Slow:
    """The bytes of a file that take their time."""

    def __init__(self, pieces: int, seconds: float) -> None:
        self._pieces = pieces
        self._seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._pieces):
            await trio.sleep(self._seconds)
            yield bytes(1024 * 1024)


async def test_a_large_file_has_the_time_for_its_bytes(autojump_clock: MockClock) -> None:
    await Other().api.upload("https://files.slack.com/upload", Slow(40, 1.5), 40 * 1024 * 1024)
    assert trio.current_time() == pytest.approx(60)
    with pytest.raises(TryAgain, match="in time"):
        await Other().api.upload("https://files.slack.com/upload", Slow(2, 20), 2 * 1024 * 1024)
