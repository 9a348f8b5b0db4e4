"""The scripted model speaks the bytes that the APIs' own clients read."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx2
import msgspec
import pytest
import trio

from gatewayd.kit.sse import EventStream
from tests.fakes.model_server import ModelServer, RemoteModelServer

SHELL = {"type": "function", "function": {"name": "bash", "parameters": {}}}


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    async with ModelServer.serve() as server:
        yield server


def chat(*texts: str, **more: Any) -> dict[str, Any]:
    """A request with these texts by the user and the model in turn."""
    messages = [{"role": "user" if at % 2 == 0 else "assistant", "content": text} for at, text in enumerate(texts)]
    return {"model": "fake-1", "messages": messages, "stream": True, **more}


async def stream(url: str, body: dict[str, Any]) -> list[Any]:
    """The data of each event."""
    async with (
        httpx2.AsyncClient(verify=False, trust_env=False, timeout=30) as client,
        client.stream("POST", url, json=body) as response,
    ):
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
        async with aclosing(EventStream(response)) as events:
            return [event.data if event.data == "[DONE]" else msgspec.json.decode(event.data) async for event in events]


async def ask(model: ModelServer, *texts: str, **more: Any) -> list[Any]:
    return await stream(f"{model.url}/chat/completions", chat(*texts, **more))


async def post(model: ModelServer, body: dict[str, Any]) -> httpx2.Response:
    async with httpx2.AsyncClient(verify=False, trust_env=False, timeout=30) as client:
        return await client.post(f"{model.url}/chat/completions", json=body)


def text_of(chunks: list[Any]) -> str:
    choices = [choice for chunk in chunks if chunk != "[DONE]" for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def test_a_text_comes_in_pieces(model: ModelServer) -> None:
    chunks = await ask(model, "[x dm, from me]\nsay one two\\nthree", stream_options={"include_usage": True})
    assert text_of(chunks) == "one two\nthree"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-2]] == [None] * 4 + ["stop"]
    assert (chunks[-2]["choices"], chunks[-2]["usage"]["completion_tokens"]) == ([], 3)
    assert chunks[-1] == "[DONE]"


async def test_without_streaming_it_is_one_answer(model: ModelServer) -> None:
    answer = (await post(model, chat("hello", stream=False))).json()
    assert answer["choices"][0]["message"]["content"] == "echo: hello"
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_a_command_is_a_call_of_the_offered_shell_and_then_told(model: ModelServer) -> None:
    chunks = await ask(model, "run2 id=call_0 echo a && echo b", tools=[SHELL])
    deltas = [call for chunk in chunks[:-1] for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert [delta["id"] for delta in deltas if "id" in delta] == ["call_0", "call_1"]
    first = "".join(delta["function"]["arguments"] for delta in deltas if delta["index"] == 0)
    assert msgspec.json.decode(first)["command"] == "echo a"
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"

    body = chat("run2 id=call_0 echo a && echo b", tools=[SHELL])
    body["messages"] += [{"role": "tool", "tool_call_id": f"call_{number}", "content": text} for number, text in enumerate("ab")]
    assert text_of(await stream(f"{model.url}/chat/completions", body)) == "ran: a | b"
    assert model.requests[-1].results == ("a", "b")


async def test_without_a_shell_it_says_so(model: ModelServer) -> None:
    assert text_of(await ask(model, "run echo a")) == "no shell tool is offered"


async def test_failures_come_as_the_script_says(model: ModelServer) -> None:
    answers = [await post(model, chat("fail 429 after=3 times=2")) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "3"
    assert answers[0].json()["error"]["code"] == "rate_limit_exceeded"
    chunks = await ask(model, "error the GPU is on fire")
    assert chunks[-2:] == [{"error": {"message": "the GPU is on fire", "type": "server_error", "code": None}}, "[DONE]"]
    chunks = await ask(model, "cut half of it")
    assert text_of(chunks) == "half of it"
    assert chunks[-1]["choices"][0]["finish_reason"] is None
    with pytest.raises(httpx2.ReadError):
        await ask(model, "reset half of it")
    assert [seen.end for seen in model.requests[-3:]] == ["answered", "answered", "cut"]


async def test_a_slow_answer_waits_for_the_test(model: ModelServer) -> None:
    async with trio.open_nursery() as nursery:

        async def run(text: str) -> None:
            assert text_of(await ask(model, text)) == "one two three"

        nursery.start_soon(run, "slow one two three")
        nursery.start_soon(run, "hang one two three")
        await model.wait_requests(2)
        with trio.fail_after(10):
            await model.wait_held("one two three")
        assert [seen.end for seen in model.requests] == [None, None]
        model.release("one two three")


async def test_a_client_that_leaves_is_seen(model: ModelServer) -> None:
    with trio.move_on_after(10) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, model, "hang on")
            await model.wait_held("on")
            nursery.cancel_scope.cancel()
        await model.wait_requests(lambda requests: requests[0].end == "aborted")
    assert not scope.cancelled_caught


async def test_titles_are_not_counted(model: ModelServer) -> None:
    body = chat("run rm -rf /")
    body["messages"].insert(0, {"role": "system", "content": "You are a title generator. You output ONLY a thread title."})
    assert text_of(await stream(f"{model.url}/chat/completions", body)) == "Scripted title"
    assert (len(model.requests), len(model.titles)) == (0, 1)


async def test_what_is_no_request_is_refused(model: ModelServer) -> None:
    assert (await post(model, {"model": "fake-1"})).status_code == 400
    assert (await post(model, chat("long nonsense"))).status_code == 400


async def test_responses_stream_texts_and_calls(model: ModelServer) -> None:
    url = f"{model.url}/responses"
    tool = {"type": "function", "name": "Bash", "parameters": {}}
    body: dict[str, Any] = {"model": "fake-1", "input": [{"role": "user", "content": "run id=call_0 ls"}], "tools": [tool]}
    events = await stream(url, {**body, "stream": True})
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    done = next(event["item"] for event in events if event["type"] == "response.output_item.done")
    assert (done["call_id"], done["name"]) == ("call_0", "Bash")
    assert msgspec.json.decode(done["arguments"])["command"] == "ls"
    assert events[-1]["type"] == "response.completed"

    result = {"type": "function_call_output", "call_id": "call_0", "output": "a file"}
    following = {**body, "input": [result], "previous_response_id": events[-1]["response"]["id"], "stream": True}
    events = await stream(url, following)
    assert "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta") == "ran: a file"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "ran: a file"


async def test_responses_fail_inside_the_stream_and_stop_short(model: ModelServer) -> None:
    body = {"model": "fake-1", "stream": True}
    events = await stream(f"{model.url}/responses", {**body, "input": "error no more"})
    assert (events[-1]["type"], events[-1]["response"]["error"]["message"]) == ("response.failed", "no more")
    events = await stream(f"{model.url}/responses", {**body, "input": "finish length too long"})
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert (await stream(f"{model.url}/responses", {**body, "input": "cut it"}))[-1]["type"] == "response.output_text.delta"


async def test_as_a_process_of_its_own() -> None:
    with trio.fail_after(60):
        async with RemoteModelServer.start() as model, trio.open_nursery() as nursery:
            url = f"{model.url}/chat/completions"
            nursery.start_soon(stream, url, chat("slow one two"))
            await model.wait_held("one two")
            await model.release("one two")
            assert text_of(await stream(url, chat("say x"))) == "x"
            seen = await model.wait_requests(2)
            assert [request.text for request in seen] == ["slow one two", "say x"]
