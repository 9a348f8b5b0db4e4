"""Each way in which an answer can end, through the core and the hub: the rows of docs/reference/streams.md."""

import gzip
import json
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, field
from trio.testing import MockClock

from gatewayd.agents.chat_completions.answer import CUT_OFF
from gatewayd.agents.chat_completions.reader import BROKEN_OFF
from gatewayd.hub.turns.outcome import MAY_BE_CUT, SORRY_EMPTY, SORRY_FAILED, SORRY_GONE, SORRY_TOO_LONG
from gatewayd.hub.turns.retries import TRIED_AGAIN
from tests.agents.chat_completions.talk import Behaviour, chat_with, house_with, serving

PAGE = (Path(__file__).parents[3] / "docs/reference/streams.md").read_text("utf-8")
SECTION = PAGE.split("\n## chat_completions\n")[1].split("\n## ")[0]
ROWS = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in SECTION.splitlines() if line.startswith("| ")][1:]

END = b""
Step = bytes | float


def chunk(content: object = None, finish: str | None = None, **delta: object) -> bytes:
    choice = {"index": 0, "delta": {"content": content, **delta}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
STOP = chunk(None, "stop")


def streaming(*steps: Step, head: str = "200 OK", **headers: str) -> Behaviour:
    """A chunked response: bytes are sent, numbers are seconds of silence. Without ``END`` the connection breaks."""
    lines = [
        f"HTTP/1.1 {head}",
        "transfer-encoding: chunked",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]

    async def behave(stream: trio.SocketStream, body: bytes) -> None:
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        for step in steps:
            if isinstance(step, bytes):
                await stream.send_all(b"%x\r\n%s\r\n" % (len(step), step))
            else:
                await trio.sleep(step)

    return behave


def whole(body: bytes, head: str = "200 OK", **headers: str) -> Behaviour:
    return streaming(body, END, head=head, **headers)


class Growing:
    """Refuses conversations of more than so many messages."""

    def __init__(self, longest: int) -> None:
        self.longest = longest

    async def __call__(self, stream: trio.SocketStream, body: bytes) -> None:
        fits = len(json.loads(body)["messages"]) <= self.longest
        await (
            whole(chunk("fine") + DONE) if fits else whole(b'{"error":{"code":"context_length_exceeded"}}', "400 Bad Request")
        )(stream, body)


class Ending(Struct):
    """``row`` is the first cell of the page; ``texts`` is all that the chat gets, ``within`` so many seconds."""

    row: str
    behave: Behaviour
    texts: Sequence[str]
    stored: str = "done, `answered`"
    detail: str | None = None
    within: float = 0.1
    questions: int = 1
    changes: dict[str, Any] = field(default_factory=dict)


DEAD = "dead, `agent_failed`"
AS_CUT = "done, `answered_cut`"
GONE = "dead, `attempts_exhausted`"
HALF, REST = chunk("Half of "), chunk("it.")
CUT = [f"Half of\n\n{MAY_BE_CUT}"]
ENDINGS = [
    Ending("`[DONE]`", streaming(HALF, REST, DONE, 600.0), ["Half of it."]),
    Ending("the end of the body, after a finish_reason", streaming(HALF, REST, STOP, END), ["Half of it."]),
    Ending("a finish_reason, and nothing after it", streaming(HALF, REST, STOP, 600.0), ["Half of it."], within=1.1),
    Ending(
        "a finish_reason in each chunk",
        streaming(chunk("a ", "stop"), 0.9, chunk("b ", "stop"), 0.9, chunk("c", "stop"), END),
        ["a b c"],
        within=1.9,
    ),
    Ending(
        "a finish_reason together with thoughts",
        streaming(chunk(None, "stop", reasoning="hm"), 5.0, chunk("yes", "stop"), DONE),
        ["yes"],
        within=5.1,
    ),
    Ending(
        "text after the second of silence",
        streaming(HALF, STOP, 3.0, REST, 2.0, chunk(" All."), DONE, END),
        ["Half of ", "it. All."],
        within=1.1,
    ),
    Ending(
        "the same, and the connection breaks", streaming(HALF, STOP, 3.0, REST), ["Half of ", f"it.\n\n{BROKEN_OFF}"], within=1.1
    ),
    Ending("a last event without a blank line", streaming(HALF, STOP.rstrip(), END), ["Half of "]),
    Ending("a connection that breaks after a finish_reason", streaming(HALF, REST, STOP), ["Half of it."]),
    Ending(
        "a stream under another content type",
        streaming(b"\n: hello\n", HALF, DONE, content_type="application/json"),
        ["Half of "],
    ),
    Ending(
        "a whole answer instead of a stream",
        whole(b'{"choices":[{"message":{"content":"Whole."},"finish_reason":"stop"}]}'),
        ["Whole."],
    ),
    Ending("a packed body: gzip, deflate", whole(gzip.compress(HALF + DONE), content_encoding="gzip"), ["Half of "]),
    Ending("packed in another way", whole(b"\x8b", content_encoding="br"), [SORRY_FAILED], DEAD, "content-encoding: br"),
    Ending("finish_reason `length`", streaming(HALF, chunk(None, "length"), END), [f"Half of \n\n{CUT_OFF}"]),
    Ending(
        "finish_reason `content_filter`, `error`, `tool_calls`; a call of a tool",
        streaming(HALF, chunk(None, "content_filter"), END),
        [SORRY_FAILED],
        DEAD,
        "content filter",
    ),
    Ending(
        "finish_reason `content_filter`, `error`, `tool_calls`; a call of a tool",
        streaming(HALF, chunk(None, tool_calls=[{"id": "1"}]), STOP, END),
        [SORRY_FAILED],
        DEAD,
        "call a tool",
    ),
    Ending("finish_reason `abort`", streaming(HALF, chunk(None, "abort"), END), CUT, AS_CUT, "was aborted by its server"),
    Ending(
        "no text, or thoughts only",
        streaming(chunk(None, reasoning="hm"), STOP, END),
        [SORRY_EMPTY],
        DEAD,
        "thought, but said nothing",
    ),
    Ending(
        "the body ends without a finish_reason and `[DONE]`",
        streaming(HALF, END),
        CUT,
        AS_CUT,
        "ended its answer in the middle",
    ),
    Ending("the connection breaks in the middle", streaming(HALF), CUT, AS_CUT, "in the middle of the answer"),
    Ending(
        "the same in a stream with a finish_reason in each chunk",
        streaming(chunk("a ", "stop"), chunk("b ", "stop")),
        [f"a b\n\n{MAY_BE_CUT}"],
        AS_CUT,
        "in the middle",
    ),
    Ending(
        "silence for `between_tokens_seconds`",
        streaming(HALF, 61.0),
        CUT,
        AS_CUT,
        "fell silent, in the middle",
        within=60.1,
    ),
    Ending(
        "the connection breaks, or silence for `first_token_seconds`, before any text or thought",
        streaming(),
        [TRIED_AGAIN, SORRY_GONE],
        GONE,
        "closed without a proper answer",
        within=1000,
    ),
    Ending(
        "an error in the stream, or instead of it",
        whole(b'{"error":{"message":"the GPU is on fire"}}'),
        [SORRY_FAILED],
        DEAD,
        "the GPU is on fire",
    ),
    Ending(
        "an error in the middle",
        streaming(HALF, b'event: error\ndata: {"message":"on fire"}\n\n'),
        CUT,
        AS_CUT,
        "broke off: on fire",
    ),
    Ending(
        "something that is no event of an answer, in the middle",
        streaming(HALF, b"data: <html>\n\n"),
        CUT,
        AS_CUT,
        "no chunk of an answer",
    ),
    *(
        Ending(
            "a cut answer with thoughts only",
            streaming(chunk(None, reasoning="hm"), *steps),
            [SORRY_FAILED],
            DEAD,
            why,
            within=60.1,
        )
        for steps, why in (
            ([END], "ended its answer in the middle"),
            ([], "in the middle of the answer"),
            ([61.0], "fell silent, in the middle"),
            ([b'event: error\ndata: {"message":"on fire"}\n\n'], "broke off: on fire"),
            ([b"data: <html>\n\n"], "no chunk of an answer"),
        )
    ),
    Ending(
        "no answer: a page, another program",
        whole(b"<html>", content_type="text/html"),
        [SORRY_FAILED],
        DEAD,
        "sends text/html: is url its API's base",
    ),
    Ending(
        "more than 1,000,000 characters", streaming(*[chunk("x" * 500_000)] * 3, END), [SORRY_FAILED], DEAD, "longer than 1000000"
    ),
    Ending(
        "a server out of reach, 408, 429, 5xx",
        whole(b"", "503 Service Unavailable"),
        [TRIED_AGAIN, SORRY_GONE],
        GONE,
        "503",
        within=1000,
    ),
    Ending(
        "402, or an error that says that there is no credit",
        whole(b'{"error":{"code":"insufficient_quota"}}', "429 Too Many"),
        [SORRY_FAILED],
        DEAD,
        "no waiting mends that",
    ),
    Ending("401, 403", whole(b"", "401 Unauthorized"), [SORRY_FAILED], DEAD, "it refuses the key: set api_key"),
    Ending(
        "another status",
        whole(b'{"error":"no such model"}', "404 Not Found"),
        [SORRY_FAILED],
        DEAD,
        "404 Not Found: no such model",
    ),
    Ending("a conversation that is too long for the model", Growing(4), ["fine"] * 6, questions=6),
    Ending("a message that is too long for the model", Growing(0), [SORRY_TOO_LONG], DEAD, "answers 400 Bad Request"),
]


def test_each_row_of_the_page_has_its_test() -> None:
    assert [row[0] for row in ROWS] == list(dict.fromkeys(ending.row for ending in ENDINGS))


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.row)
async def test_each_way_ends_as_the_page_says(tmp_path: Path, autojump_clock: MockClock, ending: Ending) -> None:
    async with house_with(tmp_path, ending.behave, **ending.changes) as house:
        for _ in range(ending.questions):
            began_at = trio.current_time()
            row = await house.ended(await house.say("go"))
            assert trio.current_time() - began_at <= ending.within
        await anyio.sleep(700)
        assert house.texts == ending.texts
        [stored, status] = next(cells[2:] for cells in ROWS if cells[0] == ending.row)
        assert (f"{row.state}, `{row.reason}`", stored) == (ending.stored, ending.stored)
        assert re.search(ending.detail or "^$", row.detail or "")
        errors = house.agents.errors
        assert bool(errors) == ("failure" in status)
        assert not errors or re.search(ending.detail or "", errors[-1])


