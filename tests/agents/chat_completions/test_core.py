"""The core against the scripted model, and against servers that misbehave, on real sockets."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gatewayd.agents.chat_completions.answer import CUT_OFF
from gatewayd.model.errors import AgentFailed, NeedsOperator, StoreRefused, TryAgain
from gatewayd.model.secret import Secret
from gatewayd.ports.agent import CoreFacts, DescribesItself, TextDelta
from tests.agents.chat_completions.state import StateInMemory
from tests.agents.chat_completions.talk import HEAD, HELLO, chat_with, read_request, server
from tests.fakes.model_server import MODEL, ModelServer, Seen

KEY = "canary-key-0123456789"


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    async with ModelServer.serve() as server:
        yield server


def messages(seen: Seen) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in seen.body["messages"]]


async def test_a_reply_is_streamed_and_then_whole(model: ModelServer) -> None:
    async with chat_with(model.url) as chat:
        turn = chat.turn("say one two\\nthree")
        assert (await chat.core.run(turn)).text == "one two\nthree"
        assert turn.events == [TextDelta("one "), TextDelta("two\n"), TextDelta("three")]
    [seen] = model.requests
    assert seen.body == {
        "model": MODEL,
        "messages": [{"role": "user", "content": "say one two\\nthree"}],
        "stream": True,
    }
    assert "authorization" not in seen.headers


async def test_what_is_configured_is_sent(model: ModelServer) -> None:
    changes: dict[str, Any] = {"system_prompt": "Be brief.", "temperature": 0.5, "max_reply_tokens": 10, "api_key": Secret(KEY)}
    async with chat_with(model.url, **changes) as chat:
        await chat.say("hello")
    async with chat_with(model.url, max_reply_tokens=10, reply_limit_key="max_completion_tokens") as chat:
        await chat.say("hello")
    first, second = model.requests
    assert messages(first) == [("system", "Be brief."), ("user", "hello")]
    assert (first.body["temperature"], first.body["max_tokens"], first.headers["authorization"]) == (0.5, 10, f"Bearer {KEY}")
    assert second.body["max_completion_tokens"] == 10
    assert "max_tokens" not in second.body


async def test_the_model_is_told_the_conversation_again_the_oldest_left_out_first(model: ModelServer) -> None:
    async with chat_with(model.url, system_prompt="S", max_history_tokens=60) as chat:
        for text in ("say a", "say b", "say nothing", "say c", "say d", "say e", "say f"):
            await chat.say(text)
    assert messages(model.requests[1]) == [("system", "S"), ("user", "say a"), ("assistant", "a"), ("user", "say b")]
    said = [text for role, text in messages(model.requests[-1]) if role == "assistant"]
    assert said == ["a", "b", "nothing", "c", "d", "e"][-len(said) :]
    assert 3 <= len(said) < 6


async def test_an_empty_reply_is_a_failure_of_its_own_kind_and_is_not_told_again(model: ModelServer) -> None:
    async with chat_with(model.url) as chat:
        with pytest.raises(AgentFailed, match="the model said nothing") as caught:
            await chat.say("finish stop")
        assert caught.value.kind == "empty"
        assert chat.state.rows == {}
        await chat.say("say x")
    assert messages(model.requests[1]) == [("user", "say x")]


async def test_a_conversation_outlives_the_core(model: ModelServer) -> None:
    state = StateInMemory()
    async with chat_with(model.url, state=state) as chat:
        await chat.say("say a")
        session = chat.session
    async with chat_with(model.url, state=state) as chat:
        chat.session = session
        chat.turns = 1
        await chat.say("say b")
    assert messages(model.requests[1]) == [("user", "say a"), ("assistant", "a"), ("user", "say b")]


async def test_a_turn_that_ended_is_not_run_again(model: ModelServer) -> None:
    async with chat_with(model.url) as chat:
        turn = chat.turn("say once")
        assert await chat.core.turn_state(chat.session, turn.request.turn_id) == "new"
        await chat.core.run(turn)
        assert await chat.core.turn_state(chat.session, turn.request.turn_id) == "ended"
        assert (await chat.core.resume(turn)).text == "once"
        assert (await chat.core.run(turn)).text == "once", "as when the process ended between the two commits"
        await chat.say("say twice")
    assert [seen.text for seen in model.requests] == ["say once", "say twice"]
    assert len(messages(model.requests[1])) == 3
    assert chat.state.writes == 2


async def test_what_could_not_be_stored_is_run_again(model: ModelServer) -> None:
    async with chat_with(model.url) as chat:
        turn = chat.turn("say x")
        chat.state.full = True
        with pytest.raises(StoreRefused):
            await chat.core.run(turn)
        chat.state.full = False
        assert (await chat.core.run(turn)).text == "x"
    assert len(model.requests) == 2


async def test_a_server_with_a_memory_gets_the_session_and_the_new_message_only(model: ModelServer) -> None:
    async with chat_with(model.url, session_header="X-Hermes-Session-Id") as chat:
        await chat.say("say a")
        lost = chat.turn("say b")
        assert await chat.core.turn_state(chat.session, lost.request.turn_id) == "lost"
        await chat.core.run(lost)
        assert await chat.core.turn_state(chat.session, lost.request.turn_id) == "ended"
    assert [messages(seen) for seen in model.requests] == [[("user", "say a")], [("user", "say b")]]
    assert {seen.headers["x-hermes-session-id"] for seen in model.requests} == {chat.session}


async def test_a_reply_that_reached_its_limit_says_so(model: ModelServer) -> None:
    async with chat_with(model.url) as chat:
        assert await chat.say("finish length this is lo") == f"this is lo\n\n{CUT_OFF}"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("call bash {}", "wants to call a tool"),
        ("finish content_filter Well", "content filter"),
        ("fail 400", "answers 400 Bad Request: scripted failure 400"),
        ("fail 404", "answers 404 Not Found: scripted failure 404"),
    ],
)
async def test_failures_are_for_good_and_leave_no_trace(model: ModelServer, script: str, reason: str) -> None:
    async with chat_with(model.url) as chat:
        turn = chat.turn(script)
        with pytest.raises(AgentFailed, match=reason):
            await chat.core.run(turn)
        assert await chat.core.turn_state(chat.session, turn.request.turn_id) == "new"
        assert chat.state.rows == {}
        assert await chat.say("say still here") == "still here"


@pytest.mark.parametrize(
    ("script", "text", "reason"),
    [
        ("cut half of it", "half of it", "ended its answer in the middle"),
        ("reset half of it", "half of it", "in the middle of the answer"),
        ("error the GPU is on fire", "", "broke off: the GPU is on fire"),
    ],
)
async def test_what_was_said_before_it_broke_is_a_cut_answer(model: ModelServer, script: str, text: str, reason: str) -> None:
    async with chat_with(model.url) as chat:
        final = await chat.core.run(chat.turn(script))
        assert text in final.text
        assert reason in (final.cut or "")


async def test_outages_are_told_from_refusals(model: ModelServer) -> None:
    async with chat_with(model.url, api_key=Secret(KEY)) as chat:
        with pytest.raises(TryAgain, match="429") as caught:
            await chat.say("fail 429 after=7")
        assert caught.value.after_seconds == 7
        with pytest.raises(TryAgain, match="500"):
            await chat.say("fail 500")
        for status in (401, 403):
            with pytest.raises(NeedsOperator, match="set api_key") as refused:
                await chat.say(f"fail {status}")
            assert KEY not in refused.value.reason


async def test_a_server_that_is_not_there_is_an_outage() -> None:
    async with chat_with("http://127.0.0.1:9/v1") as chat:
        with pytest.raises(TryAgain, match="Connection refused"):
            await chat.say("hello")
        assert isinstance(chat.core, DescribesItself)
        assert chat.core.facts() == CoreFacts(url="http://127.0.0.1:9/v1")


async def test_a_server_with_a_memory_is_asked_twice_only_when_it_surely_did_nothing(model: ModelServer) -> None:
    async with chat_with(model.url, session_header="x-key") as chat:
        with pytest.raises(AgentFailed, match="500"):
            await chat.say("fail 500")
        with pytest.raises(TryAgain):
            await chat.say("fail 503")
    async with chat_with("http://127.0.0.1:9/v1", session_header="x-key") as chat:
        with pytest.raises(TryAgain):
            await chat.say("hello")


async def test_a_stopped_turn_closes_the_connection(model: ModelServer) -> None:
    async with chat_with(model.url) as chat:
        turn = chat.turn("slow one two")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chat.core.run, turn)
            with trio.fail_after(10):
                await model.wait_held("one two")
            nursery.cancel_scope.cancel()
        with trio.fail_after(10):
            await model.wait_requests(lambda requests: requests[0].end == "aborted")
        assert chat.state.rows == {}


async def test_a_connection_is_used_again() -> None:
    connections = []

    async def counting(stream: trio.SocketStream) -> None:
        connections.append(stream)
        event = HELLO + b"data: [DONE]\n\n"
        body = b"%x\r\n%s\r\n" % (len(event), event)
        while True:
            await stream.send_all(HEAD.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n") + body + b"0\r\n\r\n")
            await read_request(stream)

    async with server(counting) as url, chat_with(url) as chat:
        assert [await chat.say("hello") for _ in range(3)] == ["Hello"] * 3
    assert len(connections) == 1


async def test_silence_before_the_first_word_is_an_outage(autojump_clock: MockClock) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with server(silent) as url:
        async with chat_with(url, first_token_seconds=100) as chat:
            started = trio.current_time()
            with pytest.raises(TryAgain, match="fell silent"):
                await chat.say("hello")
            assert trio.current_time() - started == pytest.approx(100, abs=1)
        async with chat_with(url, first_token_seconds=100, session_header="x-key") as chat:
            with pytest.raises(AgentFailed, match="fell silent"):
                await chat.say("hello")


async def test_a_server_that_says_that_it_will_say_something_has_not_begun(autojump_clock: MockClock) -> None:
    async def later(stream: trio.SocketStream) -> None:
        await stream.send_all(HEAD + b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n: processing\n\n')
        await trio.sleep(90)
        await stream.send_all(HELLO + b"data: [DONE]\n\n")

    async with server(later) as url, chat_with(url, first_token_seconds=100, between_tokens_seconds=10) as chat:
        assert await chat.say("hello") == "Hello"


async def test_silence_in_the_middle_cuts_the_answer(autojump_clock: MockClock) -> None:
    async def halting(stream: trio.SocketStream) -> None:
        await stream.send_all(HEAD + HELLO)
        await trio.sleep_forever()

    async with server(halting) as url, chat_with(url, between_tokens_seconds=30) as chat:
        started = trio.current_time()
        final = await chat.core.run(chat.turn("hello"))
        assert (final.text, "fell silent, in the middle of the answer" in (final.cut or "")) == ("Hello", True)
        assert trio.current_time() - started == pytest.approx(30, abs=1)


async def test_a_whole_answer_does_not_wait_for_the_end_of_its_stream(autojump_clock: MockClock) -> None:
    async def dawdling(stream: trio.SocketStream) -> None:
        await stream.send_all(HEAD + HELLO + b"data: [DONE]\n\n")
        while True:
            await stream.send_all(b"data: {}\n\n")
            await trio.sleep(1)

    async with server(dawdling) as url, chat_with(url) as chat:
        started = trio.current_time()
        assert await chat.say("hello") == "Hello"
        assert trio.current_time() - started <= 3


async def test_a_cut_before_the_first_word_is_an_outage() -> None:
    async def cutting(stream: trio.SocketStream) -> None:
        await stream.send_all(HEAD.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n"))

    async with server(cutting) as url, chat_with(url) as chat:
        with pytest.raises(TryAgain):
            await chat.say("hello")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>", "sends text/html: is url its API's base"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n<html>", "answers 404 Not Found$"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\n\r\n", "answers 302 Found$"),
        (HEAD + b"data: " + b"x" * 2_000_000, "longer than"),
        (b"HTTP/1.1 400 Bad\r\n\r\n" + b"x" * 2_000_000, "answers 400 Bad Request$"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nhalf", "answers 404 Not Found$"),
        (HEAD + b"event: hermes.tool.progress\ndata: no JSON\n\ndata: no JSON\n\n", "no chunk of an answer: no JSON"),
    ],
)
async def test_what_is_no_such_endpoint(answer: bytes, reason: str) -> None:
    async def behave(stream: trio.SocketStream) -> None:
        await stream.send_all(answer)

    async with server(behave) as url, chat_with(url) as chat:
        with trio.fail_after(10), pytest.raises(AgentFailed, match=reason):
            await chat.say("hello")
