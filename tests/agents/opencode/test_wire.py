"""Reading what servers say: any of it, in any order, cut anywhere."""

from typing import Any, cast

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gatewayd.agents.opencode.openagentic_server.dialect import OpenAgentic
from gatewayd.agents.opencode.openagentic_server.log import fold as fold_log
from gatewayd.agents.opencode.openagentic_server.log import open_calls, read_log
from gatewayd.agents.opencode.opencode_server.dialect import OpenCode
from gatewayd.agents.opencode.opencode_server.messages import TOO_LONG, Message, fold, newer
from gatewayd.agents.opencode.opencode_server.requests import PermissionEntry, shown_input, to_questions
from gatewayd.agents.opencode.server.client import Client
from gatewayd.agents.opencode.server.dialect import ListedRequest
from gatewayd.agents.opencode.server.progress import Aborted, Answered, Failed, StreamEvent, Unfinished
from gatewayd.agents.opencode.server.wire import Malformed, canonical, decode, one_line
from gatewayd.ports.agent import ToolCall, ToolResult

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["type", "properties", "payload", "sessionID", "info", "part", "id", "role", "event", "session_id", "delta"]
)
NEARLY: st.SearchStrategy[Any] = st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON, max_size=4), max_size=6)
KINDS = st.sampled_from(
    ["message.updated", "message.part.updated", "message.part.delta", "session.error", "assistant.delta", "assistant.message"]
)


def dialects() -> tuple[OpenCode, OpenAgentic]:
    client = Client(cast(httpx2.AsyncClient, None), "http://x", {})  # nothing here asks a server
    return OpenCode(client), OpenAgentic(client)


@given(st.text(max_size=200) | NEARLY.map(lambda value: msgspec.json.encode(value).decode()))
def test_any_event_is_read_or_malformed(data: str) -> None:
    for dialect in dialects():
        event: object
        try:
            event = dialect.read(data)
        except Malformed as error:
            event = error.reason
        assert event is None or isinstance(event, StreamEvent | str)


@given(st.lists(st.tuples(KINDS, NEARLY), max_size=8))
def test_any_event_is_shown_or_malformed(events: list[tuple[str, Any]]) -> None:
    for dialect in dialects():
        progress = dialect.progress()
        for kind, body in events:
            try:
                news = progress.note(StreamEvent(kind, "s", Raw(msgspec.json.encode(body))))
            except Malformed:
                continue
            assert len(news) <= 2


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b'"\xff"', b"1e999999", b"<html>", b"9" * 10_000])
def test_what_is_no_json_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed, match="what the protocol says"):
        decode(data, Message, what="message")


@given(JSON)
def test_the_canonical_text_depends_on_the_value_alone(value: Any) -> None:
    def turned(inner: Any) -> Any:
        if isinstance(inner, dict):
            return {key: turned(inner[key]) for key in reversed(inner)}
        return [turned(item) for item in inner] if isinstance(inner, list) else inner

    text = canonical(Raw(msgspec.json.encode(value)))
    assert text == canonical(Raw(msgspec.json.encode(turned(value))))
    assert msgspec.json.decode(text) == value
    assert canonical(Raw(text.encode())) == text


@given(st.text(max_size=2000), st.integers(1, 400))
def test_a_reason_is_one_bounded_line(text: str, at_most: int) -> None:
    line = one_line(text, at_most)
    assert len(line) <= at_most
    assert len(line.splitlines()) <= 1


CALL = st.tuples(st.just("tool.use"), st.sampled_from(["call_0", "call_1"]))
RESULT = st.tuples(st.just("tool.result"), st.sampled_from(["call_0", "call_1"]))


@given(st.lists(CALL | RESULT, max_size=20))
def test_the_open_calls_are_those_without_a_result(events: list[tuple[str, str]]) -> None:
    log = read_log(
        [
            Raw(msgspec.json.encode({"type": kind, "seq": seq, "tool_use_id": call, "name": "Bash", "input": {}, "output": "x"}))
            for seq, (kind, call) in enumerate(events, 1)
        ],
        0,
    )
    expected = {
        seq for seq, (kind, call) in enumerate(events, 1) if kind == "tool.use" and ("tool.result", call) not in events[seq:]
    }
    assert set(open_calls(log)) == expected
    history = fold_log(log)
    assert len(history.steps) == sum(kind == "tool.use" for kind, _ in events)
    progress = dialects()[1].progress()
    shown = [*progress.catch_up(history), *progress.catch_up(history)]
    calls = [event.call_id for event in shown if isinstance(event, ToolCall)]
    results = [event.call_id for event in shown if isinstance(event, ToolResult)]
    assert len(calls) == len(set(calls)) == len(history.steps)
    assert len(results) == len(set(results))
    assert set(results) <= set(calls)


