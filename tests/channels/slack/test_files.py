"""Files in both directions."""

from collections.abc import Sequence
from typing import Any

import httpx2
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from gatewayd.channels.slack.files import LATEST_SECONDS, Files
from gatewayd.channels.slack.sending.places import Places
from gatewayd.channels.slack.sending.uploads import KEPT
from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, StoreRefused, TryAgain
from gatewayd.model.message.envelope import Attachment, Peer
from gatewayd.model.message.payload import Receipt, RichText, SendFile, Span
from gatewayd.testing.channel_contract import Services
from tests.channels.slack.other_side import Other, ok, refused
from tests.channels.slack.test_settings import BOT

PNG = Attachment("photo", "F1", name="a.png", mime="image/png", size_bytes=3)
URL = "https://files.slack.com/files-pri/T1-F1/a.png"
UPLOAD = {"upload_url": "https://files.slack.com/upload/v1/x", "file_id": "F9"}
REPORT = SendFile(Peer("group", "C1", "5.000100"), "name-1", "report.txt", 5)
LOGIN = "<!DOCTYPE html><title>Sign in | Slack</title>"


def info(**fields: Any) -> httpx2.Response:
    return ok(file={"id": "F1", "mode": "hosted", "url_private": URL, "mimetype": "image/png", "size": 3, **fields})


def shared(ts: str | None, channel: str = "C1") -> dict[str, Any]:
    return {"id": "F9", "shares": {} if ts is None else {"public": {channel: [{"ts": ts, "team_id": "T1"}]}}}


class Desk:
    """The files of an account, and what is around them."""

    def __init__(self, *answers: httpx2.Response | Exception, at_most_bytes: int = 1000) -> None:
        self.other = Other(*answers)
        self.services = Services(self.other.http)
        self.services.files["name-1"] = b"12345"
        self.files = Files(self.other.api, self.services, Places(self.other.api), at_most_bytes=at_most_bytes)

    @property
    def asked(self) -> list[str]:
        return [request.url.path.rpartition("/")[2] for request in self.other.requests]


async def test_a_file_is_read_with_the_token() -> None:
    desk = Desk(info(), httpx2.Response(200, content=b"png"))
    assert await desk.files.fetch(PNG, at_most_bytes=10) == b"png"
    assert desk.other.requests[0].content == b"file=F1"
    assert (str(desk.other.requests[1].url), desk.other.requests[1].headers["authorization"]) == (URL, f"Bearer {BOT}")


@pytest.mark.parametrize(
    ("answers", "kind", "words"),
    [
        ([info(is_external=True, url_private="https://docs.google.com/d/1")], SendRejected, "not at Slack"),
        ([info(mode="external")], SendRejected, "not at Slack"),
        ([info(mode="tombstone")], SendRejected, "deleted"),
        ([info(mode="hidden_by_limit")], SendRejected, "plan"),
        ([info(size=11)], SendRejected, "too large"),
        ([info(url_private=None)], SendRejected, "may not see"),
        ([info(url_private="https://evil.example/a.png")], SendRejected, "on another host"),
        ([refused("file_not_found")], SendRejected, "file_not_found"),
        ([refused("missing_scope", needed="files:read")], SendRejected, "files:read"),
        ([refused("token_revoked")], NeedsOperator, "token_revoked"),
        ([info(), httpx2.Response(404)], SendRejected, "gone"),
        ([info(size=None), httpx2.Response(200, content=b"x" * 11)], SendRejected, "too large"),
        ([info(), *[httpx2.Response(503)] * 3], TryAgain, "503"),
        ([info(), httpx2.Response(429, headers={"retry-after": "7"})], TryAgain, "429"),
    ],
)
async def test_a_file_that_cannot_be_had(
    answers: Sequence[httpx2.Response], kind: type[GatewayError], words: str, autojump_clock: MockClock
) -> None:
    desk = Desk(*answers)
    with pytest.raises(kind, match=words):
        await desk.files.fetch(PNG, at_most_bytes=10)
    assert desk.other.answers == []
    assert all(request.url.host in ("slack.com", "files.slack.com") for request in desk.other.requests)


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, text=LOGIN, headers={"content-type": "text/html; charset=utf-8"}),
        httpx2.Response(302, headers={"location": "https://us.slack.com/?redir=/files-pri/T1-F1/a.png"}),
    ],
)
async def test_a_login_page_is_a_missing_scope_until_a_file_comes(answer: httpx2.Response) -> None:
    desk = Desk(info(), answer, info(), httpx2.Response(200, content=b"png"))
    with pytest.raises(SendRejected, match="files:read is missing"):
        await desk.files.fetch(PNG, at_most_bytes=1000)
    assert "files:read is missing" in (desk.services.lacking["files received"] or "")
    await desk.files.fetch(PNG, at_most_bytes=1000)
    assert desk.services.lacking == {"files received": None}


