"""The daemon as a process against a Slack: what people see in their channels."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import httpx2
import pytest
import trio

from gatewayd.model.status import Snapshot
from tests.fakes.slack_platform import FakeSlack
from tests.whole.process import Daemon, daemon

pytestmark = pytest.mark.slow

Mode = Literal["socket", "events"]
MODES: tuple[Mode, ...] = ("socket", "events")
ROUTE = "/v1/webhooks/slack/main"


def configuration(slack: FakeSlack, folder: Path, mode: Mode, more: str = "") -> str:
    """A daemon with one Slack account, open to everybody."""
    lines = [f'mode = "{mode}"', f'api_base = "{slack.api_base}"', 'dm_policy = "open"', 'group_policy = "open"']
    for key in ("bot_token", "app_token", "signing_secret"):
        file = folder / f"slack.{key}"
        file.touch(mode=0o600)
        file.write_text(getattr(slack, key))
        lines.append(f'{key} = {{ file = "{file}" }}')
    return "\n".join(
        [
            '[gateway]\npublic_url = "https://bots.example.org"',
            '[agents.assistant]\ncore = "echo"',
            "[channels.slack.accounts.main]",
            *lines,
            more,
        ]
    )


@asynccontextmanager
async def both(folder: Path, mode: Mode, more: str = "") -> AsyncIterator[tuple[FakeSlack, Daemon]]:
    """A Slack, and a daemon that is connected to it."""
    async with FakeSlack.serve(mode=mode) as slack, daemon(folder, configuration(slack, folder, mode, more)) as gateway:
        slack.set_request_urls(f"{gateway.url}{ROUTE}")
        await gateway.wait_status(connected)
        yield slack, gateway


def connected(snapshot: Snapshot) -> bool:
    return all(account.state == "connected" for account in snapshot.accounts)


@pytest.fixture(autouse=True)
def bounded(nursery: trio.Nursery) -> None:
    """No test of this module may take longer than a minute."""
    nursery.start_soon(_fail_after_a_minute)


async def _fail_after_a_minute() -> None:
    await trio.sleep(60)
    raise AssertionError("the test took longer than a minute")


@pytest.mark.parametrize("mode", MODES)
async def test_a_mention_is_answered_once_in_its_thread_whatever_slack_tells_of_it(tmp_path: Path, mode: Mode) -> None:
    async with both(tmp_path, mode) as (slack, gateway):
        alice, bob = slack.add_user("alice"), slack.add_user("bob")
        general = slack.add_channel("general", [alice, bob])
        slack.say(bob, general, "good morning")
        asked = slack.say(alice, general, f"<@{slack.bot_user}> what is this?")
        assert await slack.wait_texts(general, 1, thread=asked) == ["what is this?"]
        for kind in ("unfurl", "thread", "language", "attachments", "pin"):
            slack.touch(general, asked, kind)
        slack.say(bob, general, "and more", thread=asked)
        assert await slack.wait_texts(general, 2, thread=asked) == ["what is this?", "and more"]
        await slack.wait_delivered()
        assert await gateway.stop() == 0
        assert slack.texts(general) == ["what is this?", "and more"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_direct_message_is_answered_and_what_was_written_meanwhile_too(tmp_path: Path, mode: Mode) -> None:
    async with FakeSlack.serve(mode=mode) as slack:
        alice = slack.add_user("alice")
        dm, text = slack.dm(alice), configuration(slack, tmp_path, mode)
        async with daemon(tmp_path, text) as gateway:
            slack.set_request_urls(f"{gateway.url}{ROUTE}")
            await gateway.wait_status(connected)
            slack.say(alice, dm, "one")
            assert await slack.wait_texts(dm, 1) == ["one"]
            assert await gateway.stop() == 0
        slack.drop_events()
        slack.say(alice, dm, "two")
        slack.say(alice, dm, "three")
        slack.drop_events(dropping=False)
        async with daemon(tmp_path, text) as gateway:
            slack.set_request_urls(f"{gateway.url}{ROUTE}")
            assert sorted(await slack.wait_texts(dm, 3)) == ["one", "three", "two"]
            assert await gateway.stop() == 0
        assert len(slack.texts(dm)) == 3


async def test_a_request_that_nobody_signed_is_refused(tmp_path: Path) -> None:
    async with both(tmp_path, "events") as (slack, gateway):
        assert await slack.verify_request_url(f"{gateway.url}{ROUTE}")
        async with httpx2.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{gateway.url}{ROUTE}", json={"type": "event_callback"})
        assert answer.status_code == 401


async def test_what_the_token_may_not_do_is_in_the_status(tmp_path: Path) -> None:
    async with FakeSlack.serve() as slack:
        slack.remove_scope("files:read")
        async with daemon(tmp_path, configuration(slack, tmp_path, "socket")) as gateway:
            snapshot = await gateway.wait_status(lambda snapshot: any(account.lacks for account in snapshot.accounts))
            [lack] = [lack for account in snapshot.accounts for lack in account.lacks if lack.what == "files received"]
            assert "files:read" in lack.reason


async def test_a_void_token_parks_the_account_with_its_cure_and_is_in_no_log(tmp_path: Path) -> None:
    async with FakeSlack.serve() as slack:
        slack.set_token_state("token_revoked")
        async with daemon(tmp_path, configuration(slack, tmp_path, "socket")) as gateway:
            snapshot = await gateway.wait_status(lambda snapshot: snapshot.accounts[0].state == "parked")
            assert "install the app again" in (snapshot.accounts[0].reason or "")
            assert await gateway.stop() == 0
    said = gateway.log.read_text()
    assert all(secret not in said for secret in (slack.bot_token, slack.app_token, slack.signing_secret))