async def test_what_comes_late_is_told_to_the_model_in_the_next_turn(autojump_clock: MockClock) -> None:
    asked: list[list[str]] = []

    async def behave(stream: trio.SocketStream, body: bytes) -> None:
        asked.append([message["content"] for message in json.loads(body)["messages"]])
        await streaming(HALF, STOP, 3.0, REST, END)(stream, body)

    async with serving(behave) as url, chat_with(url) as chat:
        assert await chat.say("one") == "Half of "
        await trio.sleep(5)
        assert chat.said_later == ["it."]
        assert await chat.say("two") == "Half of "
        assert await chat.say("three") == "Half of ", "while the second answer goes on"
        await trio.sleep(5)
        await chat.say("four")
    assert asked[1] == ["one", "Half of it.", "two"]
    assert asked[3] == ["one", "Half of it.", "two", "Half of it.", "three", "Half of it.", "four"]


async def test_a_cut_answer_is_told_to_the_model_as_cut_and_is_found_again_as_cut(autojump_clock: MockClock) -> None:
    asked: list[list[str]] = []

    async def behave(stream: trio.SocketStream, body: bytes) -> None:
        asked.append([message["content"] for message in json.loads(body)["messages"]])
        await streaming(HALF)(stream, body)

    async with serving(behave) as url, chat_with(url) as chat:
        turn = chat.turn("one")
        final = await chat.core.run(turn)
        assert (final.text, final.cut is None) == ("Half of ", False)
        assert await chat.core.turn_state(chat.session, turn.request.turn_id) == "ended"
        assert await chat.core.resume(turn) == final
        await chat.say("two")
    assert asked == [["one"], ["one", f"Half of \n\n{BROKEN_OFF}", "two"]]


