"""The stream and the poll: broken, hung, full of junk."""

from random import Random

import pytest
import structlog
import trio
from trio.testing import MockClock

from gatewayd.agents.opencode.openagentic_server.dialect import OpenAgentic
from gatewayd.agents.opencode.opencode_server.dialect import OpenCode
from gatewayd.agents.opencode.server.client import Client
from gatewayd.agents.opencode.server.watch import Watch
from gatewayd.kit.http import create_client
from gatewayd.model.errors import TryAgain
from gatewayd.ports.agent import Final
from tests.agents.opencode.going import go
from tests.agents.opencode.house import ALLOWED, Fake, FakeTurn, open_core
from tests.fakes.opencode_server import FakeOpenAgentic, FakeOpenCode, Fault, ModelRun

BOTH = pytest.mark.parametrize("kind", [FakeOpenCode, FakeOpenAgentic])


async def shell(run: ModelRun) -> None:
    result = await run.tool("bash", {"command": f"do {run.text}"})
    await run.say(f"done: {result}")


def prompts(server: Fake) -> int:
    return sum(seen.endswith("/prompt_async") for seen in server.http.seen)


@BOTH
async def test_a_broken_stream_is_begun_anew(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    gate = trio.Event()

    async def script(run: ModelRun) -> None:
        await run.say("one ")
        await gate.wait()
        await run.tool("bash", {"command": "ls"})
        await run.say("two")

    server = kind(script)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_event(lambda turn: turn.text == "one ")
        server.break_streams()
        gate.set()  # what happens now is in no stream
        await going.turn.wait_requests()
        server.break_streams()
        going.turn.decide(0, ALLOWED)
        assert (await going.wait()).text.endswith("two")
        assert [type(step).__name__ for step in going.turn.steps] == ["ToolCall", "ToolResult"]


@pytest.mark.slow
@BOTH
async def test_an_outage_in_the_middle_is_waited_out(autojump_clock: MockClock, nursery: trio.Nursery, kind: type[Fake]) -> None:
    server = kind(shell)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests()
        await server.http.stop()
        going.turn.decide(0, ALLOWED)
        await trio.sleep(100)
        assert not going.done.is_set()
        await server.http.start()
        assert await going.wait() == Final("done: ran")
        assert server.ran == ["do go"]


async def test_junk_in_the_stream_is_ignored(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    gate = trio.Event()

    async def script(run: ModelRun) -> None:
        await gate.wait()
        await run.say("fine")

    server = FakeOpenCode(script)
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        going = go(nursery, core, FakeTurn(session, "go"))
        await trio.sleep(1)
        for kind, properties in (
            ("message.part.delta", {"sessionID": session, "delta": 7}),
            ("message.updated", {"sessionID": session, "info": []}),
            ("plugin.added", {"id": "x"}),
            ("session.error", {"sessionID": 7}),
            ("message.part.updated", {"sessionID": session, "part": {"type": "tool", "state": {"status": 5}}}),
        ):
            server.publish(session, kind, properties)
        server._send({"payload": "nonsense"})
        for stream in server._streams:
            stream.send.send_nowait(b"data: {not json\n\ndata: " + b"[" * 10_000 + b"\n\n")
            stream.send.send_nowait(b"data: " + b"x" * (9 * 1024 * 1024) + b"\n\n")  # too long: the stream is begun anew
        await trio.sleep(30)
        gate.set()
        assert await going.wait() == Final("fine")


@BOTH
async def test_an_idle_core_tells_that_its_server_is_gone(autojump_clock: MockClock, kind: type[Fake]) -> None:
    server = kind()
    async with server.serve():
        with pytest.RaisesGroup(pytest.RaisesExc(TryAgain, match="has not answered for"), flatten_subgroups=True):
            async with open_core(server):
                await trio.sleep(500)
                await server.http.stop()
                await trio.sleep(500)


@BOTH
async def test_a_server_that_hangs_is_not_waited_for_for_ever(autojump_clock: MockClock, kind: type[Fake]) -> None:
    """One of our own, which is started anew then; a remote one is, as long as a turn runs."""
    server = kind()
    async with server.serve(), create_client() as http:
        client = Client(http, server.url, {})
        dialect = OpenCode(client) if isinstance(server, FakeOpenCode) else OpenAgentic(client)
        log, rng = structlog.get_logger(), Random(1)
        watch = Watch(client, dialect, poll_seconds=2, unreachable_seconds=60, patient=False, log=log, rng=rng)
        server.http.faults = [Fault("GET", ending, "hangs", times=10**9) for ending in ("/event", "/permission")]
        began = trio.current_time()
        with pytest.RaisesGroup(pytest.RaisesExc(TryAgain, match="has not answered for"), flatten_subgroups=True):
            await watch.run()
        assert 60 < trio.current_time() - began < 150


async def test_a_stream_that_does_not_open_delays_the_prompt(autojump_clock: MockClock) -> None:
    server = FakeOpenCode()
    server.http.faults = [Fault("GET", "/event", "hangs", times=2)]
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        with pytest.raises(TryAgain, match="does not send its events"):
            await core.run(FakeTurn(session, "hi"))
        assert prompts(server) == 0
        await trio.sleep(60)
        assert await core.run(FakeTurn(session, "hi")) == Final("echo: hi")
