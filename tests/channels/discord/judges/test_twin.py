"""A whole account, judged by a Discord that others have built for the tests of their bots (npm, discord-digital-twin)."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE
from typing import Any

import msgspec
import pytest
import trio

from gatewayd.channels.discord.channel import DiscordChannel, open_discord
from gatewayd.channels.discord.receiving.inbound import Bot
from gatewayd.channels.discord.settings import DiscordSettings
from gatewayd.kit.http import create_client
from gatewayd.kit.text.markdown import render
from gatewayd.model.errors import NeedsOperator, SendRejected
from gatewayd.model.message.commands import COMMANDS
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, EditText, SendText, Typing
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import AccountConfig
from gatewayd.testing.channel_contract import Journal, Services
from tests import npm

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
GUILD, GENERAL, ADA, BOT = (str(1_100_000_000_000_000_000 + at) for at in range(4))
PEER = Peer("group", GENERAL)
TOKEN = "a-token-of-the-twin"
WORLD = {
    "botToken": TOKEN,
    "botUser": {"id": BOT, "username": "gatebot"},
    "guild": {"id": GUILD, "name": "Home"},
    "channels": [{"id": GENERAL, "name": "general", "type": 0}],
    "users": [{"id": ADA, "username": "ada"}],
}
ALLOW = ((Choice("Allow", "ap:1:yes"), Choice("Deny", "ap:1:no")),)


class Twin:
    """The running server."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._read = b""
        self.api_base = ""

    async def answer(self) -> Any:
        while b"\n" not in self._read:
            self._read += (data := await self._stdout.receive_some())
            assert data, "the twin has ended"
        line, _, self._read = self._read.partition(b"\n")
        return msgspec.json.decode(line)

    async def do(self, method: str, *, table: str | None = None, **argument: Any) -> Any:
        call = {"method": method, "argument": argument, **({} if table is None else {"table": table})}
        await self._stdin.send_all(msgspec.json.encode(call) + b"\n")
        return await self.answer()

    async def say(self, text: str) -> str:
        """Ada writes; the id of the message."""
        message = await self.do("simulateUserMessage", channelId=GENERAL, userId=ADA, content=text)
        return str(message["id"])

    async def message(self, message_id: str | None) -> Any:
        """What the database has of ``{channel}:{message}``."""
        return await self.do("findUnique", table="message", where={"id": (message_id or "").partition(":")[2]})

    async def answered(self, interaction: str) -> int:
        """The type of the first answer to an interaction."""
        while True:
            found = await self.do("findUnique", table="interactionResponse", where={"interactionId": interaction})
            if found["acknowledged"]:
                return int(found["type"])


class RealTime(Services):
    """The twin dates its messages by the clock of the machine."""

    def now(self) -> float:
        return time.time()


@asynccontextmanager
async def twin() -> AsyncIterator[Twin]:
    home = npm.installed(HERE / "package.json", "discord-digital-twin")
    command = ["node", "--input-type=module", "--eval", (HERE / "twin.mjs").read_text(), msgspec.json.encode(WORLD).decode()]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, command, cwd=home, stdin=PIPE, stdout=PIPE, check=False))
        with trio.fail_after(60):
            running = Twin(process)
            running.api_base = f"{await running.answer()}/v10"
            yield running
        await process.stdin.aclose()


@asynccontextmanager
async def account(api_base: str, token: str = TOKEN) -> AsyncIterator[tuple[DiscordChannel, Services]]:
    async with create_client() as http:
        services = RealTime(http)
        settings = DiscordSettings(token=Secret(token), api_base=api_base)
        async with open_discord(AccountConfig("discord", "main", settings=settings), services) as channel:
            yield channel, services


