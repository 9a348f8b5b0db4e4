"""kill -9 at every named point of a message's walk, on every way in: the effect once, the reply once, or a row that says so."""

from contextlib import suppress
from pathlib import Path
from random import Random

import httpx2
import pytest
import trio

from gatewayd.hub.turns.outcome import SORRY_LOST
from tests.fakes.bot_api.bot import Call
from tests.whole.force.force import KILLED, Bench
from tests.whole.force.points import ASK, COMMITS, GROW, START, WALK, Point
from tests.whole.process import Daemon
from tests.whole.walks import WALKS, WalkName, until, walk_by

ALICE = 1001
# At these the outcome of the send is not known to whoever comes next.
UNKNOWN = {"sending", "called"}
# One stays among the quick tests; the rest is a step of its own.
ALWAYS = ("telegram poll", "journaled")
EACH = [
    pytest.param(walk, point, id=f"{walk}-{point.name}", marks=[] if (walk, point.name) == ALWAYS else [pytest.mark.force])
    for walk in WALKS
    for point in WALK
]


@pytest.mark.parametrize(("way", "point"), EACH)
async def test_killed_at(tmp_path: Path, way: WalkName, point: Point) -> None:
    with trio.fail_after(120):
        async with walk_by(way, tmp_path) as walk:
            bench = Bench(walk, tmp_path)
            gate = tmp_path / "gate" if point.name == "acknowledged" else None
            async with bench.start(at=point.name, gate=gate) as gateway:
                walk.say(ALICE, "first")
                if gate is not None:
                    await until(walk.all_acknowledged)
                    gate.touch()
                assert await gateway.wait() == KILLED
            walk.say(ALICE, "second")
            async with bench.start() as gateway:
                await bench.wait_quiet(gateway)
                walk.say(ALICE, "third")
                await bench.wait_quiet(gateway)
                unknown = await bench.check(gateway, {ALICE: ["first", "second", "third"]})
                seen = await walk.texts(ALICE, gateway)
                assert await gateway.stop() == 0
            assert unknown == (["re: first"] if point.name in UNKNOWN and not walk.resends else [])
            assert ("re: first" in seen) == (point.name != "sending" or walk.resends)
            assert bench.effects()[0].attempt == (2 if point.name == "turn_started" else 1)


@pytest.mark.force
@pytest.mark.parametrize("at", ["turn_started", "acted", "agent_ran", "ended"])
async def test_killed_under_an_agent_that_forgets_and_is_not_to_run_twice(tmp_path: Path, at: str) -> None:
    """on_lost_turn = "report": what it was at is told to its user, and never done a second time."""
    with trio.fail_after(120):
        async with walk_by("telegram poll", tmp_path) as walk:
            bench = Bench(walk, tmp_path, agent='remembers = false\non_lost_turn = "report"')
            async with bench.start(at=at) as gateway:
                walk.say(ALICE, "first")
                assert await gateway.wait() == KILLED
            walk.say(ALICE, "second")
            async with bench.start() as gateway:
                await bench.wait_quiet(gateway)
                first = "re: first" if at == "ended" else SORRY_LOST
                assert await walk.texts(ALICE, gateway) == [first, "re: second"]
                done = [effect.text for effect in bench.effects()]
                assert done == (["second"] if at == "turn_started" else ["first", "second"])
                ends = [(row.state, row.reason) for row in bench.rows()[0]]
                assert ends == [("done", "answered") if at == "ended" else ("dead", "turn_lost"), ("done", "answered")]


@pytest.mark.force
@pytest.mark.parametrize("method", ["getUpdates", "sendMessage"])
async def test_killed_when_the_platform_has_answered_and_nobody_has_read_it(tmp_path: Path, method: str) -> None:
    """A poll's updates on their way to us, and a reply that is shown."""
    with trio.fail_after(120):
        async with walk_by("telegram poll", tmp_path) as walk:
            bench = Bench(walk, tmp_path)
            async with bench.start() as gateway:
                walk.say(ALICE, "first")
                await bench.wait_quiet(gateway)

                def kill(call: Call, victim: Daemon = gateway) -> None:
                    if call.method == method and victim.process.poll() is None:
                        victim.kill()

                walk.api.watch(kill)
                walk.say(ALICE, "second")
                assert await gateway.wait() == KILLED
            walk.say(ALICE, "third")
            async with bench.start() as gateway:
                await bench.wait_quiet(gateway)
                unknown = await bench.check(gateway, {ALICE: ["first", "second", "third"]})
                assert unknown == (["re: second"] if method == "sendMessage" else [])
                # Whoever was not sure to be answered is told so, beside.
                seen = [text for text in await walk.texts(ALICE, gateway) if text.startswith("re: ")]
                assert seen == ["re: first", "re: second", "re: third"]