async def test_a_page_that_somebody_has_sent_is_a_file() -> None:
    page = httpx2.Response(200, text=LOGIN, headers={"content-type": "text/html"})
    desk = Desk(info(mimetype="text/html", size=len(LOGIN)), page)
    assert await desk.files.fetch(PNG, at_most_bytes=1000) == LOGIN.encode()


async def test_no_file_is_larger_than_the_settings_say() -> None:
    with pytest.raises(SendRejected, match="at most 2"):
        await Desk(info(), at_most_bytes=2).files.fetch(PNG, at_most_bytes=10)


@given(
    st.binary(max_size=40),
    st.sampled_from(["text/html", "TEXT/HTML; charset=x", "image/png", ""]),
    st.none() | st.integers(0, 40),
)
async def test_what_comes_is_the_file_or_an_error(body: bytes, kind: str, size: int | None) -> None:
    desk = Desk(info(size=size), httpx2.Response(200, content=body, headers={"content-type": kind}))
    try:
        assert await desk.files.fetch(PNG, at_most_bytes=40) == body
    except SendRejected:
        assert kind.lower().startswith("text/html")
        assert size != len(body)


async def test_a_file_is_uploaded_and_shown_in_its_thread_with_its_caption() -> None:
    desk = Desk(ok(**UPLOAD), httpx2.Response(200, text="OK - 5"), ok(files=[shared("7.000100")]))
    caption = RichText("the report", (Span("bold", 4, 10),))
    payload = SendFile(REPORT.peer, "name-1", "report.txt", 5, caption=caption)
    assert await desk.files.send(payload, key="k1") == Receipt("C1:7.000100")
    assert desk.asked == ["files.getUploadURLExternal", "x", "files.completeUploadExternal"]
    assert desk.other.requests[0].content == b"filename=report.txt&length=5"
    assert desk.other.requests[1].content == b"12345"
    form = dict(httpx2.QueryParams(desk.other.requests[2].content.decode()))
    assert form["files"] == '[{"id":"F9","title":"report.txt"}]'
    assert (form["channel_id"], form["thread_ts"]) == ("C1", "5.000100")
    assert '"bold":true' in form["blocks"]


async def test_a_caption_whose_blocks_are_refused_is_sent_in_words() -> None:
    desk = Desk(ok(**UPLOAD), httpx2.Response(200), refused("invalid_blocks"), ok(files=[shared("7.000100")]))
    payload = SendFile(REPORT.peer, "name-1", "report.txt", 5, caption=RichText("<@U1>"))
    assert await desk.files.send(payload, key="k1") == Receipt("C1:7.000100")
    form = dict(httpx2.QueryParams(desk.other.requests[3].content.decode()))
    assert (form["initial_comment"], "blocks" in form) == ("&lt;@U1&gt;", False)