async def test_a_discord_that_others_built_takes_what_we_do() -> None:
    async with twin() as discord:
        async with account(discord.api_base, "another-token") as (channel, services):
            with pytest.raises(ExceptionGroup) as parked:
                await channel.listen(Journal(services))
            assert parked.group_contains(NeedsOperator, match="does not accept the token")
        async with account(discord.api_base) as (channel, services), trio.open_nursery() as nursery:
            journal = Journal(services)
            nursery.start_soon(channel.listen, journal)
            await services.is_connected.wait()
            assert services.connected_as == ["@gatebot"]
            await talks(discord, channel, journal)
            await looks_up(discord, channel)
            await is_refused(channel)
            registered = await discord.do("findMany", table="applicationCommand")
            assert {it["name"] for it in registered} == {it.name.removeprefix("/") for it in COMMANDS if it.menu}
            assert {name: why for name, why in services.lacking.items() if why is not None} == {}
            nursery.cancel_scope.cancel()


async def talks(discord: Twin, channel: DiscordChannel, journal: Journal) -> None:
    said = await discord.say(f"<@{BOT}> hello")
    heard = await journal.wait_text("hello")
    assert (heard.peer, heard.guild, heard.sender.id) == (PEER, GUILD, ADA)
    await channel.signal(Typing(PEER))
    assert len(await discord.do("getTypingEvents")) == 1
    text = "**bold** _it_ `x` @everyone [l](https://e.org/?a=1&b=2)\n\n> q\n\n```py\nx < 1\n```"
    card = await channel.send(SendText(PEER, render(text), reply_to=heard.message_id, choices=ALLOW), key="1")
    there = await discord.message(card.message_id)
    assert there["content"].startswith("**bold** *it* `x` @everyone [l](<https://e.org/?a=1&b=2>)")
    assert (there["nonce"], msgspec.json.decode(there["messageReference"])["message_id"]) == ("1", said)
    [row] = msgspec.json.decode(there["components"])
    press = await discord.do(
        "simulateButtonClick",
        channelId=GENERAL, userId=ADA, messageId=there["id"], customId=row["components"][0]["custom_id"],
    )  # fmt: skip
    [pressed] = await journal.wait_presses(1)
    assert (pressed.text, pressed.message_id, pressed.sender.id) == ("ap:1:yes", card.message_id, ADA)
    assert await discord.answered(press["id"]) == 6
    await channel.send(EditText(PEER, render("Allowed by ada"), of=1, message_id=card.message_id), key="2")
    there = await discord.message(card.message_id)
    assert (there["content"], there["components"]) == ("Allowed by ada", "[]")
    command = await discord.do("simulateSlashCommand", channelId=GENERAL, userId=ADA, name="status")
    asked = await journal.wait_event("the command", lambda it: it.kind == "command")
    assert (asked.text, asked.peer, await discord.answered(command["id"])) == ("/status", PEER, 5)
    filled = await channel.send(SendText(PEER, render("Nothing runs"), answer_with=asked.answer_with), key="3")
    assert (await discord.message(filled.message_id))["content"] == "Nothing runs"
    await discord.do("simulateUserMessageEdit", messageId=said, channelId=GENERAL, content=f"<@{BOT}> hello, all")
    edited = await journal.wait_event("the edit", lambda it: it.kind == "edit")
    assert (edited.text, edited.message_id) == ("hello, all", heard.message_id)
    await discord.do("simulateUserMessageDelete", messageId=said, channelId=GENERAL)
    gone = await journal.wait_event("the deletion", lambda it: it.kind == "deleted")
    assert gone.message_id == heard.message_id


async def looks_up(discord: Twin, channel: DiscordChannel) -> None:
    """As the next life of the process does, which knows of no key."""
    since = time.time() - 5
    sent = await channel.send(SendText(PEER, render("a *long* way")), key="4")
    async with account(discord.api_base) as (another, _):
        await another.become(Bot(application_id=BOT, user_id=BOT, name="gatebot"))
        assert await another.find_sent(SendText(PEER, render("a *long* way")), key="4", since=since) == sent
        assert await another.find_sent(SendText(PEER, render("never said")), key="5", since=since) is None


async def is_refused(channel: DiscordChannel) -> None:
    with pytest.raises(SendRejected, match="10008"):
        await channel.send(EditText(PEER, render("x"), of=1, message_id=f"{GENERAL}:{GUILD}"), key="6")
    with pytest.raises(SendRejected, match="10003"):
        await channel.send(SendText(Peer("group", GUILD), render("x")), key="7")
