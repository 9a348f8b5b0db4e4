"""Presses of buttons and slash commands ("Receiving and Responding"). Pure.

Discord does not repeat them: what is not answered within three seconds, the person has to do again.
"""

from collections.abc import Callable, Iterator
from typing import Final, Literal

from msgspec import Raw, Struct

from gatewayd.channels.discord.ids import MessageId, is_snowflake
from gatewayd.channels.discord.receiving.text import one_line
from gatewayd.channels.discord.sending.components import data_of
from gatewayd.channels.discord.wire.answers import Channel, User
from gatewayd.channels.discord.wire.events import (
    BUTTON,
    COMMAND,
    COMPONENT,
    GROUP_DM,
    STRING_SELECT,
    Interaction,
    Member,
    Message,
    Option,
    decode_message,
)
from gatewayd.kit.json import Malformed
from gatewayd.kit.text import sanitise

_LONGEST_NAME: Final = 32  # "Application Commands", "Application Command Naming"
_DEEPEST: Final = 3
_OTHERS: Final = 2
"""``context`` of what happens between other people ("Interaction Context Types")."""


class Asked(Struct, frozen=True):
    """What somebody did, in which channel. ``message_id`` is of the message that bears the component."""

    kind: Literal["button", "command"]
    user: User
    member: Member | None
    channel: Channel
    text: str
    message_id: str | None = None


Quote = Callable[[Message], str]
"""The text of a message as a quotation."""


def asked_of(interaction: Interaction, quote: Quote) -> Asked | str:
    """What was done; in words, why nothing comes of it.

    :raises Malformed: it cannot be read who did what where.
    """
    user = interaction.user
    if interaction.member is not None and interaction.member.user is not None:
        user = interaction.member.user
    channel = interaction.channel
    if channel is None and interaction.channel_id is not None:
        channel = Channel(interaction.channel_id, 0 if interaction.guild_id is not None else 1)
    if interaction.context == _OTHERS or (channel is not None and channel.type == GROUP_DM):
        return "an interaction between other people, where nobody else is to read the answer"
    if interaction.type not in (COMMAND, COMPONENT):
        return f"an interaction that is not used: type {interaction.type}"
    if user is None or not is_snowflake(user.id) or channel is None or not is_snowflake(channel.id):
        raise Malformed("an interaction does not say who did it, or where")
    if not is_snowflake(interaction.id):
        raise Malformed("an interaction has no id by which it could be known")
    if interaction.type == COMMAND:
        return Asked("command", user, interaction.member, channel, _words(interaction, quote))
    return _press(interaction, user, channel)


def _press(interaction: Interaction, user: User, channel: Channel) -> Asked | str:
    data, message = interaction.data, interaction.message
    chosen = data.values[0] if data.component_type == STRING_SELECT and data.values else data.custom_id
    if data.component_type not in (BUTTON, STRING_SELECT) or not chosen:
        return "a press of what is no button with a value"
    where = None if message is None else MessageId.parse(f"{message.channel_id or channel.id}:{message.id}")
    if where is None:
        return "a press outside of a message"
    return Asked("button", user, interaction.member, channel, sanitise(data_of(chosen)), str(where))


def _words(interaction: Interaction, quote: Quote) -> str:
    """A command as if somebody had written it: its name, and what was filled in, in the order of the fields. One that is called
    on a message has the message."""
    data = interaction.data
    name = "".join(one_line(data.name, _LONGEST_NAME).split()) or "command"
    words = " ".join(("/" + name, *_values(data.options, _DEEPEST)))
    target = data.resolved.messages.get(data.target_id or "")
    return words if target is None else f"{words}\n{quote(_message(target))}"


def _message(raw: Raw) -> Message:
    return decode_message(raw)


def _values(options: tuple[Option, ...], depth: int) -> Iterator[str]:
    """The values of a command; of a subcommand its name, and its values."""
    for option in options if depth else ():
        if option.options or option.value is None:
            yield one_line(option.name, _LONGEST_NAME)
            yield from _values(option.options, depth - 1)
        elif isinstance(option.value, bool):
            yield "true" if option.value else "false"
        else:
            yield sanitise(str(option.value)).strip()
