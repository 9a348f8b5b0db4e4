"""Chunks as many servers send them, and any bytes at all."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.agents.chat_completions.wire import CUT_OFF, StreamedAnswer, refusal
from gatewayd.kit.sse import EventParser
from gatewayd.model.errors import AgentFailed, NeedsOperator, OutcomeUnknown, TryAgain


def chunk(content: str | None = None, finish: str | None = None, **delta: Any) -> str:
    said = {"content": content, **delta}
    return msgspec.json.encode({"id": "1", "choices": [{"index": 0, "delta": said, "finish_reason": finish}]}).decode()


def answer(*events: str) -> StreamedAnswer:
    read = StreamedAnswer()
    for event in events:
        read.take(event)
    return read


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([chunk("Hel"), chunk("lo"), chunk(None, "stop"), '{"choices":[],"usage":{}}', "[DONE]"], "Hello"),
        ([chunk("no finish_reason"), "[DONE]"], "no finish_reason"),
        ([chunk("no [DONE]"), chunk("", "stop")], "no [DONE]"),
        ([chunk("all in one", "end_turn")], "all in one"),
        ([chunk(reasoning_content="Hm."), chunk("Yes."), chunk(None, "stop")], "Yes."),
        ([chunk(refusal="I'd rather not."), chunk(None, "stop")], "I'd rather not."),
        (["", '{"object":"ping"}', '{"choices":[{"finish_reason":"stop"}]}'], ""),
        ([chunk("one"), '{"choices":[{"index":1,"delta":{"content":"another"}}]}', chunk(None, "stop")], "one"),
        ([chunk("and "), chunk(None, "length"), "[DONE]", chunk("late")], f"and \n\n{CUT_OFF}"),
    ],
)
def test_a_whole_answer(events: list[str], text: str) -> None:
    read = answer(*events)
    assert read.complete
    assert read.text() == text


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([chunk("half")], "ended its answer in the middle"),
        ([], "ended its answer in the middle"),
        ([chunk("Oh", "content_filter")], "content filter"),
        ([chunk("HTTP 400: no such model", "error"), "[DONE]"], "ended with an error: HTTP 400: no such model"),
        ([chunk("x"), chunk(None, "tool_calls")], "wants to call a tool"),
    ],
)
def test_an_answer_that_is_none(events: list[str], reason: str) -> None:
    with pytest.raises(AgentFailed, match=reason):
        answer(*events).text()


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ('{"error":{"message":"the GPU is\\non fire","code":"x"}}', "broke off: the GPU is on fire$"),
        ('{"error":"model not found"}', "broke off: model not found"),
        ('{"error":{}}', "it did not say why"),
        ("<html>", "what is no chunk of an answer: <html>"),
        ('{"choices":[{"delta":{"content":7}}]}', "what is no chunk"),
        ("[" * 100_000, "what is no chunk"),
        (chunk(tool_calls=[{"index": 0, "id": "call_1"}]), "wants to call a tool"),
        (chunk("x" * 1_000_001), "longer than 1000000 characters"),
    ],
)
def test_an_event_that_ends_it(event: str, reason: str) -> None:
    with pytest.raises(AgentFailed, match=reason) as caught:
        answer(event)
    assert len(caught.value.reason) < 500


@given(st.lists(st.text(max_size=20)), st.data())
def test_any_cut_of_the_bytes_gives_the_same_answer(pieces: list[str], data: st.DataObject) -> None:
    stream = b"".join(f"data: {chunk(piece)}\n\n".encode() for piece in [*pieces, ""]) + b"data: [DONE]\n\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    parser, read = EventParser(), StreamedAnswer()
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        for event in parser.feed(stream[start:stop]):
            read.take(event.data)
    assert read.text() == "".join(pieces)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "content", "error", "message", "finish_reason", "tool_calls", "index"]), inner
        )
    ),
    max_leaves=10,
)


@given(st.lists(st.text() | json.map(lambda value: msgspec.json.encode(value).decode()), max_size=4))
def test_whatever_comes_is_an_answer_or_a_reason(events: list[str]) -> None:
    try:
        text = answer(*events).text()
    except AgentFailed as error:
        text = error.reason
    assert isinstance(text, str)


@pytest.mark.parametrize(
    ("status", "repeatable", "kind"),
    [
        (401, True, NeedsOperator),
        (403, False, NeedsOperator),
        (429, True, TryAgain),
        (429, False, TryAgain),
        (503, False, TryAgain),
        (500, True, TryAgain),
        (529, True, TryAgain),
        (408, True, TryAgain),
        (500, False, OutcomeUnknown),
        (400, True, AgentFailed),
        (404, False, AgentFailed),
        (302, True, AgentFailed),
    ],
)
def test_a_status_names_its_cure(status: int, repeatable: bool, kind: type[Exception]) -> None:
    error = refusal(status, b'{"error":{"message":"because"}}', after_seconds=3.0, repeatable=repeatable)
    assert type(error) is kind
    assert str(status) in str(error)
    assert ": because" in str(error)
    assert not isinstance(error, TryAgain) or error.after_seconds == 3.0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error":"no such model"}', ": no such model"),
        (b'{"object":"error","message":"too long"}', ": too long"),
        (b'{"detail":"Not Found"}', ": Not Found"),
        (b"<html>secrets of a proxy</html>", ""),
        (b"\xff", ""),
        (b'{"error":{"message":"' + b"x" * 5000 + b'"}}', ": " + "x" * 300),
    ],
)
def test_the_provider_s_words_are_found_and_bounded(body: bytes, words: str) -> None:
    error = refusal(404, body, after_seconds=None, repeatable=True)
    assert str(error) == f"the model's server answers 404 Not Found{words}"