async def test_a_file_counts_as_sent_when_a_message_shows_it(autojump_clock: MockClock) -> None:
    later = [ok(file=shared(None)), httpx2.Response(503), ok(file=shared("8.000100"))]
    desk = Desk(ok(**UPLOAD), httpx2.Response(200), ok(files=[shared("6.000100", "C2")]), *later)
    assert await desk.files.send(REPORT, key="k1") == Receipt("C1:8.000100")


async def test_a_file_that_is_not_shown_is_looked_up_later(autojump_clock: MockClock) -> None:
    desk = Desk(ok(**UPLOAD), httpx2.Response(200), ok(files=[]), *[ok(file=shared(None)) for _ in range(4)])
    since = desk.services.now()
    with pytest.raises(OutcomeUnknown):
        await desk.files.send(REPORT, key="k1")
    with pytest.raises(TryAgain):
        await desk.files.find_sent(REPORT, key="k1", since=since)
    desk.other.answers = [ok(file=shared("8.000100"))]
    assert await desk.files.find_sent(REPORT, key="k1", since=since) == Receipt("C1:8.000100")


async def test_a_receipt_may_be_lost_on_its_way_to_the_store_again_and_again() -> None:
    """What the driver has returned is committed later, so a kill may come between."""
    desk = Desk(ok(**UPLOAD), httpx2.Response(200), ok(files=[shared("7.000100")]), *[ok(file=shared("7.000100"))] * 2)
    since = desk.services.now()
    await desk.files.send(REPORT, key="k1")
    for _ in range(2):
        next_life = Files(desk.other.api, desk.services, Places(desk.other.api), at_most_bytes=1000)
        assert await next_life.find_sent(REPORT, key="k1", since=since) == Receipt("C1:7.000100")
    assert await next_life.find_sent(REPORT, key="k2", since=since) is None


async def test_a_send_that_may_be_forgotten_is_of_unknown_outcome(autojump_clock: MockClock) -> None:
    desk = Desk()
    since = desk.services.now()
    await trio.sleep(1)
    for number in range(KEPT + 1):
        desk.other.answers = [ok(**UPLOAD), httpx2.Response(200), ok(files=[shared("7.000100")])]
        await desk.files.send(REPORT, key=f"k{number}")
    with pytest.raises(OutcomeUnknown, match="more than 100 files"):
        await desk.files.find_sent(REPORT, key="k0", since=since)
    assert await desk.files.find_sent(REPORT, key="another", since=desk.services.now() + 1) is None
    assert [len(msgspec.json.decode(value)) for value in desk.services.kept.values()] == [KEPT]


async def test_a_file_that_is_never_shown_is_deleted_before_it_is_sent_again(autojump_clock: MockClock) -> None:
    desk = Desk(ok(**UPLOAD), httpx2.Response(200), httpx2.Response(502))
    since = desk.services.now()
    with pytest.raises(OutcomeUnknown):
        await desk.files.send(REPORT, key="k1")
    await trio.sleep(LATEST_SECONDS)
    desk.other.answers = [ok(file=shared(None)), refused("cant_delete_file"), ok(file=shared(None)), ok()]
    with pytest.raises(OutcomeUnknown):
        await desk.files.find_sent(REPORT, key="k1", since=since)
    assert await desk.files.find_sent(REPORT, key="k1", since=since) is None
    assert desk.asked[-1] == "files.delete"
    assert await desk.files.find_sent(REPORT, key="k1", since=since) is None  # nothing is known of it any more


async def test_a_file_that_cannot_be_looked_up_is_of_unknown_outcome_or_sent() -> None:
    lacks = [refused("missing_scope", needed="files:read") for _ in range(2)]
    desk = Desk(ok(**UPLOAD), httpx2.Response(200), httpx2.Response(502), lacks[0])
    with pytest.raises(OutcomeUnknown):
        await desk.files.send(REPORT, key="k1")
    with pytest.raises(OutcomeUnknown):
        await desk.files.find_sent(REPORT, key="k1", since=0)


