"""gatewayctl and the real daemon, which is a process of its own."""

import json
from pathlib import Path

import trio

from gatewayd.cli.ctl.faults import NO_SUCH_PATH
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


async def test_an_approval_is_seen_and_answered(ctl: Ctl, state_dir: Path) -> None:
    body = {"channel": "webchat", "account": "main", "peer": {"kind": "dm", "id": "alice"}, "sender": {"id": "alice"}}
    async with daemon(state_dir) as running, running.client() as client:
        posted = await client.post("/v1/chat/inbound", json=body | {"text": "/demo-tool delete everything"})
        assert posted.status_code == 202
        with trio.fail_after(30):
            # Another process: there is nothing of ours to wait on.
            while not (await client.get("/v1/approvals")).json()["approvals"]:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert "approvals  1 waiting: gatewayctl approvals list\n" in (await run(ctl, "status")).out
        (waiting,) = json.loads((await run(ctl, "approvals", "list", "--json")).out)["approvals"]
        assert 'input    {"do":"delete everything"}\n' in (await run(ctl, "approvals", "show", waiting["id"])).out
        assert (await run(ctl, "approvals", "deny", waiting["id"], "--note", "not today")).code == 0
        code, out, err = await run(ctl, "approvals", "allow", waiting["id"])
        assert (code, out) == (1, "")
        assert "denied" in err
        assert "note     not today\n" in (await run(ctl, "approvals", "show", waiting["id"])).out


async def test_a_killed_daemon_is_said_to_be_gone(ctl: Ctl, state_dir: Path) -> None:
    async with daemon(state_dir) as running:
        running.kill()
        await running.wait()
        code, _, err = await run(ctl, "status")
    assert code == 2
    assert f"names process {running.process.pid}, which has ended" in err
