"""Who an account is: told by Slack at each start, and kept, so that a webhook can be read before that."""

import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final

import msgspec

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.receiving.inbound import Bot
from gatewayd.channels.slack.wire.answers import AuthTest, BotAnswer
from gatewayd.model.errors import GatewayError
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import ConnectionReporter
from gatewayd.ports.store import State

SCOPES: Final[Mapping[str, str]] = {
    "chat:write": "sends",
    "app_mentions:read": "mentions in channels",
    "channels:history": "messages in public channels",
    "im:history": "direct messages",
    "im:write": "the first message to a person",
    "files:read": "files received",
    "files:write": "files sent",
}
"""What each scope of the bot's token is for, on the page of the method or the event. Without the others (groups:history,
mpim:history, users:read and more) some conversations or names are missing, which may be meant."""

_WORKSPACE: Final = "one workspace"


class Identity:
    """The identity of one bot token."""

    def __init__(self, state: State, token: Secret) -> None:
        self._state = state
        self._key = f"bot.{hashlib.sha256(token.reveal().encode()).hexdigest()[:16]}"

    async def load(self) -> Bot | None:
        """As Slack told it last; None: it never did."""
        saved = await self._state.load(self._key)
        return None if saved is None else msgspec.json.decode(saved, type=Bot)

    async def learn(self, api: SlackApi, me: AuthTest) -> Bot:
        """What auth.test has said, with the app, which bots.info knows (scope users:read). :raises StoreRefused:"""
        known = await self.load()
        app_id = known.app_id if known is not None and known.bot_id == me.bot_id else None
        with suppress(GatewayError):
            app_id = (await api.ask("bots.info", {"bot": me.bot_id}, BotAnswer, purpose="fetch")).bot.app_id or app_id
        bot = Bot(team=me.team_id, user_id=me.user_id, bot_id=me.bot_id, app_id=app_id, name=me.user)
        if bot != known:
            await self._state.save(self._key, msgspec.json.encode(bot).decode())
        return bot


def tell_scopes(scopes: Collection[str], connection: ConnectionReporter) -> None:
    """Say what the token may not do. Without a scope at all, Slack has not said which there are."""
    for scope, what in SCOPES.items():
        is_missing = bool(scopes) and scope not in scopes
        cure = f'the token lacks {scope}: add it under "OAuth & Permissions", install the app again, and copy the new token'
        connection.lacks(what, cure if is_missing else None)


def tell_installation(me: AuthTest, connection: ConnectionReporter) -> None:
    """Say when the token is of a whole organisation: much of the Web API then wants to know of which workspace."""
    cure = "the app is installed for a whole organisation: install it in one workspace, and copy the token from there"
    connection.lacks(_WORKSPACE, cure if me.is_enterprise_install else None)
