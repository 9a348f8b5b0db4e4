"""Accounts beside each other: a broken one hurts no other, and status says what helps; and one that another program shares."""

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from gatewayd.model.status import AccountStatus, Snapshot
from tests.fakes.bot_api import FakeBotApi
from tests.whole.process import Daemon, daemon
from tests.whole.slack.rig import Workspace, connected, gatewayctl, lacks_of
from tests.whole.test_telegram import ALICE, configuration

pytestmark = pytest.mark.slow

CURES = {
    "revoked": ("token_revoked", '"Install App"'),
    "mixed": (
        "invalid_auth",
        'app-level token (xapp-…) with the scope connections:write: generate one under "Basic Information"',
    ),
    "off": ("link_disabled", 'turn it on under "Socket Mode"'),
}


def state_of(snapshot: Snapshot, name: str) -> AccountStatus:
    [found] = [account for account in snapshot.accounts if account.account == name]
    return found


async def wait_state(gateway: Daemon, name: str, state: str) -> AccountStatus:
    return state_of(await gateway.wait_status(lambda snapshot: state_of(snapshot, name).state == state), name)


async def test_broken_accounts_hurt_no_other_and_status_says_what_helps(tmp_path: Path) -> None:
    with trio.fail_after(90):
        async with AsyncExitStack() as stack:
            good, mixed, revoked, off = [
                await stack.enter_async_context(Workspace.serve(tmp_path / name)) for name in ("good", "mixed", "revoked", "off")
            ]
            for number, other in enumerate((mixed, revoked, off)):
                other.slack.renew_tokens(str(number))
            api = await stack.enter_async_context(FakeBotApi.serve())
            accounts = [
                good.account("good"),
                mixed.account("mixed", app_token="xapp-1-A0ANOTHER0-100000000009-ofAnotherApp000000"),
                revoked.account("revoked"),
                off.account("off"),
            ]
            text = configuration(api, tmp_path, more="\n" + "\n".join(accounts))
            revoked.slack.set_token_state("token_revoked")
            gateway = await stack.enter_async_context(daemon(tmp_path / "state", text))
            await wait_state(gateway, "off", "connected")
            await off.slack.wait_connections(2)
            await off.slack.disconnect("link_disabled")
            parked = {name: await wait_state(gateway, name, "parked") for name in CURES}
            problems = json.loads(await gatewayctl(gateway, "status", "--json", code=1))["problems"]
            told = {problem["subject"].removeprefix("slack/"): problem["text"] for problem in problems}
            for name, (error, cure) in CURES.items():
                account = parked[name]
                assert account.next_attempt_at is not None, "it is tried again, slowly"
                for part in (error, cure):
                    assert part in (account.reason or ""), name
                    assert part in told[name], name

            api.user_sends(ALICE, "hello")
            assert await api.wait_texts(ALICE, 1) == ["hello"]
            await good.slack.wait_connections()
            asked = good.slack.say(good.alice, good.general, f"{good.mention} hello")
            assert await good.wait_said(good.general, 1, thread=asked) == ["hello"]
            snapshot = await gateway.status()
            assert (state_of(snapshot, "good").restarts, state_of(snapshot, "main").restarts) == (0, 0)
            assert (snapshot.ready, lacks_of(snapshot, "good")) == (False, {})

            revoked.slack.set_token_state("active")
            await gatewayctl(gateway, "channels", "restart", "slack/revoked")
            await wait_state(gateway, "revoked", "connected")
            revoked.slack.say(revoked.alice, revoked.dm, "and now?")
            assert await revoked.wait_said(revoked.dm, 1) == ["and now?"]
            assert await gateway.stop() == 0


async def test_another_program_with_the_same_app_token_is_told(tmp_path: Path) -> None:
    """Slack gives each event to one of the connections, so this account does not hear all of them."""
    with trio.fail_after(60):
        async with Workspace.serve(tmp_path) as place, daemon(tmp_path / "state", place.configuration()) as gateway:
            slack = place.slack
            await slack.wait_connections(2)
            assert lacks_of(await gateway.wait_status(connected)) == {}
            slack.foreign_connections(3)
            await slack.disconnect("refresh_requested", index=-1, closes=False)
            snapshot = await gateway.wait_status(lambda snapshot: "all events" in lacks_of(snapshot))
            assert "another program uses this app token (connections that are not ours: 3)" in lacks_of(snapshot)["all events"]
            assert [(problem.code, problem.subject) for problem in snapshot.problems] == [("account_degraded", "slack/main")]
            assert connected(snapshot)
            slack.say(place.alice, place.dm, "to one of ours")
            assert await place.wait_said(place.dm, 1) == ["to one of ours"]
            slack.foreign_connections(0)
            await slack.disconnect("refresh_requested", index=-1, closes=False)
            await gateway.wait_status(lambda snapshot: lacks_of(snapshot) == {} and snapshot.problems == ())


async def test_an_app_that_has_all_its_connections_elsewhere_is_told(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with Workspace.serve(tmp_path) as place:
            place.slack.foreign_connections(9)
            async with daemon(tmp_path / "state", place.configuration()) as gateway:
                snapshot = await gateway.wait_status(lambda snapshot: "connections" in lacks_of(snapshot))
                assert lacks_of(snapshot)["connections"].startswith(
                    "1 of 2 are open: Slack Socket Mode answered too_many_websockets"
                )
                place.slack.foreign_connections(0)
                await place.slack.wait_connections(2)
                await gateway.wait_status(lambda snapshot: "connections" not in lacks_of(snapshot))
