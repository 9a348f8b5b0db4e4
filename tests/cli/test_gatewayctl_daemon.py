"""gatewayctl and the real daemon, which is a process of its own."""

import json
import time
from pathlib import Path

import pytest
import trio

from gatewayd.cli.ctl.connection.errors import NO_SUCH_PATH
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import RichText, SendText
from gatewayd.ports.store import OutboundDraft
from gatewayd.stores.sqlite import open_store, run_inline
from tests.cli.conftest import Ctl, Ran
from tests.whole.process import daemon


async def run(ctl: Ctl, *args: str) -> Ran:
    """gatewayctl blocks, as a command may: in a thread here, beside what reads the daemon's log."""
    with trio.fail_after(60):
        return await trio.to_thread.run_sync(lambda: ctl(*args))


async def test_an_operator_s_day(ctl: Ctl, state_dir: Path) -> None:
    async with daemon(state_dir) as running:
        code, out, err = await run(ctl, "status")
        assert (code, err) == (0, "")
        assert out.startswith("healthy: 1 account connected\n")
        (account,) = json.loads((await run(ctl, "channels", "list", "--json")).out)["accounts"]
        name = f"{account['channel']}/{account['account']}"

        assert (await run(ctl, "channels", "stop", name)).code == 0
        assert "1 stopped by an operator" in (await run(ctl, "status")).out
        assert "stopped" in (await run(ctl, "channels", "list")).out
        assert (await run(ctl, "channels", "start", account["channel"])).code == 0
        assert "(404)" in (await run(ctl, "channels", "stop", "webchat/nobody")).err

        where = ("--channel", account["channel"], "--account", account["account"], "--peer", "dm:Alice")
        assert "rule         default: no binding matches" in (await run(ctl, "route", *where)).out

        where = ("--channel", "webchat", "--account", "nobody", "--peer", "dm:Alice")
        assert (await run(ctl, "route", *where)).err.startswith("gatewayctl: there is no account webchat/nobody")
        async with running.client() as client:
            of_another_release = await client.get("/v1/gateway/horoscope")
        assert of_another_release.json()["error"] == {"code": "not_found", "message": NO_SUCH_PATH}

        link = await run(ctl, "webchat", "link", "--name", "alice")
        assert link.out.startswith(running.url)
        assert link.err.startswith("for alice, works once, within 1")
        assert (await run(ctl, "pairing", "list")).out == "nobody is waiting\n"
        assert "(404)" in (await run(ctl, "pairing", "approve", "NONE")).err

        events = [json.loads(line) for line in (await run(ctl, "events", "--json")).out.splitlines()]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        wanted = (await run(ctl, "events", "--kind", "channels.*", "--kind", "gateway.ready")).out.splitlines()
        assert {line.split()[3] for line in wanted} == {"channels.state", "channels.webchat.link", "gateway.ready"}
        assert (await run(ctl, "events", "--kind", "no such kind")).code == 1

        assert await running.stop() == 0
        code, out, err = await run(ctl, "status")
        assert (code, out) == (2, "")
        assert err.startswith("unreachable: No running gatewayd found")


@pytest.mark.slow
async def test_an_approval_is_seen_and_answered(ctl: Ctl, state_dir: Path) -> None:
    body = {"channel": "webchat", "account": "main", "peer": {"kind": "dm", "id": "alice"}, "sender": {"id": "alice"}}
    async with daemon(state_dir) as running, running.client() as client:
        posted = await client.post("/v1/chat/inbound", json=body | {"text": "/demo-tool delete everything"})
        assert posted.status_code == 202
        with trio.fail_after(30):
            # Another process: there is nothing of ours to wait on.
            while not (await client.get("/v1/approvals")).json()["approvals"]:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert "approvals     1 waiting: gatewayctl approvals list\n" in (await run(ctl, "status")).out
        (waiting,) = json.loads((await run(ctl, "approvals", "list", "--json")).out)["approvals"]
        assert 'input    {"do":"delete everything"}\n' in (await run(ctl, "approvals", "show", waiting["id"])).out
        assert (await run(ctl, "approvals", "deny", waiting["id"], "--note", "not today")).code == 0
        code, out, err = await run(ctl, "approvals", "allow", waiting["id"])
        assert (code, out) == (1, "")
        assert "denied" in err
        assert "note     not today\n" in (await run(ctl, "approvals", "show", waiting["id"])).out


