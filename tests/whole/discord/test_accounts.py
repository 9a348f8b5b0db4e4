"""Accounts beside each other: a broken one hurts no other, and status says what helps; interactions go one way, and status says
when it is another one."""

import json
from pathlib import Path

import pytest
import trio

from gatewayd.model.status import AccountStatus, Snapshot
from tests.whole.discord.rig import Server
from tests.whole.process import Daemon
from tests.whole.slack.rig import connected, gatewayctl

pytestmark = pytest.mark.slow

CURES = {
    "revoked": ("401", "copy a new token"),
    "blind": ("Message Content", "Privileged Gateway Intents"),
}


def state_of(snapshot: Snapshot, name: str) -> AccountStatus:
    [found] = [account for account in snapshot.accounts if account.account == name]
    return found


async def wait_state(gateway: Daemon, name: str, state: str) -> AccountStatus:
    return state_of(await gateway.wait_status(lambda snapshot: state_of(snapshot, name).state == state), name)


async def test_broken_accounts_hurt_no_other_and_status_says_what_helps(tmp_path: Path) -> None:
    with trio.fail_after(90):
        async with Server.serve(tmp_path / "good") as good:
            others = {}
            for name in CURES:
                discord = await good.discord.add_bot(name)
                (tmp_path / name).mkdir()
                others[name] = Server(discord, tmp_path / name, good.clock)
            accounts = [good.account("good"), *(other.account(name) for name, other in others.items())]
            others["blind"].discord.set_intents()
            others["revoked"].discord.reset_token()
            async with good.start(good.configuration("\n".join(accounts))) as gateway:
                parked = {name: await wait_state(gateway, name, "parked") for name in CURES}
                problems = json.loads(await gatewayctl(gateway, "status", "--json", code=1))["problems"]
                told = {problem["subject"].removeprefix("discord/"): problem["text"] for problem in problems}
                for name, parts in CURES.items():
                    assert parked[name].next_attempt_at is not None, "it is tried again, slowly"
                    for part in parts:
                        assert part in (parked[name].reason or "")
                        assert part in told[name]
                good.discord.say(good.alice, good.general, f"{good.mention} hello")
                assert await good.wait_said(good.general, 1) == ["hello"]
                assert state_of(await gateway.status(), "good").restarts == 0

                blind = others["blind"]
                blind.discord.set_intents("message_content")
                await gatewayctl(gateway, "channels", "restart", "discord/blind")
                await wait_state(gateway, "blind", "connected")
                blind.discord.say(blind.alice, blind.dm, "and now?")
                assert await blind.wait_said(blind.dm, 1) == ["and now?"]
                assert await gateway.stop() == 0
            for server in (good, *others.values()):
                assert server.discord.token not in gateway.log.read_text()


async def test_interactions_that_go_elsewhere_are_told(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with Server.serve(tmp_path) as place:
            place.discord.set_endpoint("http://127.0.0.1:9/elsewhere")
            async with place.start(place.configuration()) as gateway:
                snapshot = await gateway.wait_status(lambda snapshot: bool(connected(snapshot) and snapshot.accounts[0].lacks))
                [lack] = snapshot.accounts[0].lacks
                assert (lack.what, "Interactions Endpoint URL" in lack.reason) == ("buttons and slash commands", True)
                place.discord.say(place.alice, place.dm, "hello")
                assert await place.wait_said(place.dm, 1) == ["hello"]


async def test_a_token_whose_starts_are_nearly_used_up_begins_no_session_in_vain(tmp_path: Path) -> None:
    """Using them up resets the token."""
    with trio.fail_after(60):
        async with Server.serve(tmp_path) as place:
            place.discord.session_starts.total = 4
            async with place.start(place.configuration()) as gateway:
                await place.discord.gateway.wait_connected()
            for _ in range(3):
                place.discord.gateway.forget_sessions()
                async with place.start(place.configuration()) as gateway:
                    await gateway.wait_status(lambda snapshot: bool(snapshot.accounts[0].reason) or connected(snapshot))
            assert place.discord.session_starts.remaining > 0
            assert place.discord.token in (tmp_path / "main.token").read_text()
