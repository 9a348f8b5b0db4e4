"""What every test of the daemon with Discord needs: a server, the configuration of an account, and two clocks in step."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from tests.channels.discord.reader import plain_of
from tests.fakes.discord_platform import FakeDiscord
from tests.whole.process import Daemon, daemon

PUBLIC = "https://bots.example.org"
FOLLOW_UP = "POST /webhooks/{webhook_id}/{webhook_token}"


class Server:
    """A Discord with two people and a channel that they and the bot are in. ``clock`` is a file with what Discord and the daemon
    are ahead of the machine by, in seconds."""

    def __init__(self, discord: FakeDiscord, folder: Path, clock: Path) -> None:
        self.discord = discord
        self.folder = folder
        self.clock = clock
        self.alice, self.bob = discord.add_user("alice"), discord.add_user("bob")
        self.guild = discord.add_guild("Home", members=[self.alice, self.bob])
        self.general = discord.add_channel(self.guild, "general")
        self.thread = discord.open_thread(self.bob, self.general, "a topic")
        self.dm = discord.dm(self.alice)
        self.mention = f"<@{discord.bot_id}>"
        discord.gateway.state.sessions.life_seconds = 3600.0
        discord.session_starts.max_concurrency = 16  # the clock is ahead of the five seconds between two

    @classmethod
    @asynccontextmanager
    async def serve(cls, folder: Path) -> AsyncIterator[Self]:
        folder.mkdir(parents=True, exist_ok=True)
        clock = folder / "clock"
        clock.write_text("0")
        async with FakeDiscord.serve(now=lambda: time.time() + float(clock.read_text())) as discord:
            yield cls(discord, folder, clock)

    def pass_seconds(self, seconds: float) -> None:
        """So much time goes by, for Discord and for a daemon that was started with ``--clock``."""
        ahead = float(self.clock.read_text()) + seconds
        new = self.clock.with_suffix(".new")
        new.write_text(str(ahead))
        new.replace(self.clock)

    def account(self, name: str = "main", *, more: str = "") -> str:
        """An account in the configuration, open to everybody."""
        file = self.folder / f"{name}.token"
        file.touch(mode=0o600)
        file.write_text(self.discord.token)
        lines = [f"[channels.discord.accounts.{name}]", f'api_base = "{self.discord.api_url}"', f'token = {{ file = "{file}" }}']
        policies = [f'{key} = "open"' for key in ("dm_policy", "group_policy") if f"{key} =" not in more]
        return "\n".join([*lines, *policies, more, ""])

    def configuration(self, account: str | None = None, *, agent: str = 'core = "echo"', gateway: str = "") -> str:
        return f'[gateway]\npublic_url = "{PUBLIC}"\n{gateway}\n[agents.assistant]\n{agent}\n{account or self.account()}'

    @asynccontextmanager
    async def start(self, text: str) -> AsyncIterator[Daemon]:
        """A daemon by this clock, on the one state of this server."""
        program = ("-m", "tests.whole.force.killed", "--clock", str(self.clock), "--")
        async with daemon(self.folder / "state", text, program=program) as gateway:
            yield gateway

    def said(self, channel: str) -> list[str]:
        """What the bot has written there, as people read it."""
        return [plain_of(text) for text in self.discord.texts(channel)]

    async def wait_said(self, channel: str, count: int) -> list[str]:
        """The same, once there are so many messages."""
        await self.discord.wait_texts(channel, count)
        return self.said(channel)

    def with_button(self, channel: str, label: str) -> list[str]:
        """The id of each message with this button, oldest first."""
        return [
            one["id"]
            for one in self.discord.messages(channel)
            if any(it.get("label") == label for it in self.discord.buttons(one["id"]))
        ]

    async def wait_button(self, channel: str, label: str) -> str:
        """The id of the newest message with this button, once there is one."""
        await self.discord.wait_until(lambda: bool(self.with_button(channel, label)))
        return self.with_button(channel, label)[-1]

    def whispers(self) -> list[str]:
        """What only who pressed was shown."""
        return [plain_of(str(body["content"])) for body in self.discord.calls(FOLLOW_UP)]