@pytest.mark.force
@pytest.mark.parametrize("point", ASK, ids=[point.name for point in ASK])
async def test_killed_while_it_asks_for_permission(tmp_path: Path, point: Point) -> None:
    """An operator allows whatever waits: it is done once, for a permission that was used."""
    running: list[Daemon] = []

    async def allow_all() -> None:
        while True:
            with suppress(httpx2.TransportError):
                async with running[-1].client() as client:
                    for approval in (await client.get("/v1/approvals")).json()["approvals"]:
                        await client.post(f"/v1/approvals/{approval['id']}", json={"decision": "allow"})
            await trio.sleep(0.02)

    with trio.fail_after(120):
        async with walk_by("telegram poll", tmp_path) as walk, trio.open_nursery() as nursery:
            bench = Bench(walk, tmp_path)
            async with bench.start(at=point.name) as gateway:
                running.append(gateway)
                nursery.start_soon(allow_all)
                walk.say(ALICE, "ask first")
                assert await gateway.wait() == KILLED
            walk.say(ALICE, "second")
            async with bench.start() as gateway:
                running.append(gateway)
                await bench.wait_quiet(gateway)
                assert await bench.check(gateway, {ALICE: ["ask first", "second"]}) == []
                listed = await gateway.get("/v1/approvals?state=all")
                used = [row for row in listed["approvals"] if row["consumed_at"]]  # type: ignore[attr-defined]
                assert len(used) == (2 if point.name == "used" else 1)
            nursery.cancel_scope.cancel()


TOLD = "tell " + "of a dark and stormy night on which the rain fell in torrents, except at occasional intervals."
WHILE_IT_GROWS = [(point.name, 1) for point in GROW]
AT_ITS_BEGINNING = [("taken", 1), ("sending", 1), ("called", 1), ("settled", 1)]
AT_ITS_END = [("agent_ran", 1), ("ended", 1), ("taken", 2), ("sending", 2), ("called", 2), ("settled", 2)]


@pytest.mark.force
@pytest.mark.parametrize(("at", "nth"), [*WHILE_IT_GROWS, *AT_ITS_BEGINNING, *AT_ITS_END])
async def test_killed_while_a_reply_grows(tmp_path: Path, at: str, nth: int) -> None:
    """The whole answer, in the message in which it began. Where nobody knows whether that was shown, in another one."""
    with trio.fail_after(120):
        async with walk_by("telegram poll", tmp_path) as walk:
            bench = Bench(walk, tmp_path)
            bench.config += "growing = true\ndrafts = false\n"
            async with bench.start(at=at, nth=nth) as gateway:
                walk.say(ALICE, TOLD)
                assert await gateway.wait() == KILLED
            async with bench.start() as gateway:
                await bench.wait_quiet(gateway)
                whole = f"re: {TOLD}"
                seen = await walk.texts(ALICE, gateway)
                assert seen == ([whole[:60].rstrip(), whole] if (at, nth) == ("called", 1) else [whole])
                assert [effect.text for effect in bench.effects()] == [TOLD]
                assert [(row.state, row.reason) for row in bench.rows()[0]] == [("done", "answered")]
                assert await gateway.stop() == 0


@pytest.mark.force
@pytest.mark.parametrize("seed", range(2 * len(WALKS)))
async def test_killed_again_and_again_with_many_messages_under_way(tmp_path: Path, seed: int) -> None:
    """Four chats, a message said between kills in each; each process dies at some point at some call, also while it starts."""
    rng = Random(seed)
    chats = [2000 + number for number in range(4)]
    said: dict[int, list[str]] = {chat: [] for chat in chats}
    with trio.fail_after(240):
        async with walk_by(WALKS[seed % len(WALKS)], tmp_path) as walk:
            bench = Bench(walk, tmp_path)
            if walk.name == "webchat":
                async with bench.start() as gateway:  # to log in
                    for chat in chats:
                        await walk.texts(chat, gateway)
            for generation in range(4):
                for number in range(3):
                    for chat in chats:
                        text = f"{chat} {generation} {number}"
                        said[chat].append(text)
                        walk.say(chat, text)
                point = rng.choice([*WALK, *COMMITS, *START])
                await bench.die(point.name, 1 if point in START else rng.randint(1, 30))
            async with bench.start() as gateway:
                await bench.wait_quiet(gateway)
                unknown = await bench.check(gateway, said)
                assert len(unknown) <= 4 * 4, "at most one reply of each chat for each kill"
                assert await gateway.stop() == 0
