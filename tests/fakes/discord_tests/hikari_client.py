"""A bot made with hikari, run by test_clients.py as a process: what another client library makes of the fake's bytes."""

import sys

import hikari


class Client:
    """Answers what is said, pressed and commanded, until somebody says "bye"."""

    def __init__(self, bot: hikari.GatewayBot) -> None:
        self._bot = bot
        self._edits: dict[int, object] = {}  # embeds and pins are updates that leave edited_timestamp as it was
        bot.subscribe(hikari.StartedEvent, self.started)
        bot.subscribe(hikari.MessageCreateEvent, self.said)
        bot.subscribe(hikari.MessageUpdateEvent, self.edited)
        bot.subscribe(hikari.InteractionCreateEvent, self.interacted)

    async def started(self, event: hikari.StartedEvent) -> None:
        application = await self._bot.rest.fetch_application()
        command = self._bot.rest.slash_command_builder("ask", "Ask something")
        command.add_option(hikari.CommandOption(type=hikari.OptionType.STRING, name="text", description="What", is_required=True))
        await self._bot.rest.set_application_commands(application, [command])

    async def said(self, event: hikari.MessageCreateEvent) -> None:
        if event.author.is_bot or event.message.type is not hikari.MessageType.DEFAULT:
            return
        if event.content == "bye":
            await self._bot.close()
            return
        files = [f"{one.filename}: {(await one.read()).decode()}" for one in event.message.attachments]
        reply = await event.message.respond(f"heard {event.content} {files}", reply=True)
        if event.content == "card":
            row = self._bot.rest.build_message_action_row()
            row.add_interactive_button(hikari.ButtonStyle.PRIMARY, "allow", label="Allow")
            channel = await self._bot.rest.fetch_channel(event.channel_id)
            await reply.edit(f"May I? {type(channel).__name__}", component=row)

    async def edited(self, event: hikari.MessageUpdateEvent) -> None:
        edited = event.message.edited_timestamp
        if event.author and not event.author.is_bot and edited and self._edits.get(event.message_id) != edited:
            self._edits[event.message_id] = edited
            await event.message.respond(f"edited to {event.content}")

    async def interacted(self, event: hikari.InteractionCreateEvent) -> None:
        interaction = event.interaction
        if isinstance(interaction, hikari.ComponentInteraction):
            text = f"{interaction.custom_id} by {interaction.user.username}"
            await interaction.create_initial_response(hikari.ResponseType.MESSAGE_UPDATE, text, components=[])
        elif isinstance(interaction, hikari.CommandInteraction):
            await interaction.create_initial_response(hikari.ResponseType.DEFERRED_MESSAGE_CREATE)
            assert interaction.options
            await interaction.edit_initial_response(f"asked {interaction.options[0].value}")
            await interaction.execute("and more")


def main(api_url: str, _gateway_url: str, token: str, _silence_seconds: str) -> None:
    intents = hikari.Intents.ALL_UNPRIVILEGED | hikari.Intents.MESSAGE_CONTENT
    bot = hikari.GatewayBot(token, intents=intents, rest_url=api_url, banner=None, suppress_optimization_warning=True)
    Client(bot)
    bot.run(check_for_updates=False)


if __name__ == "__main__":
    main(*sys.argv[1:5])
