"""What a platform wants with the answer to an event is a secret: nobody sees it but its driver."""

from pathlib import Path

import pytest
import structlog
import trio
import trio.testing
from msgspec.structs import replace
from structlog.typing import EventDict

from gatewayd.channels.loopback.platform import failing, platform_of
from gatewayd.hub.turns.turn import WaitingMessage
from gatewayd.model.config import SessionsSection
from gatewayd.model.errors import AnswerExpired, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.intents import Message, NewSession
from gatewayd.model.message.payload import RichText, SendText
from gatewayd.model.message.route import Route
from gatewayd.ports.store import InboundRow
from gatewayd.web.app import create_app
from tests.hub.house import configuration, message, open_house
from tests.web.client import now, request
from tests.web.site import PROXIES, SCOPES, Site, no_reload, open_site, token_of
from tests.web.test_app import routes

SECRET = "interaction-token-7f2a9c"
URL = f"POST https://hooks.example/{SECRET} has failed"
IDS = ("in-1", "out-1", "out-2", "out-3", "turn-1", "k1", "m1", "k5")


async def live(site: Site) -> None:
    """Messages of all outcomes: rejected, expired, tried again, unknown, answered, dropped, and a command."""
    platform = platform_of("main")
    platform.before_send.next(
        failing(SendRejected(URL)),
        failing(AnswerExpired(URL)),
        failing(TryAgain(URL, scope="conversation")),
        failing(TryAgain(URL, scope="account")),
        failing(OutcomeUnknown(URL)),
    )
    for number, text in enumerate(("one", "two", "three", "/whoami", "four"), 1):
        kind = "message" if number < 5 else "service"
        envelope = InboundEnvelope(
            *("loopback", "main", f"k{number}", kind, Peer("dm", "7"), Sender("7", "Bob")),  # type: ignore[arg-type]
            text=text,
            message_id=f"m{number}",
            received_at=now(),
            answer_with=SECRET,
        )
        await platform.inject(envelope).wait()
        await trio.sleep(1)
    await trio.sleep(100)


async def test_no_page_no_answer_no_event_and_no_log_line_shows_it(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    shown: dict[str, str] = {}
    async with open_site(tmp_path) as site:
        await live(site)
        sent = [payload for payload in platform_of("main").sent if isinstance(payload, SendText)]
        assert SECRET in {payload.answer_with for payload in sent}, "its driver has it"
        app = create_app(site.gateway, no_reload, PROXIES, max_connections=10)
        paths = {path for method, path in routes(app) if method == "GET" and "stream" not in path and path != "/v1/events"}
        paths |= {f"/v1/messages/{known}" for known in IDS} | {f"/v1/dead-letters/{known}" for known in IDS}
        for path in sorted(paths):
            for scope in SCOPES:
                async with site.dial() as client:
                    answer = await client.ask(request("GET", path, headers={"Authorization": f"Bearer {token_of(scope)}"}))
                shown[f"{path} {scope}"] = f"{answer.headers} {answer.body.decode(errors='replace')}"
        await site.gateway.events.wait_flushed()
        shown["events"] = str([bytes(event.data) for event in await site.store.events_after(0, limit=1000)])
        shown["logs"] = str(logged)
        shown["status"] = str(site.gateway.manager.snapshot())
        shown["rows"] = str([await site.rows(), *[await site.store.get_outbound(number) for number in range(1, 6)]])
    assert [where for where, text in shown.items() if "https://hooks.example/***" in text], "the errors of its driver"
    assert [where for where, text in shown.items() if SECRET in text] == []


async def test_a_connector_cannot_set_it(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    body = {
        "channel": "loopback",
        "account": "main",
        "peer": {"kind": "dm", "id": "7"},
        "sender": {"id": "7"},
        "text": "hello",
        "answer_with": SECRET,
    }
    async with open_site(tmp_path) as site, site.client("write") as client:
        answer = await client.post("/v1/chat/inbound", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
        assert SECRET not in answer.text
        assert await site.rows() == []


async def test_its_agent_does_not_see_it(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_house(tmp_path) as house:
        for text in ("hello", "/new hello"):
            await house.ended(await house.say(text, answer_with=SECRET))
        requests = [turn.request for turn in house.agents.turns]
        assert len(requests) == 2
        assert [envelope.answer_with for each in requests for envelope in each.messages] == [None, None]
        answers = [row.payload.answer_with for row in house.handed if isinstance(row.payload, SendText)]
        assert answers == [SECRET] * 2


async def test_of_several_messages_the_newest_is_answered(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    gate = trio.Event()

    async def script(turn: object) -> str:
        await gate.wait()
        return "done"

    config = configuration(sessions=SessionsSection(queue_mode="collect"))
    async with open_house(tmp_path, script, config=config) as house:
        rows = [await house.say("one", answer_with="token of one")]
        await trio.testing.wait_all_tasks_blocked()
        rows += [await house.say(text, answer_with=f"token of {text}") for text in ("two", "three")]
        gate.set()
        for row in rows:
            await house.ended(row)
        answers = [row.payload.answer_with for row in house.handed if isinstance(row.payload, SendText)]
        assert answers == ["token of one", "token of three"]


@pytest.mark.parametrize("shown", [repr, str, "{!r}".format, lambda it: structlog.dev.ConsoleRenderer()(None, "", {"it": it})])
def test_a_repr_does_not_show_it(shown: object) -> None:
    payload = SendText(Peer("dm", "7"), RichText("hello"), answer_with=SECRET)
    envelope = message(answer_with=SECRET)
    row = InboundRow(1, envelope, "received", 0)
    waiting = WaitingMessage(1, row, Route("a", "s", "default"), Message())
    for it in (
        payload,
        envelope,
        row,
        [row],
        waiting,
        waiting.message,
        replace(waiting, intent=NewSession("x", "own_chat")).message,
    ):
        said = shown(it)  # type: ignore[operator]
        assert SECRET not in said
    assert "answer_with='***'" in repr(payload)
    assert "answer_with=None" in repr(message())