@pytest.mark.parametrize("pause", [0.999, 1.0, 1.0001, 1.001, 1.01])
async def test_what_comes_on_the_edge_of_the_silence_is_in_the_reply_or_behind_it(
    tmp_path: Path, autojump_clock: MockClock, pause: float
) -> None:
    async with house_with(tmp_path, streaming(HALF, STOP, pause, REST, END)) as house:
        await house.ended(await house.say("go"))
        await anyio.sleep(10)
        assert house.texts in (["Half of it."], ["Half of ", "it."])


async def test_what_comes_late_is_said_after_a_silence_and_when_the_core_closes(autojump_clock: MockClock) -> None:
    async with serving(streaming(HALF, STOP, 3.0, REST, 10.0, chunk("More."), 600.0)) as url:
        async with chat_with(url) as chat:
            await chat.say("go")
            await trio.sleep(8)
            assert chat.said_later == ["it."]
            await trio.sleep(5)
        assert chat.said_later == ["it.", "More."]


async def test_a_server_that_holds_its_stream_is_not_listened_to_for_ever(autojump_clock: MockClock) -> None:
    closed = trio.Event()

    async def holding(stream: trio.SocketStream, body: bytes) -> None:
        await streaming(HALF, STOP)(stream, body)
        with trio.move_on_after(600):
            await stream.receive_some(1)
            closed.set()

    async with serving(holding) as url, chat_with(url) as chat:
        assert await chat.say("go") == "Half of "
        await trio.sleep(55)
        assert not closed.is_set()
        await trio.sleep(10)
        assert closed.is_set()
        assert chat.said_later == []


