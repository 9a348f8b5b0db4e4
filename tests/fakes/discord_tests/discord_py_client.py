"""A bot made with discord.py, run by test_clients.py as a process: what a real client library makes of the fake's bytes."""

import logging
import sys
from typing import Any

import discord
import discord.gateway
import discord.http
import yarl
from discord import app_commands


class Client(discord.Client):
    """Answers what is said, pressed and commanded, until somebody says "bye"."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.tree = app_commands.CommandTree(self)

    async def setup_hook(self) -> None:
        @self.tree.command(name="ask", description="Ask something")
        async def ask(interaction: discord.Interaction, text: str) -> None:
            await interaction.response.defer()
            await interaction.edit_original_response(content=f"asked {text}")
            await interaction.followup.send("and more")

        await self.tree.sync()

    async def on_message(self, message: discord.Message) -> None:
        if message.author.bot or message.type is not discord.MessageType.default:
            return
        if message.content == "bye":
            await self.close()
            return
        files = [f"{one.filename}: {(await one.read()).decode()}" for one in message.attachments]
        where = type(message.channel).__name__
        reply = await message.reply(f"heard {message.content} {files}", mention_author=False)
        if message.content == "card":
            view = discord.ui.View(timeout=None)
            view.add_item(discord.ui.Button(label="Allow", custom_id="allow"))
            await reply.edit(content=f"May I? {where}", view=view)

    async def on_message_edit(self, before: discord.Message, after: discord.Message) -> None:
        if not after.author.bot and before.content != after.content:
            await after.reply(f"edited to {after.content}")

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        if interaction.type is discord.InteractionType.component:
            data: Any = interaction.data
            await interaction.response.edit_message(content=f"{data['custom_id']} by {interaction.user.name}", view=None)


def main(api_url: str, gateway_url: str, token: str, silence_seconds: str) -> None:
    discord.http.Route.BASE = api_url
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
    intents = discord.Intents(guilds=True, messages=True, message_content=True)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    Client(intents=intents, heartbeat_timeout=float(silence_seconds)).run(token, log_handler=None)


if __name__ == "__main__":
    main(*sys.argv[1:5])
