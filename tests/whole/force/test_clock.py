"""The wall clock is set, forwards by a day or back by years, while a reply waits for its next attempt and a request for a person.

Nothing hangs, nothing expires that is seconds old, nothing is sent twice.
"""

from pathlib import Path

import pytest
import trio

from gatewayd.model.status import Snapshot
from tests.whole.force.force import Bench
from tests.whole.process import Daemon
from tests.whole.walks import Walk, walk_by

ALICE, BOB, CAROL = 1001, 1002, 1003
DAY = 86_400.0
FORWARDS, BACKWARDS = 1.1 * DAY, -20 * 365.25 * DAY
SAID = {ALICE: ["before", "after"], BOB: ["limited"], CAROL: ["ask me"]}
RETRY_AFTER = 3


async def something_waits(walk: Walk, bench: Bench, gateway: Daemon) -> None:
    """A reply that a rate limit holds up, and a request."""
    walk.say(ALICE, "before")
    await bench.wait_quiet(gateway)
    limited = f"Too Many Requests: retry after {RETRY_AFTER}"
    walk.api.fail_next("sendMessage", 429, limited, parameters={"retry_after": RETRY_AFTER}, when=lambda p: p["chat_id"] == BOB)
    walk.say(BOB, "limited")
    walk.say(CAROL, "ask me")
    await gateway.wait_status(both_wait)
    await walk.api.wait_call("sendMessage", when=lambda params: params["chat_id"] == BOB)


def both_wait(snapshot: Snapshot) -> bool:
    return snapshot.approvals_pending == 1 and snapshot.outbox.ready == 1 and not snapshot.outbox.sending


async def allow(gateway: Daemon) -> int:
    """The HTTP status of the answer to the one request that waits."""
    async with gateway.client() as client:
        listed = (await client.get("/v1/approvals")).json()["approvals"]
        answer = await client.post(f"/v1/approvals/{listed[0]['id']}", json={"decision": "allow"})
    return answer.status_code


@pytest.mark.force
@pytest.mark.parametrize("step", [FORWARDS, BACKWARDS], ids=["a day forwards", "twenty years back"])
async def test_while_it_runs(tmp_path: Path, step: float) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    with trio.fail_after(60):
        async with walk_by("telegram poll", tmp_path) as walk:
            bench = Bench(walk, tmp_path)
            async with bench.start(clock=clock) as gateway:
                await something_waits(walk, bench, gateway)
                set_clock(clock, step)
                assert await allow(gateway) == 200
                walk.say(ALICE, "after")
                with trio.fail_after(RETRY_AFTER + 10):
                    snapshot = await bench.wait_quiet(gateway)
                assert snapshot.ready
                assert await bench.check(gateway, SAID) == []
                assert await gateway.stop() == 0


@pytest.mark.force
@pytest.mark.parametrize("step", [0.4 * DAY, BACKWARDS], ids=["hours forwards", "twenty years back"])
async def test_over_a_restart(tmp_path: Path, step: float) -> None:
    """A machine without a battery for its clock, or one whose clock was wrong. Forwards, the request is over: it is said so."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    with trio.fail_after(60):
        async with walk_by("telegram poll", tmp_path) as walk:
            bench = Bench(walk, tmp_path)
            async with bench.start(clock=clock) as gateway:
                await something_waits(walk, bench, gateway)
                gateway.kill()
                await gateway.wait()
            set_clock(clock, step)
            async with bench.start(clock=clock) as gateway:
                if step < 0:
                    assert await allow(gateway) == 200
                walk.say(ALICE, "after")
                with trio.fail_after(RETRY_AFTER + 10):
                    await bench.wait_quiet(gateway)
                if step < 0:
                    assert await bench.check(gateway, SAID) == []
                assert await walk.texts(ALICE, gateway) == ["re: before", "re: after"]
                assert await walk.texts(BOB, gateway) == ["re: limited"]
                assert (await walk.texts(CAROL, gateway))[-1] == ("re: ask me" if step < 0 else "not allowed: expired")


@pytest.mark.force
async def test_a_reply_older_than_it_may_be_is_parked_and_not_sent_late(tmp_path: Path) -> None:
    """Over a restart nobody can tell a step from a day that has passed."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    with trio.fail_after(60):
        async with walk_by("telegram poll", tmp_path) as walk:
            bench = Bench(walk, tmp_path)
            async with bench.start(clock=clock) as gateway:
                await something_waits(walk, bench, gateway)
                gateway.kill()
                await gateway.wait()
            set_clock(clock, FORWARDS)
            async with bench.start(clock=clock) as gateway:
                await bench.wait_quiet(gateway)
                assert await walk.texts(BOB, gateway) == []
                assert [(reply.state, reply.reason) for reply in bench.rows()[1] if "limited" in reply.text] == [
                    ("parked", "stale")
                ]


def set_clock(file: Path, ahead: float) -> None:
    """At once: it is read at any time."""
    part = file.with_name("clock.part")
    part.write_text(str(ahead))
    part.replace(file)