async def test_the_oldest_answer_is_listened_to_no_more_when_there_are_too_many(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayd.agents.chat_completions.core.LISTENED_TO", 2)
    async with serving(streaming(HALF, STOP, 9.0, REST, END)) as url, chat_with(url) as chat:
        for _ in range(4):
            await chat.say("go")
        await trio.sleep(20)
        assert chat.said_later == ["it.", "it."]


@pytest.mark.parametrize("seconds", [0.0, 0.1, 1.0, 4.0, 30.0])
async def test_a_server_that_ends_properly_is_not_answered_later(autojump_clock: MockClock, seconds: float) -> None:
    for end in ((STOP, DONE, END), (STOP, END), (DONE, 600.0)):
        async with serving(streaming(HALF, seconds, REST, *end)) as url, chat_with(url) as chat:
            began_at = trio.current_time()
            assert await chat.say("go") == "Half of it."
            assert trio.current_time() - began_at <= seconds + 0.001


class InMemory(httpx2.AsyncBaseTransport, httpx2.AsyncByteStream):
    """One response, whose bytes come as they are here, with pauses."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for step in self._steps:
            if isinstance(step, bytes):
                yield step
            else:
                await trio.sleep(step)


texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), min_size=1, max_size=6)


@given(
    texts,
    st.lists(st.tuples(st.integers(1, 60), st.sampled_from([0.0, 0.3, 0.9])), min_size=1),
    st.booleans(),
    st.sampled_from([DONE, END]),
)
def test_any_cut_of_the_stream_with_any_pauses_gives_the_same_answer(
    pieces: list[str], cuts: list[tuple[int, float]], stops: bool, end: bytes
) -> None:
    """Pauses below the second of silence; ``stops``: a finish_reason in each chunk, so that each pause may be the last."""
    sent = b"".join(chunk(piece, "stop" if stops else None) for piece in pieces) + STOP + end
    steps: list[Step] = []
    at = 0
    while at < len(sent):
        size, pause = cuts[len(steps) // 2 % len(cuts)]
        steps += [sent[at : at + size], pause if len(steps) < 60 else 0.0]
        at += size

    async def main() -> None:
        text = "".join(pieces)
        async with chat_with("http://model/v1", http=httpx2.AsyncClient(transport=InMemory(steps))) as chat:
            turn = chat.turn("go")
            if text.strip():
                assert (await chat.core.run(turn)).text == text
                assert turn.shown == text
                assert chat.said_later == []

    trio.run(main, clock=MockClock(autojump_threshold=0))
