"""What every test of the daemon with Slack needs: a workspace, the configuration of an account of it, and two clocks in step."""

import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, Self

import trio

from gatewayd.model.status import Snapshot
from tests.channels.slack.rig import plain_of
from tests.fakes.slack_platform import FakeSlack, Json
from tests.whole.process import Daemon, daemon

PUBLIC = "https://bots.example.org"
Mode = Literal["socket", "events"]


class Workspace:
    """A Slack with two people and a channel that they and the bot are in. ``clock`` is a file with what Slack and the daemon are
    ahead of the machine by, in seconds."""

    def __init__(self, slack: FakeSlack, folder: Path, clock: Path) -> None:
        self.slack = slack
        self.folder = folder
        self.clock = clock
        self.alice = slack.add_user("alice")
        self.bob = slack.add_user("bob")
        self.general = slack.add_channel("general", [self.alice, self.bob])
        self.dm = slack.dm(self.alice)
        self.mention = f"<@{slack.bot_user}>"

    @classmethod
    @asynccontextmanager
    async def serve(cls, folder: Path, *, mode: Mode = "socket") -> AsyncIterator[Self]:
        folder.mkdir(parents=True, exist_ok=True)
        clock = folder / "clock"
        clock.write_text("0")
        async with FakeSlack.serve(mode=mode, now=lambda: time.time() + float(clock.read_text())) as slack:
            yield cls(slack, folder, clock)

    def pass_seconds(self, seconds: float) -> None:
        """So much time goes by, for Slack and for a daemon that was started with ``--clock``."""
        ahead = float(self.clock.read_text()) + seconds
        new = self.clock.with_suffix(".new")
        new.write_text(str(ahead))
        new.replace(self.clock)

    def account(self, name: str = "main", *, mode: Mode = "socket", more: str = "", **tokens: str) -> str:
        """An account in the configuration, open to everybody. ``tokens`` replaces some of its credentials."""
        given = {"bot_token": self.slack.bot_token}
        given |= {"app_token": self.slack.app_token} if mode == "socket" else {"signing_secret": self.slack.signing_secret}
        lines = [f"[channels.slack.accounts.{name}]", f'mode = "{mode}"', f'api_base = "{self.slack.api_base}"']
        for key, value in (given | tokens).items():
            file = self.folder / f"{name}.{key}"
            file.touch(mode=0o600)
            file.write_text(value)
            lines.append(f'{key} = {{ file = "{file}" }}')
        policies = [f'{key} = "open"' for key in ("dm_policy", "group_policy") if f"{key} =" not in more]
        return "\n".join([*lines, *policies, more, ""])

    def configuration(self, account: str | None = None, *, agent: str = 'core = "echo"', gateway: str = "") -> str:
        return f'[gateway]\npublic_url = "{PUBLIC}"\n{gateway}\n[agents.assistant]\n{agent}\n{account or self.account()}'

    @asynccontextmanager
    async def start(self, text: str) -> AsyncIterator[Daemon]:
        """A daemon by this clock, on the one state of this workspace."""
        program = ("-m", "tests.whole.force.killed", "--clock", str(self.clock), "--")
        async with daemon(self.folder / "state", text, program=program) as gateway:
            yield gateway

    def said(self, channel: str, *, thread: str | None = None) -> list[str]:
        """What the bot has written there, as people read it."""
        return [plain_of(one) for one in self.slack.messages(channel, thread=thread) if one.get("bot_id") == self.slack.bot_id]

    async def wait_said(self, channel: str, count: int, *, thread: str | None = None) -> list[str]:
        """The same, once there are so many messages."""
        await self.slack.wait_until(lambda: len(self.said(channel, thread=thread)) >= count)
        return self.said(channel, thread=thread)

    async def wait_text(self, channel: str, part: str, *, thread: str | None = None) -> Json:
        """The bot's message there that has this in it."""

        def found() -> list[Json]:
            there = self.slack.messages(channel, thread=thread)
            return [one for one in there if one.get("bot_id") == self.slack.bot_id and part in plain_of(one)]

        await self.slack.wait_until(lambda: bool(found()))
        return found()[-1]

    async def wait_button(self, channel: str, label: str) -> str:
        """The ts of the newest message with this button, once there is one."""
        await self.slack.wait_until(lambda: bool(self.with_button(channel, label)))
        return self.with_button(channel, label)[-1]

    def with_button(self, channel: str, label: str) -> list[str]:
        """The ts of each message with this button, oldest first."""
        return [one["ts"] for one in self.slack.messages(channel) if label in buttons_of(one)]

    def press(self, user: str, channel: str, ts: str, label: str) -> None:
        """Press the button with this label."""
        [message] = [one for one in self.slack.messages(channel) if one["ts"] == ts]
        self.slack.press(user, channel, ts, value=buttons_of(message)[label])

    def whispers(self, channel: str) -> list[str]:
        """What only one person was shown there."""
        return [plain_of(one) for one in self.slack.ephemeral(channel)]


def buttons_of(message: Json) -> dict[str, str]:
    """The value of each button, by its label."""
    rows = [block["elements"] for block in message.get("blocks", ()) if block["type"] == "actions"]
    return {element["text"]["text"]: element["value"] for row in rows for element in row}


def connected(snapshot: Snapshot) -> bool:
    """Every account is connected."""
    return all(account.state == "connected" for account in snapshot.accounts)


def lacks_of(snapshot: Snapshot, account: str = "main") -> dict[str, str]:
    """What does not work of an account, and why."""
    [found] = [one for one in snapshot.accounts if (one.channel, one.account) == ("slack", account)]
    return {lack.what: lack.reason for lack in found.lacks}


async def gatewayctl(gateway: Daemon, *words: str, code: int = 0) -> str:
    """What an operator is told by a command, which ends with this code."""
    program = [sys.executable, "-c", "from gatewayd.cli.gatewayctl import main; raise SystemExit(main())"]
    command = [*program, "--state-dir", str(gateway.state_dir), *words]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode()


async def events(gateway: Daemon) -> list[Json]:
    """What became of each message, as an operator is told it."""
    return [json.loads(line) for line in (await gatewayctl(gateway, "events", "--json", "--kind", "inbound.*")).splitlines()]