@given(st.lists(NEARLY | JSON, max_size=5), st.integers(-1, 5))
def test_a_log_is_read_as_far_as_it_can_be(events: list[Any], after: int) -> None:
    read = read_log([Raw(msgspec.json.encode(event)) for event in events], after)
    assert all(event.seq is not None and event.seq > after for event in read)
    fold_log(read)


def message(role: str, number: int, *, text: str = "", **info: Any) -> Message:
    parts = [{"type": "text", "id": "p", "text": text}, {"type": "text", "id": "q", "text": "not said", "synthetic": True}]
    whole = {"info": {"id": f"msg_{number:04}", "role": role, **info}, "parts": parts}
    return msgspec.json.decode(msgspec.json.encode(whole), type=Message)


DONE = {"time": {"completed": 1.0}}


@pytest.mark.parametrize(
    ("info", "outcome"),
    [
        ({**DONE, "finish": "stop"}, Answered("hello")),
        ({**DONE, "finish": "length"}, Answered(f"hello\n\n{TOO_LONG}")),
        ({**DONE, "finish": "content-filter"}, Failed("the model stopped at the provider's content filter", withheld=True)),
        ({**DONE, "finish": "tool-calls"}, Unfinished(text="hello")),
        ({**DONE, "finish": "unknown"}, Unfinished("the model's answer was cut off in the middle")),
        ({**DONE, "finish": "error"}, Failed("the model's provider reports an error, and does not say which")),
        (DONE, Aborted()),
        ({}, Unfinished("the agent's server was restarted in the middle of the turn")),
        ({**DONE, "error": {"name": "MessageAbortedError", "data": {}}}, Aborted()),
        ({**DONE, "error": {"name": "APIError", "data": {"message": "a\nb"}}}, Failed("APIError: a b")),
        ({**DONE, "error": {"name": "ContextOverflowError"}}, Failed("ContextOverflowError", "too_long")),
    ],
)
def test_how_a_run_ended(info: dict[str, Any], outcome: object) -> None:
    messages = [message("user", 1), message("assistant", 2, text="hello", **info)]
    history = fold(messages)
    assert history.outcome == outcome
    assert history.messages == 1


def test_a_summary_is_not_the_answer() -> None:
    stop = {**DONE, "finish": "stop"}
    answer = message("assistant", 2, text="the answer", **stop)
    history = fold([message("user", 1), answer, message("assistant", 3, text="what was said", summary=True, **stop)])
    assert history.outcome == Answered("the answer")


def test_only_what_is_newer_counts() -> None:
    messages = [message("user", number) for number in range(4)]
    assert newer(messages, "msg_0002") == messages[3:]
    assert newer(messages, "msg_0003") == []
    assert newer(messages, "") == messages
    assert fold([]).outcome is None


def permission(kind: str, **fields: Any) -> PermissionEntry:
    whole = {"id": "per_1", "sessionID": "ses_1", "permission": kind, "patterns": ["p"], **fields}
    return msgspec.json.decode(msgspec.json.encode(whole), type=PermissionEntry)


@pytest.mark.parametrize(
    ("entry", "call", "shown"),
    [
        (permission("bash"), ("bash", {"command": "ls"}), '{"command":"ls"}'),
        # A plugin changed the command after the model had written it: what runs is shown.
        (permission("bash", metadata={"command": "rm"}), ("bash", {"command": "ls", "x": 1}), '{"command":"rm","x":1}'),
        (permission("edit", metadata={"diff": "-"}), ("write", {"filePath": "a"}), '{"filePath":"a"}'),
        (
            permission("external_directory"),
            ("bash", {"command": "ls /"}),
            '{"input":{"command":"ls /"},"patterns":["p"],"tool":"bash"}',
        ),
        (permission("bash", metadata={"command": "ls"}), None, '{"command":"ls","patterns":["p"]}'),
    ],
)
def test_what_is_shown_of_a_request(entry: PermissionEntry, call: tuple[str, dict[str, Any]] | None, shown: str) -> None:
    given = None if call is None else (call[0], {key: Raw(msgspec.json.encode(value)) for key, value in call[1].items()})
    assert shown_input(entry, given) == shown


def test_questions_have_refs_of_their_own() -> None:
    body = {"id": "que_1", "sessionID": "s", "questions": [{"question": "a", "multiple": True}, {"question": "b", "options": []}]}
    asked = to_questions(ListedRequest("que_1", "s", Raw(msgspec.json.encode(body))))
    assert asked.refs == ("que_1:0", "que_1:1")
    assert [question.multiple for question in asked.questions] == [True, False]