async def leave_dead_letters(state_dir: Path, number: int) -> None:
    """As a daemon leaves them: so many messages that were given up, and a reply that was cut off while it was sent."""
    peer = Peer("dm", "alice")
    texts = [f"message {index}" for index in range(number)]
    messages = [
        InboundEnvelope("webchat", "main", text, "message", peer, Sender("alice"), text=text, received_at=time.time())
        for text in texts
    ]
    async with open_store(state_dir, now=time.time, run_blocking=run_inline) as store:
        ids = [row.id for row in (await store.add_inbound(messages)).rows]
        await store.start_turn(ids, turn_id="turn-1", session_key="assistant:webchat:main:dm:alice")
        await store.end_inbound(ids, state="dead", reason="agent_failed", now=time.time())
        reply = OutboundDraft("webchat", "main", "webchat:main:dm:alice", SendText(peer, RichText("is it there?")))
        [row] = await store.add_outbound([reply], now=time.time())
        await store.mark_sending(row.id)
        await store.settle_outbound(row.id, "unknown", now=time.time(), reason="cut_off")


@pytest.mark.slow
async def test_dead_letters_are_repaired_and_traces_told(ctl: Ctl, state_dir: Path) -> None:
    await leave_dead_letters(state_dir, 620)
    async with daemon(state_dir) as running:
        code, out, _ = await run(ctl, "status")
        assert (code, out.splitlines()[0]) == (0, "healthy: 1 account connected, 2 warnings")
        assert "dead letters  621 waiting: gatewayctl dead-letters list\n" in out
        listed = (await run(ctl, "dead-letters", "list", "--limit", "2")).out
        assert "waiting in all: 620 messages given up, 1 unknown reply\n" in listed
        cursor = listed.partition("--before ")[2].split()[0]
        assert "in-618" in (await run(ctl, "dead-letters", "list", "--limit", "2", "--before", cursor)).out
        assert "  message 6\n" in (await run(ctl, "dead-letters", "show", "in-7")).out

        assert (await run(ctl, "dead-letters", "retry", "in-7", "in-9999")).code == 1
        async with running.client() as client:
            with trio.fail_after(30):
                # Another process: there is nothing of ours to wait on.
                while "answered" not in (await client.get("/v1/messages/in-7")).text:  # noqa: ASYNC110
                    await trio.sleep(0.01)
        for wanted in ("in-7", "turn-7-1", "message 6", "webchat/main/message 6"):
            told = (await run(ctl, "trace", wanted)).out
            assert told.startswith(f"{wanted}: in-7"), told
            assert "operator:local" in told
        assert "The trace is longer than what is shown here" in (await run(ctl, "trace", "assistant:webchat:main:dm:alice")).out
        assert (await run(ctl, "trace", "no such id")).code == 1

        code, _, err = await run(ctl, "dead-letters", "retry", "out-1")
        assert (code, "may be seen twice" in err) == (64, True)
        assert "out-1 retried: ready\n" in (await run(ctl, "dead-letters", "retry", "out-1", "--yes", "--note", "looked")).out
        code, out, err = await run(ctl, "dead-letters", "drop", "--all", "--reason", "agent_failed", "--yes")
        assert (code, err) == (0, "")
        assert out.startswith("619 dead letters: 619 messages given up\n  500 of 619 dead letters dropped …\n")
        assert out.endswith("619 of 619 dead letters dropped\n")
        assert (await run(ctl, "dead-letters", "list")).out == "no dead letters\n"
        assert (await run(ctl, "audit", "verify")).code == 0
        for page in ("approvals", "dead-letters", "trace"):
            assert (await run(ctl, "console", page)).out.startswith(f"{running.url}/{page}#code=")


@pytest.mark.slow
async def test_a_killed_daemon_is_said_to_be_gone(ctl: Ctl, state_dir: Path) -> None:
    async with daemon(state_dir) as running:
        running.kill()
        await running.wait()
        code, _, err = await run(ctl, "status")
    assert code == 2
    assert f"names process {running.process.pid}, which has ended" in err
