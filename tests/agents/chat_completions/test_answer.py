"""Answers as many servers send them, and any bytes at all."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.agents.chat_completions.answer import CUT_OFF, ModelAnswer
from gatewayd.model.errors import AgentFailed, NeedsOperator, TryAgain


def chunk(content: object = None, finish: object = None, **delta: Any) -> str:
    said = {"content": content, **delta}
    return msgspec.json.encode({"id": "1", "choices": [{"index": 0, "delta": said, "finish_reason": finish}]}).decode()


def answer(*events: str, close: bool = True) -> ModelAnswer:
    read = ModelAnswer()
    for event in events:
        read.feed("".join(f"data: {line}\n" for line in event.split("\n")).encode() + b"\n")
    if close:
        read.close()
    return read


def streamed(body: bytes, content_type: str = "text/event-stream") -> str:
    read = ModelAnswer(content_type)
    pieces = read.feed(body) + read.close()
    text = read.text()
    assert text.startswith(pieces)
    return text


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([chunk("Hel"), chunk("lo"), chunk(None, "stop"), '{"choices":[],"usage":{}}', "[DONE]"], "Hello"),
        ([chunk("no finish_reason"), "[DONE]"], "no finish_reason"),
        ([chunk("no [DONE]"), chunk("", "stop")], "no [DONE]"),
        ([chunk("all in one", "end_turn")], "all in one"),
        ([chunk(reasoning_content="Hm."), chunk("Yes."), chunk(None, "stop")], "Yes."),
        ([chunk(refusal="I'd rather not."), chunk(None, "stop")], "I'd rather not."),
        (["", '{"object":"ping"}', chunk("after a ping"), '{"choices":[{"finish_reason":"stop"}]}'], "after a ping"),
        ([chunk("stop ", "stop"), chunk("in ", "stop"), chunk("each", "stop")], "stop in each"),
        ([chunk(None, "stop", reasoning_content="Hm."), chunk("Yes.", "stop"), "[DONE]"], "Yes."),
        ([chunk("null is ", "null"), chunk("a text", "none"), "[DONE]"], "null is a text"),
        ([chunk([{"type": "thinking", "thinking": "hm"}]), chunk([{"type": "text", "text": "a "}, "list"]), "[DONE]"], "a list"),
        ([chunk({"type": "text", "text": "one part"}), chunk([{"type": "image_url"}, {"type": "text"}]), "[DONE]"], "one part"),
        ([chunk([{"type": "refusal", "refusal": "No."}]), "[DONE]"], "No."),
        (['{"choices":[{"message":{"content":"whole in one event"},"finish_reason":"stop"}]}'], "whole in one event"),
        ([chunk("said once"), '{"choices":[{"message":{"content":"said once"},"finish_reason":"stop"}]}'], "said once"),
        (
            [chunk("odd ", finish=5), '{"choices":"odd","error":"","usage":NaN}', chunk("fields", tool_calls={}), "[DONE]"],
            "odd fields",
        ),
        (['{"choices":[{"index":null,"logprobs":Infinity,"delta":{"content":"a"}},{"index":"0"}]}', chunk("b", "stop")], "ab"),
        (
            ['{"choices":[{"delta":{"content":"\\ud83d"}}]}', '{"choices":[{"delta":{"content":"\\ude00"}}]}', "[DONE]"],
            "\U0001f600",
        ),
        (['{"choices":[{"delta":{"content":"cut \\ud83d"},"finish_reason":"stop"}]}'], "cut \ufffd"),
        ([chunk("one"), '{"choices":[{"index":1,"delta":{"content":"another"}}]}', chunk(None, "stop")], "one"),
        ([chunk("and "), chunk(None, "length"), "[DONE]", chunk("late")], f"and \n\n{CUT_OFF}"),
    ],
)
def test_a_whole_answer(events: list[str], text: str) -> None:
    read = answer(*events)
    assert read.whole_if_cut
    assert read.text() == text


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([chunk("half")], "ended its answer in the middle"),
        ([], "ended its answer in the middle"),
        ([chunk("Oh", "content_filter")], "content filter"),
        ([chunk("HTTP 400: no such model", "error"), "[DONE]"], "ended with an error: HTTP 400: no such model"),
        ([chunk("x"), chunk(None, "tool_calls")], "wants to call a tool"),
        ([chunk("half"), '{"choices":[{"delta":{"con'], "no chunk"),
    ],
)
def test_an_answer_that_is_none(events: list[str], reason: str) -> None:
    with pytest.raises(AgentFailed, match=reason):
        answer(*events).text()


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ('{"error":{"message":"the GPU is\\non fire","code":"x"}}', "answers with an error: the GPU is on fire$"),
        ('{"error":"model not found"}', "answers with an error: model not found"),
        ('{"error":{}}', "it does not say which"),
        ('{"choices":[],"error":{"message":"beside choices"}}', "error: beside choices"),
        ('{"object":"error","message":"as vLLM says it","code":404}', "error 404 Not Found: as vLLM says it"),
        ('{"type":"error","error":{"type":"invalid","message":"as Anthropic says it"}}', "error: as Anthropic says it"),
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


def test_an_error_in_the_middle_says_that_it_broke_off() -> None:
    with pytest.raises(AgentFailed, match="broke off: the GPU is on fire"):
        answer(chunk("half"), '{"error":{"message":"the GPU is on fire"}}')


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('{"message":"in words"}', "in words"),
        ("plain words", "plain words"),
        ('"a text"', "a text"),
        ('{"detail":[{"msg":"x"}]}', "x"),
    ],
)
def test_an_event_that_is_named_error_is_one_whatever_it_holds(data: str, words: str) -> None:
    with pytest.raises(AgentFailed, match=f"answers with an error: {words}$"):
        streamed(f"event: error\ndata: {data}\n\n".encode())


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}', "a"),
        (b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n', "a"),
        (b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: {"cho', "a"),
        (b'data: {"choices":[{"delta":{"content":"a"}}]}\r\n\r\ndata: [DONE]', "a"),
    ],
)
def test_what_a_stream_ends_with_counts_if_it_is_whole(body: bytes, text: str) -> None:
    assert streamed(body) == text


BODY = b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'


@pytest.mark.parametrize(
    "lead", [b"", b"\xef\xbb\xbf", b"\r\n \n", b": hello\n\n", b"id: 1\n", b"event: message\n", b"retry: 5\n", b":\n"]
)
@pytest.mark.parametrize(
    "content_type", ["", "application/json", "text/plain; charset=utf-8", "text/html", "application/x-ndjson"]
)
def test_a_stream_is_one_under_any_content_type(lead: bytes, content_type: str) -> None:
    assert streamed(lead + BODY, content_type) == "a"


@pytest.mark.parametrize("lead", [b"", b"\xef\xbb\xbf", b"\n\n  "])
def test_a_whole_answer_need_not_be_streamed(lead: bytes) -> None:
    body = (
        b'{"object": "chat.completion", "choices": [{"message": {"content": "whole\\ud83d"}, "finish_reason": "stop"}], "x": NaN}'
    )
    for content_type in ("application/json", "", "text/event-stream"):
        assert streamed(lead + body, content_type) == "whole\ufffd"
    assert streamed(body.replace(b'"stop"', b'"length"')) == f"whole\ufffd\n\n{CUT_OFF}"
    assert streamed(body.replace(b'"stop"', b"null")) == "whole\ufffd"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"error": {"message": "no such model"}}', "answers with an error: no such model"),
        (
            b'[{"error": {"code": 400, "message": "as Gemini says it"}}]',
            "answers with an error 400 Bad Request: as Gemini says it",
        ),
        (b'{"message": "in words"}', "answers with an error: in words"),
        (b'{"code": 402, "msg": "Insufficient balance"}', "answers with an error 402 Payment Required: Insufficient balance"),
        (b'{"success": false, "errors": [{"reason": "x"}]}', "answers with an error: x"),
        (b'{"hello": 1}', "sends application/json without an answer in it: is url its API's base"),
        (b"[]", "what is no answer"),
        (b'{"choices": [{"message": {"cont', "what is no answer"),
        (b'{"choices": [{"message": {"content": 7}}]}', "no chunk"),
        (b"{" + b" " * 9_000_000, "longer than"),
        (b"<!doctype html>", "does not stream an answer but sends application/json: is url its API's base"),
        (b"", "does not stream"),
        (b"dat", "does not stream"),
    ],
)
def test_a_body_without_an_answer_says_why(body: bytes, reason: str) -> None:
    with pytest.raises((AgentFailed, NeedsOperator), match=reason):
        streamed(body, "application/json")


@pytest.mark.parametrize(
    ("code", "kind"), [(402, NeedsOperator), ("429", TryAgain), (502, TryAgain), (400, AgentFailed), ("x", AgentFailed)]
)
def test_an_error_inside_means_what_its_code_means(code: object, kind: type[Exception]) -> None:
    body = msgspec.json.encode({"error": {"code": code, "message": "because"}})
    for sent in (body, b"data: " + body + b"\n\n"):
        with pytest.raises(kind, match="because"):
            streamed(sent)


@pytest.mark.parametrize(
    ("events", "why"),
    [
        (['{"choices":[{"finish_reason":"stop"}]}'], "said nothing"),
        ([chunk("", "stop"), "[DONE]"], "the model said nothing"),
        ([chunk(" \n"), "[DONE]"], "said nothing"),
        ([chunk(None, "stop", reasoning_content="thinking")], "thought, but said nothing"),
        ([chunk(None, reasoning="thinking"), chunk("", "stop"), "[DONE]"], "thought, but said nothing"),
    ],
)
def test_an_empty_answer_is_a_failure_of_its_own_kind(events: list[str], why: str) -> None:
    if "reasoning_content" in events[0] and len(events) == 1:
        events = [*events, "[DONE]"]
    with pytest.raises(AgentFailed, match=why) as caught:
        answer(*events).text()
    assert caught.value.kind == "empty"


def test_an_end_in_each_chunk_is_none_when_the_connection_breaks() -> None:
    assert answer(chunk("whole", "stop"), close=False).whole_if_cut
    assert not answer(chunk("one ", "stop"), chunk("two", "stop"), close=False).whole_if_cut
    assert not answer(chunk("half"), close=False).whole_if_cut
    assert answer(chunk("one ", "stop"), chunk("two", "stop"), "[DONE]", close=False).whole_if_cut


@given(st.lists(st.text(max_size=20)), st.data(), st.sampled_from([b"", b"\xef\xbb\xbf\n", b": ping\n\n"]), st.booleans())
def test_any_cut_of_the_bytes_gives_the_same_answer(pieces: list[str], data: st.DataObject, lead: bytes, stream: bool) -> None:
    if stream:
        body = b"".join(f"data: {chunk(piece, 'stop')}\n\n".encode() for piece in [*pieces, "."]) + b"data: [DONE]"
    else:
        body = msgspec.json.encode({"choices": [{"message": {"content": "".join([*pieces, "."])}, "finish_reason": "stop"}]})
    body = lead + body if stream or not lead.startswith(b":") else body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    read = ModelAnswer("")
    for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True):
        read.feed(body[start:stop])
    read.close()
    assert read.text() == "".join([*pieces, "."])


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
    except (AgentFailed, NeedsOperator, TryAgain) as error:
        text = error.reason
    assert isinstance(text, str)
