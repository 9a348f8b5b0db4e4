"""How much of a server's answers is taken into memory, and what is said of more."""

import tracemalloc
from collections.abc import Mapping
from typing import Any, cast

import httpx2
import msgspec
import pytest
import trio
from msgspec import Raw
from trio.testing import MockClock

from gatewayd.agents.opencode.openagentic_server.log import LogProgress
from gatewayd.agents.opencode.opencode_server.messages import MessageProgress
from gatewayd.agents.opencode.opencode_server.permissions import Permissions
from gatewayd.agents.opencode.opencode_server.requests import Entry
from gatewayd.agents.opencode.server.client import BODY_MAX, MESSAGES_MAX, Client
from gatewayd.agents.opencode.server.dialect import ListedRequest, ServerSession
from gatewayd.agents.opencode.server.progress import History, Step, StreamEvent
from gatewayd.agents.opencode.server.wire import KNOWN_MAX, VALUES_MAX, Malformed, TooLarge, check_values, decode
from gatewayd.model.errors import AgentFailed
from gatewayd.ports.agent import Final
from tests.agents.opencode.going import go
from tests.agents.opencode.house import ALLOWED, FakeTurn, open_core
from tests.fakes.opencode_server import FakeOpenAgentic, FakeOpenCode, ModelRun

