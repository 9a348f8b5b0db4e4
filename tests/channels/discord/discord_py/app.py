"""A bot as discord.py's quickstart makes one, with a command and a button as its guides have them, run by test_discord_py.py.

Usage: app.py <api base> <gateway> <token>. It does what messages say: ``echo WORDS``, ``slow WORDS`` (after four seconds),
``parts`` (three messages), ``long NUMBER`` (so many letters), ``card`` (a button). Its command ``/slow`` takes as long. It prints
a line of JSON for each event that a listener gets, and for each error in one.
"""

import asyncio  # noqa: TID251  # discord.py runs on it
import json
import sys
import warnings
from typing import Any

warnings.simplefilter("default")  # what it imports is deprecated

import discord  # noqa: E402
import discord.gateway  # noqa: E402
import discord.http  # noqa: E402
import yarl  # noqa: E402
from discord import app_commands  # noqa: E402

SLOW_SECONDS = 4.0


def tell(**seen: Any) -> None:
    sys.stdout.write(json.dumps(seen) + "\n")
    sys.stdout.flush()


class Card(discord.ui.View):
    def __init__(self) -> None:
        super().__init__(timeout=None)

    @discord.ui.button(label="Allow", custom_id="allow")
    async def allow(self, interaction: discord.Interaction, button: Any) -> None:
        tell(pressed=interaction.user.name)
        await interaction.response.send_message("allowed")


class Client(discord.Client):
    def __init__(self) -> None:
        super().__init__(intents=discord.Intents(guilds=True, messages=True, message_content=True))
        self.tree = app_commands.CommandTree(self)

    async def setup_hook(self) -> None:
        @self.tree.command(name="slow", description="Takes its time")
        async def slow(interaction: discord.Interaction) -> None:
            await asyncio.sleep(SLOW_SECONDS)
            await interaction.response.send_message("done")

        @self.tree.error
        async def on_error(interaction: discord.Interaction, error: app_commands.AppCommandError) -> None:
            tell(failed="command", why=str(error))

        self.add_view(Card())
        await self.tree.sync()

    async def on_message(self, message: discord.Message) -> None:
        if message.author == self.user:
            return
        tell(seen=message.type.name, content=message.content)
        verb, _, words = message.content.partition(" ")
        say = message.channel.send
        match verb:
            case "echo":
                await say(words)
            case "slow":
                await asyncio.sleep(SLOW_SECONDS)
                await say(words)
            case "parts":
                await say("part 1")
                tell(part=1)
                await asyncio.sleep(1)
                await say("part 2")
                await say("part 3")
            case "long":
                await say("x" * int(words))
            case "card":
                await say("May I?", view=Card())

    async def on_message_edit(self, before: discord.Message, after: discord.Message) -> None:
        tell(edited=after.content)

    async def on_error(self, event_method: str, /, *arguments: Any, **more: Any) -> None:
        tell(failed=event_method, why=str(sys.exception()))


def main(api_url: str, gateway_url: str, token: str) -> None:
    discord.http.Route.BASE = api_url
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
    Client().run(token, log_handler=None)


if __name__ == "__main__":
    main(*sys.argv[1:4])