async def test_without_a_look_ok_is_taken_for_sent(autojump_clock: MockClock) -> None:
    desk = Desk(ok(**UPLOAD), httpx2.Response(200), ok(files=[]), refused("missing_scope", needed="files:read"))
    assert await desk.files.send(REPORT, key="k1") == Receipt()


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([refused("file_uploads_disabled")], SendRejected),
        ([refused("ratelimited", 429, {"retry-after": "9"})], TryAgain),
        ([ok(**UPLOAD), httpx2.Response(500), httpx2.Response(500)], TryAgain),
        ([ok(**UPLOAD), httpx2.Response(200), refused("not_in_channel")], SendRejected),
        ([ok(**UPLOAD), httpx2.Response(200), refused("internal_error")], OutcomeUnknown),
        ([ok(**UPLOAD), httpx2.Response(200), httpx2.Response(502, text="<html>")], OutcomeUnknown),
        ([ok(**UPLOAD), httpx2.Response(200), refused("token_revoked")], NeedsOperator),
        ([ok(upload_url="https://evil.example/x", file_id="F9")], SendRejected),
    ],
)
async def test_a_file_that_is_not_sent(
    answers: Sequence[httpx2.Response], kind: type[GatewayError], autojump_clock: MockClock
) -> None:
    desk = Desk(*answers)
    with pytest.raises(kind) as caught:
        await desk.files.send(REPORT, key="k1")
    assert not isinstance(caught.value, SendRejected) or set(desk.services.kept.values()) <= {"[]"}


async def test_an_empty_file_and_one_that_is_gone_are_not_sent() -> None:
    with pytest.raises(SendRejected, match="without a byte"):
        await Desk().files.send(SendFile(REPORT.peer, "name-1", "a", 0), key="k1")
    desk = Desk(ok(**UPLOAD), httpx2.Response(200))
    desk.services.files.clear()
    with pytest.raises(SendRejected, match="gone"):
        await desk.files.send(REPORT, key="k1")


class Full(Services):
    async def save(self, key: str, value: str) -> None:
        raise StoreRefused("no space left")


async def test_a_file_whose_id_cannot_be_stored_is_not_shown() -> None:
    desk = Desk(ok(**UPLOAD), httpx2.Response(200))
    services = Full(desk.other.http)
    services.files = desk.services.files
    files = Files(desk.other.api, services, Places(desk.other.api), at_most_bytes=10)
    with pytest.raises(TryAgain, match="no space left"):
        await files.send(REPORT, key="k1")
    assert desk.asked == ["files.getUploadURLExternal", "x"]


async def test_an_answer_that_nobody_can_read_is_looked_up(autojump_clock: MockClock) -> None:
    answers = [ok(files=7), ok(file=[]), ok(file=shared("8.000100"))]
    desk = Desk(ok(**UPLOAD), httpx2.Response(200), *answers)
    assert await desk.files.send(REPORT, key="k1") == Receipt("C1:8.000100")


async def test_a_file_that_slack_does_not_have_was_never_shown(autojump_clock: MockClock) -> None:
    desk = Desk(ok(**UPLOAD), httpx2.Response(200), refused("internal_error"))
    since = desk.services.now()
    with pytest.raises(OutcomeUnknown):
        await desk.files.send(REPORT, key="k1")
    await trio.sleep(LATEST_SECONDS)
    desk.other.answers = [refused("file_not_found"), refused("file_not_found")]
    assert await desk.files.find_sent(REPORT, key="k1", since=since) is None


async def test_an_outage_of_the_look_up_is_waited_out(autojump_clock: MockClock) -> None:
    desk = Desk(ok(**UPLOAD), httpx2.Response(200), refused("internal_error"))
    since = desk.services.now()
    with pytest.raises(OutcomeUnknown):
        await desk.files.send(REPORT, key="k1")
    desk.other.answers = [httpx2.Response(502)]
    with pytest.raises(TryAgain):
        await desk.files.find_sent(REPORT, key="k1", since=since)
