"""A permission request as an operator sees it, and a decision as the agent sees it."""

import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gatewayd.agents.acp.turn.permission import answer, tool_request
from gatewayd.agents.acp.turn.tool_calls import OpenCalls, call_event, merge, result_event
from gatewayd.agents.acp.wire import Malformed, PermissionOption, ToolCallFields, read
from gatewayd.model.records.approval import Decision
from gatewayd.ports.agent import ToolCall, ToolResult
from tests.agents.acp.test_connection import json_values

kinds = st.sampled_from(["allow_once", "allow_always", "reject_once", "reject_always", "", "_vendor"])


def call(**fields: object) -> ToolCallFields:
    return msgspec.convert({"toolCallId": "c", **fields}, ToolCallFields)


def raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))


def shown(fields: ToolCallFields) -> object:
    return msgspec.json.decode(tool_request(fields).input)


@given(st.lists(kinds, max_size=6), st.sampled_from(["allowed", "denied", "expired", "withdrawn", "undeliverable"]))
def test_only_a_yes_runs_it_and_only_once(offered: list[str], outcome: str) -> None:
    options = [PermissionOption(f"option-{number}", kind) for number, kind in enumerate(offered)]
    given_answer = answer(Decision(outcome), options)["outcome"]  # type: ignore[arg-type]
    assert isinstance(given_answer, dict)
    by_id = {option.option_id: option.kind for option in options}
    chosen = by_id[given_answer["optionId"]] if given_answer["outcome"] == "selected" else "cancelled"
    assert chosen in ("allow_once", "reject_once", "cancelled")
    assert (chosen == "allow_once") == (outcome == "allowed" and "allow_once" in offered)


@given(json_values)
def test_any_input_is_shown_whole_and_the_same_way_each_time(value: object) -> None:
    fields = call(title="the title", kind="execute")
    with_input = msgspec.structs.replace(fields, raw_input=raw(value))
    found = shown(with_input)
    assert isinstance(found, dict)
    if isinstance(value, dict) and value:
        decoded = msgspec.json.decode(msgspec.json.encode(value))
        assert {key: found[key] for key in value} == decoded
    elif value not in (None, {}):
        assert found["input"] == msgspec.json.decode(msgspec.json.encode(value))
    assert "the title" in found.values()
    assert tool_request(with_input).input == tool_request(with_input).input


def test_the_input_of_the_tool_wins_over_the_title() -> None:
    fields = msgspec.structs.replace(call(title="harmless"), raw_input=raw({"title": "rm", "_title": "x"}))
    assert shown(fields) == {"title": "rm", "_title": "x", "__title": "harmless"}


def test_the_tool_is_the_kind_and_never_words_of_the_model() -> None:
    assert tool_request(call(title="read", kind="execute")).tool == "execute"
    assert tool_request(call(title="read")).tool == "other"


def test_without_an_input_the_content_is_shown() -> None:
    diff = [{"type": "diff", "path": "/a", "oldText": "x", "newText": "y"}]
    fields = msgspec.structs.replace(call(title="Write a", kind="edit"), content=raw(diff), locations=raw([{"path": "/a"}]))
    assert shown(fields) == {"content": diff, "locations": [{"path": "/a"}], "title": "Write a"}


@pytest.mark.parametrize("text", [b"{", b'{"a": 1e999}', b"[" * 100_000])
def test_an_input_that_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        tool_request(msgspec.structs.replace(call(), raw_input=Raw(text)))


def test_an_update_changes_only_what_it_names() -> None:
    old = msgspec.structs.replace(call(title="bash", kind="execute", status="pending"), raw_input=raw({"command": "ls"}))
    new = merge(old, msgspec.structs.replace(call(status="completed", title=None), raw_input=raw(None)))
    assert (new.title, new.kind, new.status, bytes(new.raw_input)) == ("bash", "execute", "completed", b'{"command":"ls"}')


def test_old_calls_are_forgotten() -> None:
    calls = OpenCalls()
    for number in range(1000):
        calls.update(msgspec.convert({"toolCallId": f"c{number}", "title": f"t{number}"}, ToolCallFields))
    assert calls.merged(msgspec.convert({"toolCallId": "c999"}, ToolCallFields)).title == "t999"
    assert calls.merged(msgspec.convert({"toolCallId": "c0"}, ToolCallFields)).title is None


def test_large_calls_are_forgotten_sooner() -> None:
    calls = OpenCalls()
    for number in range(4):
        fields = msgspec.convert({"toolCallId": f"c{number}", "title": f"t{number}"}, ToolCallFields)
        calls.update(msgspec.structs.replace(fields, raw_input=raw("x" * 6_000_000)))
    titles = [calls.merged(msgspec.convert({"toolCallId": f"c{n}"}, ToolCallFields)).title for n in range(4)]
    assert titles == [None, None, "t2", "t3"]


def test_calls_take_no_more_memory_than_is_counted() -> None:
    """Whatever of them is large: a title, a kind, a state, or what nobody reads around an input that is kept."""
    calls, padding = OpenCalls(), "x" * 1_000_000
    tracemalloc.start()
    try:
        for number in range(100):
            fields: dict[str, object] = {"toolCallId": f"c{number}", "rawInput": {"command": "ls"}}
            fields[("title", "kind", "status", "_vendor")[number % 4]] = padding
            calls.update(read(msgspec.json.encode(fields), ToolCallFields))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 3_000_000
    assert shown(calls.merged(read(b'{"toolCallId": "c3"}', ToolCallFields))) == {"command": "ls"}


def test_a_call_with_a_long_id_is_no_call() -> None:
    calls = OpenCalls()
    for act in (calls.update, calls.merged):
        with pytest.raises(Malformed, match="an id of more than 200 characters"):
            act(call(toolCallId="c" * 201))


def test_a_title_that_is_kept_in_short_says_so_and_stays_another_one() -> None:
    calls = OpenCalls()
    for end in "ab":
        calls.update(call(toolCallId=end, title="rm " * 1000 + end))
    titles = [calls.merged(call(toolCallId=end)).title or "" for end in "ab"]
    assert all(title.startswith("rm rm") and "2501 more characters" in title and len(title) < 700 for title in titles)
    assert titles[0] != titles[1]
    assert calls.merged(call(toolCallId="a", title="t" * 1000)).title == "t" * 1000, "what a request itself says is shown whole"


def test_events() -> None:
    content = [
        {"type": "content", "content": {"type": "text", "text": "one"}},
        {"type": "diff", "path": "/a", "newText": "x"},
        {"type": "terminal", "terminalId": "t"},
        7,
    ]
    fields = msgspec.structs.replace(call(title="bash", status="failed"), content=raw(content), raw_input=raw({"command": "ls"}))
    assert call_event(fields) == ToolCall("c", "bash", '{"command":"ls"}')
    assert result_event(fields) == ToolResult("c", "one\nchanged /a", is_error=True)
    assert result_event(msgspec.structs.replace(call(), raw_output=raw({"n": 1}))).output == '{"n":1}'
    assert result_event(msgspec.structs.replace(call(), content=raw("no list"))).output == ""
    long = result_event(msgspec.structs.replace(call(), raw_output=raw("x" * 100_000)))
    assert long.output.endswith(" … (80002 more characters)")
