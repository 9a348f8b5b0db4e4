"""Events of the gateway, and the same objects of the REST API ("Message Resource", "Gateway Events"). Pure."""

from typing import Any

from msgspec import Raw, Struct

from gatewayd.channels.discord.wire.answers import Channel, User
from gatewayd.kit.json import decode

DM, GROUP_DM = 1, 3
THREADS = frozenset({10, 11, 12})
"""Types of channels ("Channel Resource", "Channel Types"): direct messages, and the three kinds of threads."""
TEXT, ANNOUNCEMENT = 0, 5
FORUMS = frozenset({15, 16})
"""Channels that have threads only: forums and media channels."""
WITH_MESSAGES = frozenset({TEXT, 2, ANNOUNCEMENT, 13}) | FORUMS
"""Channels of a guild of which messages, or threads with messages, are told."""

DEFAULT, REPLY = 0, 19
"""Types of the messages that people write ("Message Resource", "Message Types")."""
FORWARD = 1
"""The type of a message reference that forwards ("Message Reference Types")."""


class Member(Struct, frozen=True):
    """ "Guild Resource", "Guild Member Object"."""

    user: User | None = None
    nick: str | None = None
    roles: tuple[str, ...] = ()


class Attachment(Struct, frozen=True):
    """ "Message Resource", "Attachment Object". ``url`` is signed, and good for a day. ``waveform``: it is a voice message."""

    id: str
    filename: str = ""
    title: str | None = None
    content_type: str | None = None
    size: int | None = None
    url: str | None = None
    waveform: str | None = None


class Sticker(Struct, frozen=True):
    name: str = ""


class Reference(Struct, frozen=True):
    """ "Message Reference Structure". ``type`` 1 is a forward."""

    type: int = 0
    message_id: str | None = None
    channel_id: str | None = None
    guild_id: str | None = None


class Media(Struct, frozen=True):
    text: str | None = None


class PollAnswer(Struct, frozen=True):
    poll_media: Media = Media()


class Poll(Struct, frozen=True):
    question: Media = Media()
    answers: tuple[PollAnswer, ...] = ()


class Embed(Struct, frozen=True):
    """What apps write, and what Discord makes of links."""

    title: str | None = None
    description: str | None = None


class Content(Struct, frozen=True):
    """What a message shows, and what a forward has of the message that it forwards ("Message Snapshot Structure")."""

    content: str = ""
    timestamp: str | None = None
    mentions: tuple[User, ...] = ()
    mention_roles: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    embeds: tuple[Embed, ...] = ()
    sticker_items: tuple[Sticker, ...] = ()
    poll: Poll | None = None


class Referenced(Content, frozen=True):
    """The message that is replied to."""

    author: User | None = None


class Snapshot(Struct, frozen=True):
    message: Content = Content()


class Message(Content, frozen=True):
    """MESSAGE_CREATE, MESSAGE_UPDATE, and a message of a history. An update may have only some of the fields."""

    id: str = ""
    channel_id: str = ""
    guild_id: str | None = None
    type: int = 0
    author: User | None = None
    member: Member | None = None
    webhook_id: str | None = None
    edited_timestamp: str | None = None
    message_reference: Reference | None = None
    referenced_message: Referenced | None = None
    message_snapshots: tuple[Snapshot, ...] = ()


class Deleted(Struct, frozen=True):
    """MESSAGE_DELETE, and MESSAGE_DELETE_BULK with ``ids``."""

    channel_id: str
    id: str | None = None
    ids: tuple[str, ...] = ()
    guild_id: str | None = None


class ReadyGuild(Struct, frozen=True):
    id: str


class Ready(Struct, frozen=True):
    """READY. The guilds follow, each as a GUILD_CREATE."""

    user: User
    guilds: tuple[ReadyGuild, ...] = ()


class Role(Struct, frozen=True):
    id: str
    name: str = ""


class Guild(Struct, frozen=True):
    """GUILD_CREATE, also of a guild that is back after an outage, or in which the app is now. ``members`` has at least our own.
    ``unavailable`` in a GUILD_DELETE: there is an outage."""

    id: str
    unavailable: bool = False
    channels: tuple[Channel, ...] = ()
    threads: tuple[Channel, ...] = ()
    members: tuple[Member, ...] = ()


class MemberUpdate(Struct, frozen=True):
    """GUILD_MEMBER_UPDATE. Of us it comes without the intent for members ("Gateway", "Caveats")."""

    guild_id: str
    user: User | None = None
    roles: tuple[str, ...] = ()


class ThreadList(Struct, frozen=True):
    """THREAD_LIST_SYNC: the threads of channels that we may see now."""

    guild_id: str
    threads: tuple[Channel, ...] = ()


class Option(Struct, frozen=True):
    """What was filled in for a command; of a subcommand its own options."""

    name: str = ""
    value: Any = None
    options: tuple["Option", ...] = ()


class Resolved(Struct, frozen=True):
    """The objects that a command is about, by their ids."""

    messages: dict[str, Raw] = {}


class InteractionData(Struct, frozen=True):
    """ "Receiving and Responding", "Interaction Data": of a command ``name`` and ``options``, of a component ``custom_id``."""

    name: str = ""
    type: int = 1
    options: tuple[Option, ...] = ()
    resolved: Resolved = Resolved()
    target_id: str | None = None
    custom_id: str = ""
    component_type: int = 0
    values: tuple[str, ...] = ()


class InteractionMessage(Struct, frozen=True):
    """The message that bears the component."""

    id: str = ""
    channel_id: str = ""


class Interaction(Struct, frozen=True):
    """INTERACTION_CREATE, and the body of a request ("Receiving and Responding", "Interaction Object"). ``member`` in guilds,
    ``user`` elsewhere. ``context``: 0 a guild, 1 the direct message with the bot, 2 others'."""

    id: str
    application_id: str
    type: int
    token: str = ""
    data: InteractionData = InteractionData()
    guild_id: str | None = None
    channel: Channel | None = None
    channel_id: str | None = None
    member: Member | None = None
    user: User | None = None
    message: InteractionMessage | None = None
    context: int | None = None


PING, COMMAND, COMPONENT, AUTOCOMPLETE, MODAL = 1, 2, 3, 4, 5
"""Types of interactions."""
BUTTON, STRING_SELECT = 2, 3
"""Types of components."""


def decode_message(data: bytes | Raw) -> Message:
    """:raises Malformed:"""
    return decode(data, Message, lenient=True)
