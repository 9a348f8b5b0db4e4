"""Who an account is: told by Discord at each start, and kept, so that an interaction over HTTP can be read before that."""

import hashlib
from typing import Final

import msgspec

from gatewayd.channels.discord.api import DiscordApi, route
from gatewayd.channels.discord.receiving.inbound import Bot
from gatewayd.channels.discord.settings import DiscordSettings
from gatewayd.channels.discord.wire.answers import Application, User
from gatewayd.model.errors import NeedsOperator
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import ConnectionReporter
from gatewayd.ports.store import State

_MESSAGE_CONTENT: Final = 1 << 18 | 1 << 19
"""The intent is switched on, for apps in more and in fewer than 100 servers ("Application Flags")."""
_WAY: Final = "buttons and slash commands"
_PORTAL: Final = "https://discord.com/developers/applications"


class Identity:
    """The identity of one bot token."""

    def __init__(self, state: State, token: Secret) -> None:
        self._state = state
        self._key = f"bot.{hashlib.sha256(token.reveal().encode()).hexdigest()[:16]}"

    async def load(self) -> Bot | None:
        """As Discord told it last; None: it never did."""
        saved = await self._state.load(self._key)
        return None if saved is None else msgspec.json.decode(saved, type=Bot)

    async def learn(self, api: DiscordApi) -> tuple[Bot, Application]:
        """Ask Discord. :raises TryAgain: an outage. :raises NeedsOperator: the token is refused. :raises StoreRefused:"""
        application = await api.ask(route("GET /applications/@me"), Application, purpose="own")
        user = application.bot
        if user is None:
            user = await api.ask(route("GET /users/@me"), User, purpose="own")
        bot = Bot(application.id, user.id, user.username)
        if bot != await self.load():
            await self._state.save(self._key, msgspec.json.encode(bot).decode())
        return bot, application


def check_intent(application: Application, settings: DiscordSettings) -> None:
    """Before a session is begun for nothing. :raises NeedsOperator: the intent is not switched on."""
    if settings.message_content and not application.flags & _MESSAGE_CONTENT:
        raise NeedsOperator(
            'the intent "Message Content" is not switched on: switch it on under "Bot", "Privileged Gateway Intents" of the app '
            f"({_PORTAL}/{application.id}/bot), or set message_content = false",
            retries_slowly=True,
        )


def tell_way(
    application: Application, settings: DiscordSettings, webhook_url: str | None, connection: ConnectionReporter
) -> None:
    """Discord tells of interactions in one way only ("Receiving an Interaction"): say when it is another one than ours."""
    told, reason = application.interactions_endpoint_url, None
    page = f"{_PORTAL}/{application.id}/information"
    if settings.interactions == "gateway" and told:
        reason = (
            f'Discord sends them to another address: clear "Interactions Endpoint URL" ({page}), or set interactions = "http"'
        )
    elif settings.interactions == "http" and told != webhook_url:
        reason = f'Discord does not send them here: set "Interactions Endpoint URL" ({page}) to {webhook_url}'
    connection.lacks(_WAY, reason)
