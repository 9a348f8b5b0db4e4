"""docs/reference/streams.md, the part of opencode: each row, through the core and the hub to the chat and the store."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from gatewayd.agents.opencode.core import _FORGOTTEN, OpencodeCore
from gatewayd.agents.opencode.openagentic_server.log import TOO_MANY_STEPS
from gatewayd.agents.opencode.opencode_server.messages import TOO_LONG
from gatewayd.agents.opencode.run import _PROVIDER_TROUBLE, _REFUSED
from gatewayd.agents.opencode.server.progress import LastText
from gatewayd.hub.turns.outcome import MAY_BE_CUT, SORRY_EMPTY, SORRY_FAILED, SORRY_TOO_LONG
from gatewayd.hub.turns.retries import TRIED_AGAIN
from gatewayd.ports.agent import TextDelta
from tests.agents.opencode.house import Fake, open_core
from tests.agents.opencode.test_wire import dialects
from tests.fakes.opencode_server import FakeOpenAgentic, FakeOpenCode, Fault
from tests.fakes.opencode_server.opencode import Rejected
from tests.hub.house import House, ScriptedAgents, echo, open_house

PAGE = (Path(__file__).parents[3] / "docs/reference/streams.md").read_text("utf-8")
SECTION = PAGE.split("\n## opencode\n")[1].split("\n## ")[0]
ROWS = [row.strip("| ").split(" | ")[0] for row in re.findall(r"^\| .*$", SECTION, re.M)][1:]
CUT = f"half\n\n{MAY_BE_CUT}"
OC, OA = FakeOpenCode, FakeOpenAgentic
BOTH: Sequence[type[Fake]] = (OC, OA)

Act = Callable[[Any], Awaitable[None]]
"""What the model does, and what happens to its server: it gets the run of the fake."""


def acts(*steps: str | Act) -> Act:
    """A text is said; "" begins a message that says nothing."""

    async def script(run: Any) -> None:
        for step in steps:
            if callable(step):
                await step(run)
            elif step:
                await run.say(step)
            elif isinstance(run.server, FakeOpenCode):
                run._current()

    return script


def finish(reason: str) -> Act:
    async def act(run: Any) -> None:
        run._finish(reason)

    return act


async def use_tool(run: Any) -> None:
    await run.tool("read", {"path": "x"}, ask=False)


async def loop(run: Any) -> None:
    while True:
        await use_tool(run)
        await trio.sleep(0.1)


async def fail(run: Any) -> None:
    await run.fail("no credit")


async def retry(run: Any) -> None:
    await run.retry("overloaded")
    await trio.sleep(10)


async def cut(run: Any) -> None:
    await run.cut("half")


async def too_many_steps(run: Any) -> None:
    run._append("result", final_text="half", stop_reason="max_steps")


async def refuse(run: Any) -> None:
    part = run._begin_call(run._current(), "bash", {}, None)
    run._end_call(part, "error", "The user rejected permission to use this specific tool call.")
    run._finish("tool-calls")
    raise Rejected(None)


async def error_event(run: Any) -> None:
    run._current()
    run._publish("session.error", {"error": {"name": "UnknownError", "data": {"message": "on fire"}}})
    raise Rejected(None)


async def context_overflow(run: Any) -> None:
    run._current()["info"]["error"] = {"name": "ContextOverflowError", "data": {"message": "too long"}}
    run._complete(None)


async def stopped_elsewhere(run: Any) -> None:
    if isinstance(run.server, FakeOpenCode):
        run._current()
        run.server._runs[run.session_id].cancel()
        await trio.sleep_forever()
    run._aborted.set()
    await run.say("")


async def restart(run: Any) -> None:
    await trio.sleep(1)
    run.server._nursery.start_soon(run.server.restart)
    await trio.sleep_forever()


async def break_streams(run: Any) -> None:
    await trio.sleep(1)
    run.server.break_streams()


async def go_away(run: Any) -> None:
    async def away() -> None:
        await run.server.http.stop()
        await trio.sleep(100)
        await run.server.http.start()

    run.server._nursery.start_soon(away)
    await trio.sleep(50)


Wanted = tuple[Sequence[type[Fake]], Act, list[str], tuple[str, str], str | None]
"""On which servers, what happens, what is shown, state and reason of the message, and what status says of a failure."""

ANSWERED, AS_CUT, FAILED = ("done", "answered"), ("done", "answered_cut"), ("dead", "agent_failed")
ENDS: list[tuple[Sequence[type[Fake]], Act, str]] = [
    ((OC,), fail, "APIError: no credit"),
    ((OA,), fail, "ended without a result"),
    ((OC,), error_event, "UnknownError: on fire"),
    (BOTH, stopped_elsewhere, "stopped on the agent's server"),
    (BOTH, restart, "was restarted in the middle"),
]
FAILING = "an error of the provider, after text"
STOPPED = "another client stops the run, after text"
GONE = "the server ends or is restarted, after text"
TABLE: dict[str, list[Wanted]] = {
    "the last message is completed, and the session is idle": [(BOTH, acts("Hello ", "all"), ["Hello all"], ANSWERED, None)],
    "no text, or thoughts only": [(BOTH, acts(""), [SORRY_EMPTY], FAILED, "without a word")],
    "no text after a tool": [(BOTH, acts(use_tool, ""), [], ("done", "answered_nothing"), None)],
    "`length`; `max_steps`": [
        ((OC,), acts("half", finish("length")), [f"half\n\n{TOO_LONG}"], ANSWERED, None),
        ((OA,), acts("half", too_many_steps), [f"half\n\n{TOO_MANY_STEPS}"], ANSWERED, None),
    ],
    "`content-filter`": [((OC,), acts("half", finish("content-filter")), [SORRY_FAILED], FAILED, "content filter")],
    "a request is refused, and the run ends there": [
        ((OC,), acts("I may not.", refuse), ["I may not."], ANSWERED, None),
        ((OC,), acts(refuse), [_REFUSED], ANSWERED, None),
    ],
    "the server tries the provider again": [((OC,), acts(retry, "all"), [_PROVIDER_TROUBLE, "all"], ANSWERED, None)],
    FAILING: [(kinds, acts("half", end), [CUT], AS_CUT, why) for kinds, end, why in ENDS[:2]],
    "`finish` is `error`, after text": [((OC,), acts("half", finish("error")), [CUT], AS_CUT, "reports an error")],
    "an error event, and the session is idle, after text": [
        (kinds, acts("half", end), [CUT], AS_CUT, why) for kinds, end, why in ENDS[2:3]
    ],
    STOPPED: [(kinds, acts("half", end), [CUT], AS_CUT, why) for kinds, end, why in ENDS[3:4]],
    GONE: [(kinds, acts("half", end), [CUT], AS_CUT, why) for kinds, end, why in ENDS[4:]],
    "each of these, without text or after a tool": [
        (kinds, acts(*before, end), [SORRY_FAILED], FAILED, why)
        for before in ((), ("half", use_tool))
        for kinds, end, why in ENDS
    ],
    "the model's stream is cut three times in a row": [((OC,), cut, [CUT], AS_CUT, "cut off in the middle, again and again")],
    "the model's stream is cut, with OpenAgentic": [((OA,), cut, ["half"], ANSWERED, None)],
    "more than `max_messages` messages": [((OC,), loop, [SORRY_FAILED], FAILED, "more than 20 messages")],
    "the event stream breaks": [(BOTH, acts("one ", break_streams, "two"), ["one two"], ANSWERED, None)],
    "the server does not answer for a while": [(BOTH, acts("one ", go_away, "two"), ["one two"], ANSWERED, None)],
    "more than 1,000,000 characters": [
        (BOTH, acts("x" * 1_000_001), [SORRY_FAILED], FAILED, "longer than 1000000"),
        ((OC,), acts("x" * 1_000_001, fail), [SORRY_FAILED], FAILED, ""),
    ],
    "a conversation that is too long for the model": [
        ((OC,), acts(context_overflow), [SORRY_TOO_LONG], FAILED, "ContextOverflow")
    ],
}
OF_THEIR_OWN = {
    "the server is closed by gatewayd, or its process ends, after text",
    "the prompt did not reach the server",
    "the server took the prompt, and never begins",
    "the server has forgotten the conversation",
    "a request of another client in the session",
}


class OneCore(ScriptedAgents):
    """An agent pool whose agent is the real core."""

    def __init__(self) -> None:
        super().__init__(echo)
        self.real: OpencodeCore | None = None

    async def core(self, agent_id: str) -> OpencodeCore:  # type: ignore[override]
        assert self.real is not None
        return self.real


@asynccontextmanager
async def open_chat(directory: Path, server: Fake, agents: OneCore | None = None) -> AsyncIterator[House]:
    agents = agents or OneCore()
    async with server.serve(), open_core(server, max_messages=20) as agents.real, open_house(directory, agents=agents) as house:
        yield house


def test_each_row_has_its_test() -> None:
    assert len(ROWS) == len(set(ROWS))
    assert set(ROWS) == {*TABLE, *OF_THEIR_OWN}


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        pytest.param(kind, each, id=f"{name}-{kind.__name__}")
        for name, several in TABLE.items()
        for each in several
        for kind in each[0]
    ],
)
async def test_a_row(tmp_path: Path, autojump_clock: MockClock, kind: type[Fake], wanted: Wanted) -> None:
    _, script, shown, end, why = wanted
    async with open_chat(tmp_path, kind(script)) as house:
        row = await house.ended(await house.say("go"))
        await anyio.sleep(60)
    assert house.texts == shown
    assert (row.state, row.reason) == end
    assert bool(house.agents.errors) == (why is not None)
    assert (why or "") in (row.detail or "")


@pytest.mark.parametrize("kind", BOTH)
async def test_a_server_of_our_own_that_ends(tmp_path: Path, autojump_clock: MockClock, kind: type[Fake]) -> None:
    agents = OneCore()

    async def end(run: Any) -> None:
        await trio.sleep(1)
        assert agents.real is not None
        agents.real._watch.go_down("the agent's server was restarted in the middle of the turn: exit 1")

    async with open_chat(tmp_path, kind(acts("half", end, trio_forever)), agents) as house:
        row = await house.ended(await house.say("go"))
    assert house.texts == [CUT]
    assert (row.state, row.reason) == AS_CUT
    assert "exit 1" in (row.detail or "")


async def trio_forever(run: Any) -> None:
    await trio.sleep_forever()


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOTH)
async def test_a_prompt_that_did_not_arrive_is_sent_again(tmp_path: Path, autojump_clock: MockClock, kind: type[Fake]) -> None:
    server = kind()
    server.http.faults.append(Fault("POST", "/prompt_async", "lost"))
    async with open_chat(tmp_path, server) as house:
        row = await house.ended(await house.say("go"))
    assert set(house.texts[:-1]) <= {TRIED_AGAIN}
    assert house.texts[-1].startswith("echo: ")
    assert (row.state, row.reason) == ANSWERED


@pytest.mark.slow
async def test_a_prompt_that_is_never_begun(tmp_path: Path, autojump_clock: MockClock) -> None:
    server = FakeOpenCode()
    server.begins_after = 1e6
    async with open_chat(tmp_path, server) as house:
        row = await house.ended(await house.say("go"))
    assert house.texts == [SORRY_FAILED]
    assert (row.state, row.reason) == FAILED
    assert "never began" in (row.detail or "")


@pytest.mark.parametrize("kind", BOTH)
async def test_a_conversation_that_is_forgotten(tmp_path: Path, autojump_clock: MockClock, kind: type[Fake]) -> None:
    server = kind(acts("one"))
    async with open_chat(tmp_path, server) as house:
        await house.ended(await house.say("go"))
        (server.sessions if isinstance(server, FakeOpenCode) else server.logs).clear()
        row = await house.ended(await house.say("go on"))
    assert house.texts == ["one", _FORGOTTEN, SORRY_FAILED]
    assert (row.state, row.reason) == FAILED


@pytest.mark.parametrize("kind", BOTH)
async def test_what_another_client_asks_is_its_own(tmp_path: Path, autojump_clock: MockClock, kind: type[Fake]) -> None:
    server = kind(acts("one"))
    async with open_chat(tmp_path, server) as house:
        await house.ended(await house.say("go"))
        [session] = server.sessions if isinstance(server, FakeOpenCode) else server.logs
        core = await house.agents.core("assistant")
        assert isinstance(core, OpencodeCore)
        server.script = acts("theirs")
        body = {"text": "theirs", "parts": [{"type": "text", "text": "theirs"}]}
        await core._client.http.post(f"{server.url}/session/{session}/prompt_async", json=body)
        await anyio.sleep(60)
    assert house.texts == ["one"]


PIECES = st.lists(st.text("a😀é𝄞", min_size=1, max_size=5), min_size=1, max_size=4)


def opencode_event(kind: str, **properties: object) -> str:
    return json.dumps({"payload": {"type": kind, "properties": {"sessionID": "s", **properties}}})


@given(PIECES, st.lists(st.integers(0, 20)))
def test_half_a_character_is_joined_with_the_half_in_the_next_piece(texts: list[str], places: list[int]) -> None:
    text = "".join(texts)
    units = text.encode("utf-16-le")
    cuts = sorted({0, len(units), *(2 * place for place in places if 2 * place < len(units))})
    pieces = [units[a:b].decode("utf-16-le", "surrogatepass") for a, b in pairwise(cuts)]
    opencode, openagentic = dialects()
    info, part = {"id": "m1", "role": "assistant"}, {"type": "text", "id": "p1", "messageID": "m1", "text": ""}
    begun = [opencode_event("message.updated", info=info), opencode_event("message.part.updated", part=part)]
    deltas = [opencode_event("message.part.delta", partID="p1", field="text", delta=piece) for piece in pieces]
    others = [
        json.dumps({"type": "session.event", "session_id": "s", "event": {"type": "assistant.delta", "text_delta": piece}})
        for piece in pieces
    ]
    for dialect, events in ((opencode, begun + deltas), (openagentic, others)):
        progress = dialect.progress()
        read = [event for data in events if (event := dialect.read(data)) is not None]
        shown = [news.text for event in read for news in progress.note(event) if isinstance(news, TextDelta)]
        assert "".join(shown) == text
        assert progress.last_text == text


def test_the_text_before_a_tool_is_not_said_at_last_whatever_comes_when() -> None:
    last = LastText()
    last.add("Let me", message="m1", part="p1")
    last.use_tool("p2")
    last.put("Let me look.", message="m1", part="p1")
    assert last.text == ""
    last.add("It is", message="m2", part="p3")
    last.use_tool("p2")
    last.put("It is so.", message="m2", part="p3")
    assert last.text == "It is so."
