"""Interactions: what people press and command, and how an app may answer ("Receiving and Responding")."""

from collections.abc import Callable

import trio
from msgspec import Struct

from tests.fakes.discord_platform.errors import ApiError, Json, invalid_form, unknown
from tests.fakes.discord_platform.model import shapes
from tests.fakes.discord_platform.model.cdn import Upload
from tests.fakes.discord_platform.model.events import Event
from tests.fakes.discord_platform.model.guilds import Channel
from tests.fakes.discord_platform.model.messages import EDITABLE, Draft, Messages
from tests.fakes.discord_platform.model.world import World

ANSWER_SECONDS = 3.0
TOKEN_SECONDS = 900.0
COMMAND = 2
COMPONENT = 3
"""Interaction types."""
MESSAGE, DEFERRED_MESSAGE, DEFERRED_UPDATE, UPDATE, MODAL = 4, 5, 6, 7, 9
"""Interaction callback types."""


class Interaction(Struct):
    """``answer`` is the type of the callback; ``is_loading``: a deferred message that nobody filled yet."""

    data: Json
    channel: Channel
    user_id: str
    made_at: float
    answered_at: float | None = None
    answer: int | None = None
    original: Json | None = None
    is_loading: bool = False
    modal: Json | None = None
    followups: list[str] = []

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def token(self) -> str:
        return str(self.data["token"])

    @property
    def is_component(self) -> bool:
        return bool(self.data["type"] == COMPONENT)