BIG = "x" * (MESSAGES_MAX // 8)


@pytest.mark.parametrize("data", [b"[" + b"0," * VALUES_MAX + b"0]", b"[" * (VALUES_MAX + 1)])
def test_an_answer_of_many_values_is_refused_before_it_is_decoded(data: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(TooLarge, match="more than 200,000 values"):
        check_values(data, what="the list")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * len(data)


@pytest.mark.parametrize("text", ["[{," * VALUES_MAX, '"\\,' * VALUES_MAX, '"' + "," * 2 * VALUES_MAX])
def test_what_stands_in_a_text_is_no_value(text: str) -> None:
    data = msgspec.json.encode([text])
    check_values(data, what="x")
    assert decode(data, list[str], what="x") == [text]


def test_a_text_without_an_end_is_looked_for_once() -> None:
    """Else this would take hours."""
    with pytest.raises(TooLarge):
        check_values(b"," * (VALUES_MAX + 1) + b'"' + b'\\"' * 500_000 + b"\\", what="x")


@pytest.mark.parametrize("path", ["/permission", "/question", "/session/status"])
async def test_a_list_that_is_too_long_is_not_read(autojump_clock: MockClock, path: str) -> None:
    async def script(run: ModelRun) -> None:
        await trio.sleep(20)
        await run.say("done")

    server = FakeOpenCode(script)
    server.padding[path] = BODY_MAX
    async with server.serve(), open_core(server) as core:
        with pytest.raises(TooLarge, match=f"longer than {BODY_MAX} bytes"):
            await core.run(FakeTurn(await core.new_session("k"), "go"))


async def test_of_messages_that_are_too_large_the_newest_are_read(autojump_clock: MockClock) -> None:
    async def script(run: ModelRun) -> None:
        for _ in range(12):
            await run.say(BIG)
            await run.tool("read", {"path": "x"}, ask=False)
        await run.say("done")

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        assert await core.run(FakeTurn(session, "go")) == Final("done")
        server.script = FakeOpenCode().script
        assert await core.run(FakeTurn(session, "next", turn_id="t2")) == Final("echo: next")


async def test_one_message_that_is_too_large_fails_the_turn_in_words(autojump_clock: MockClock) -> None:
    async def script(run: ModelRun) -> None:
        await run.say("x" * (MESSAGES_MAX + 1))

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server) as core:
        with pytest.raises(TooLarge, match="messages: the answer is longer"):
            await core.run(FakeTurn(await core.new_session("k"), "go"))


async def test_a_log_that_is_too_long_fails_the_turn_in_words(autojump_clock: MockClock) -> None:
    async def script(run: ModelRun) -> None:
        for _ in range(20):
            await run.say(BIG)
            await run.tool("Read", {"path": "x"}, ask=False)

    server = FakeOpenAgentic(script, deltas=False)
    async with server.serve(), open_core(server) as core:
        with pytest.raises(AgentFailed, match="Write /new"):
            await core.run(FakeTurn(await core.new_session("k"), "go"))


@pytest.mark.parametrize("field", ["id", "sessionID"])
def test_an_id_that_is_too_long_is_none(field: str) -> None:
    entry = {"id": "per_1", "sessionID": "ses_1", field: "x" * 201}
    with pytest.raises(Malformed):
        decode(msgspec.json.encode(entry), Entry, what="request")


def test_what_was_shown_is_remembered_up_to_a_bound() -> None:
    def event(kind: str, body: Mapping[str, Any]) -> StreamEvent:
        return StreamEvent(kind, "s", Raw(msgspec.json.encode(body)))

    shown = MessageProgress()
    shown.note(event("message.updated", {"info": {"id": "m", "role": "assistant"}}))
    with pytest.raises(Malformed):
        shown.note(event("message.part.updated", {"part": {"type": "text", "id": "p" * 201, "messageID": "m"}}))
    for number in range(KNOWN_MAX + 10):
        shown.note(event("message.updated", {"info": {"id": f"m{number}", "role": "assistant"}}))
        shown.note(event("message.part.updated", {"part": {"type": "text", "id": f"p{number}", "messageID": "m"}}))
    assert shown.messages == KNOWN_MAX + 1
    assert len(shown._texts) == KNOWN_MAX
    steps = tuple(Step(str(number), "t", "{}", "done") for number in range(KNOWN_MAX + 10))
    for progress in (shown, LogProgress()):
        assert len(progress.catch_up(History(steps=steps))) == 2 * KNOWN_MAX
        assert progress.catch_up(History(steps=steps)) == []


class Messages(Client):
    """Answers every request with nothing found."""

    def __init__(self) -> None:
        super().__init__(cast(httpx2.AsyncClient, None), "http://x", {})


async def test_cards_are_kept_up_to_a_number_of_bytes() -> None:
    permissions = Permissions(Messages())
    for number in range(40):
        body = {"id": f"per_{number}", "sessionID": "s", "permission": "bash", "metadata": {"command": "x" * 500_000}}
        await permissions.show(ListedRequest(f"per_{number}", "s", Raw(msgspec.json.encode(body))), ServerSession("s"))
    assert sum(len(card.input) + len(card.fingerprint) for card in permissions._known.values()) <= 4 * 1024 * 1024
    assert "per_39" in permissions._known


async def test_more_requests_at_once_than_people_can_answer_are_refused(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def script(run: ModelRun) -> None:
        await run.tools(*(("bash", {"command": f"c{number}"}) for number in range(100)))

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests(64)
        await trio.sleep(30)
        assert len(going.turn.requests) == 64
        assert server.replies == []
        for number in range(64):
            going.turn.decide(number, ALLOWED)
        await going.wait()
        assert len(server.ran) == 64
        assert "too many requests at once" in server.replies[64]["message"]


async def test_a_run_that_asks_for_ever_is_stopped(
    autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayd.agents.opencode.pending_requests._CLOSED_MAX", 5)

    async def script(run: ModelRun) -> None:
        while True:
            await run.tool("bash", {"command": "again"})

    async def allow(turn: FakeTurn) -> None:
        for number in range(5):
            await turn.wait_requests(number + 1)
            turn.decide(number, ALLOWED)

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        nursery.start_soon(allow, going.turn)
        with pytest.raises(AgentFailed, match="5 times for permission"):
            await going.wait()
        assert server.status == {}
        assert len(server.ran) == 5


@pytest.mark.parametrize("kind", [FakeOpenCode, FakeOpenAgentic])
async def test_a_session_with_half_an_emoji_goes_on(autojump_clock: MockClock, kind: Any) -> None:
    async def script(run: ModelRun) -> None:
        await run.tool("read", {"path": "CUT"}, ask=False)
        await run.say("done")

    server = kind(script)
    server.http.rewrite = lambda body: body.replace(b'"CUT"', b'"cut \\ud83d"')
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        for turn_id in ("t1", "t2"):
            assert await core.run(FakeTurn(session, "go", turn_id=turn_id)) == Final("done")