class Interactions:
    """Makes interactions and takes their answers. Each goes by the gateway, or by HTTP where the app has an endpoint URL."""

    def __init__(self, world: World, messages: Messages) -> None:
        self._world = world
        self._messages = messages
        self._by_token: dict[str, Interaction] = {}
        self.all: dict[str, Interaction] = {}
        self.send_by_http: Callable[[Interaction], None] = lambda _: None

    def press(
        self, user_id: str, channel: Channel, message: Json, custom_id: str, values: list[str] | None = None
    ) -> Interaction:
        """A button, or a select menu with ``values``.

        :raises KeyError: the message has no such component, or it is disabled.
        """
        component = find_component(message.get("components", ()), custom_id)
        if component is None or component.get("disabled"):
            raise KeyError(custom_id)
        data: Json = {"component_type": component["type"], "custom_id": custom_id, "id": component["id"]}
        if values is not None:
            data["values"] = values
        shown = self._messages.shown(message)
        return self._send(user_id, channel, COMPONENT, data, {"message": shown})

    def command(
        self,
        user_id: str,
        channel: Channel,
        name: str,
        options: Json | None = None,
        *,
        target_user: str | None = None,
        target_message: Json | None = None,
    ) -> Interaction:
        """A command that is registered: CHAT_INPUT, or USER or MESSAGE with its target.

        :raises KeyError: no such command is registered.
        """
        kind = 2 if target_user else 3 if target_message else 1
        registered = self._registered(channel, name, kind)
        data: Json = {"id": registered["id"], "name": name, "type": kind}
        if "guild_id" in registered:
            data["guild_id"] = registered["guild_id"]
        if options:
            types = {option["name"]: option["type"] for option in registered.get("options", ())}
            data["options"] = [{"name": key, "type": types[key], "value": value} for key, value in options.items()]
        if target_user:
            data |= {"target_id": target_user, "resolved": {"users": {target_user: self._world.users[target_user]}}}
            member = channel.guild.members.get(target_user) if channel.guild else None
            if member is not None:
                data["resolved"]["members"] = {target_user: _without_user(member, channel.permissions_of(target_user))}
        if target_message:
            resolved = {"messages": {target_message["id"]: self._messages.shown(target_message)}}
            data |= {"target_id": target_message["id"], "resolved": resolved}
        return self._send(user_id, channel, COMMAND, data, {})

    def _registered(self, channel: Channel, name: str, kind: int) -> Json:
        commands = self._world.application.commands
        for scope in ("", channel.guild.id if channel.guild else ""):
            for command in commands.get(scope, ()):
                if command["name"] == name and command["type"] == kind:
                    return command
        raise KeyError(name)

    def _send(self, user_id: str, channel: Channel, kind: int, data: Json, extra: Json) -> Interaction:
        user = self._world.users[user_id]
        interaction_id = self._world.snowflakes.make()
        payload: Json = {
            "id": interaction_id,
            "application_id": self._world.application.id,
            "type": kind,
            "data": data,
            "channel_id": channel.id,
            "channel": {**channel.info, "permissions": str(channel.permissions_of(user_id))},
            "token": f"aW50ZXJhY3Rpb246{interaction_id}-{self._world.application.id}-{'t' * 90}",
            "version": 1,
            "locale": "en-US",
            "app_permissions": str(channel.permissions_of(self._world.bot_id)),
            "entitlements": [],
            "entitlement_sku_ids": [],
            "attachment_size_limit": 10_485_760,
            **extra,
        }
        if channel.guild is not None:
            member = channel.guild.members[user_id]
            payload |= {
                "guild_id": channel.guild.id,
                "guild": {"id": channel.guild.id, "locale": "en-US", "features": []},
                "guild_locale": "en-US",
                "member": {**member, "permissions": str(channel.permissions_of(user_id))},
                "context": 0,
                "authorizing_integration_owners": {"0": channel.guild.id},
            }
        else:
            payload |= {"user": user, "context": 1, "authorizing_integration_owners": {"0": "0"}}
        interaction = Interaction(payload, channel, user_id, trio.current_time())
        self.all[interaction_id] = interaction
        self._by_token[interaction.token] = interaction
        self.deliver(interaction)
        return interaction

    def deliver(self, interaction: Interaction) -> None:
        """Send it, perhaps once more."""
        if self._world.application.interactions_endpoint_url is not None:
            self.send_by_http(interaction)
        else:
            self._world.publish(Event("INTERACTION_CREATE", interaction.data))

    # Answers

    def callback(self, interaction_id: str, token: str, body: Json, uploads: list[Upload]) -> Interaction:
        """POST /interactions/…/callback: the first answer, within 3 s.

        :raises ApiError: 10062 too late or never heard of, 40060 a second time, 50035.
        """
        interaction = self.all.get(interaction_id)
        if interaction is None or interaction.token != token:
            raise unknown("interaction")
        if interaction.answer is not None:
            raise ApiError(400, 40060, "Interaction has already been acknowledged.")
        if trio.current_time() - interaction.made_at > ANSWER_SECONDS:
            raise unknown("interaction")
        self.answer(interaction, body, uploads)
        return interaction

    def answer(self, interaction: Interaction, body: Json, uploads: list[Upload]) -> None:
        """The first answer, whichever way it came."""
        kind = body.get("type")
        allowed = {MESSAGE, DEFERRED_MESSAGE, MODAL} | ({DEFERRED_UPDATE, UPDATE} if interaction.is_component else set())
        if kind not in allowed:
            raise invalid_form("type", "BASE_TYPE_CHOICES", f"Value must be one of {{{', '.join(map(str, sorted(allowed)))}}}.")
        data = body.get("data") or {}
        interaction.answer = kind
        interaction.answered_at = trio.current_time()
        if kind in {MESSAGE, DEFERRED_MESSAGE}:
            interaction.is_loading = kind == DEFERRED_MESSAGE
            flags = int(data.get("flags", 0)) | (shapes.LOADING if interaction.is_loading else 0)
            interaction.original = self._write(interaction, data, uploads, flags)
        elif kind == MODAL:
            interaction.modal = data
        else:
            interaction.original = interaction.channel.messages.get(int(interaction.data["message"]["id"]))
            if kind == UPDATE and interaction.original is not None:
                self.edit_message(interaction, "@original", data, uploads)
        self._world.changed.notify()

    def _write(self, interaction: Interaction, data: Json, uploads: list[Upload], flags: int) -> Json:
        kind = shapes.MESSAGE_COMMAND if interaction.data["data"].get("type", 1) == 1 else shapes.MESSAGE_CONTEXT_COMMAND
        metadata: Json = {
            "id": interaction.id,
            "type": interaction.data["type"],
            "user": self._world.users[interaction.user_id],
            "authorizing_integration_owners": interaction.data["authorizing_integration_owners"],
        }
        if interaction.is_component:
            metadata["interacted_message_id"] = interaction.data["message"]["id"]
        if interaction.original is not None:
            metadata["original_response_message_id"] = interaction.original["id"]
        fields: Json = {
            "type": shapes.MESSAGE_DEFAULT if interaction.is_component else kind,
            "application_id": self._world.application.id,
            "interaction_metadata": metadata,
            "flags": flags,
        }
        draft = Draft(
            content=data.get("content") or "",
            uploads=uploads,
            embeds=data.get("embeds") or [],
            components=data.get("components") or [],
            allowed_mentions=data.get("allowed_mentions"),
            fields=fields,
        )
        channel = interaction.channel
        if flags & shapes.EPHEMERAL:  # only the person and the app see it: it is in no history and in no event of others
            hidden = Channel(channel.info | {}, None)
            return self._messages.post_by_webhook(hidden, self._world.application.id, self._world.application.bot, draft)
        return self._messages.post_by_webhook(channel, self._world.application.id, self._world.application.bot, draft)

    def of_token(self, webhook_id: str, token: str) -> Interaction | None:
        """The interaction of ``/webhooks/<application>/<token>``; None when it is a webhook of another kind.

        :raises ApiError: 50027, the token's 15 minutes are over, or nothing was answered within 3 s.
        """
        if webhook_id != self._world.application.id:
            return None
        interaction = self._by_token.get(token)
        if interaction is None or trio.current_time() - interaction.made_at >= TOKEN_SECONDS:
            raise ApiError(401, 50027, "Invalid Webhook Token")
        if interaction.answer is None:
            raise unknown("Webhook")
        return interaction

    def follow_up(self, interaction: Interaction, data: Json, uploads: list[Upload]) -> Json:
        """A further message; straight after a deferred answer, it fills that one ("Create Followup Message")."""
        if interaction.is_loading and interaction.original is not None:
            return self.edit_message(interaction, "@original", data, uploads)
        message = self._write(interaction, data, uploads, int(data.get("flags", 0)))
        interaction.followups.append(message["id"])
        return message

    def message_of(self, interaction: Interaction, message_id: str) -> Json:
        """``@original`` or a follow-up.

        :raises ApiError: 10008.
        """
        if message_id == "@original":
            if interaction.original is None:
                raise unknown("Message")
            return interaction.original
        if message_id not in interaction.followups:
            raise unknown("Message")
        return self._world.message(self._messages.places[message_id], message_id)

    def edit_message(self, interaction: Interaction, message_id: str, data: Json, uploads: list[Upload]) -> Json:
        message = self.message_of(interaction, message_id)
        if message is interaction.original and interaction.is_loading:
            interaction.is_loading = False
            message["flags"] &= ~shapes.LOADING
        changes = {name: data[name] or blank for name, blank in EDITABLE.items() if name in data}
        place = self._messages.places[message["id"]]
        return self._messages.edit(place, message, changes, uploads, data.get("allowed_mentions"))

    def delete_message(self, interaction: Interaction, message_id: str) -> None:
        message = self.message_of(interaction, message_id)
        self._messages.delete(self._messages.places[message["id"]], [message["id"]])
        if message is interaction.original:
            interaction.original = None


def find_component(components: list[Json] | tuple[()], custom_id: str) -> Json | None:
    """A component anywhere in the rows of a message."""
    for component in components:
        if component.get("custom_id") == custom_id:
            return component
        found = find_component(component.get("components", ()), custom_id)
        if found is not None:
            return found
    return None


def _without_user(member: Json, bits: int) -> Json:
    return {**{name: value for name, value in member.items() if name != "user"}, "permissions": str(bits)}
