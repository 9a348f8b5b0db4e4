"""What Discord tells us, as envelopes. Pure, but for what is remembered of guilds, threads and people, and what is asked for.

One event, one key. A message has one id, in the gateway's event, in a resume that brings it again, and in a history; an edit has
the time of the edit besides, an interaction an id of its own.

Written by a person is what has an author who is no bot, no webhook and no part of Discord, and is of the two types that people
write. Whatever an app wrote is ignored: two bots that answer each other would never end.

Joins, pins, new threads and the like are messages of other types: they are news, and nobody said them.

For us is a direct message, one that mentions us or a role that we have, a reply to one of ours, and, where ``thread_replies`` is
``all``, what is said in a thread in which we were spoken to before. ``@everyone`` speaks to nobody in particular.

An edit has a new ``edited_timestamp``. What Discord adds to a message (a preview, a pin) has the old one, or none, and so the key
of an edit that was received, or is older than a day. An update with a few of the fields ends nothing.

The text is what the person wrote. Stickers and polls are lines of their own; the previews of links are left out. A reply has the
message that it is about as a quotation behind it, unless that is one of ours. A forward has the text and the files of what it
forwards ("Message Resource", "Message Snapshot Object"), and counts as nobody's own word: it decides nothing. Names are what
people gave to themselves: one short line, and never compared with anything.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

from msgspec import Raw, Struct
from msgspec.structs import replace

from gatewayd.channels.discord.ids import MessageId, is_snowflake, seconds_of
from gatewayd.channels.discord.receiving.cursors import DiscordState
from gatewayd.channels.discord.receiving.guilds import Guilds
from gatewayd.channels.discord.receiving.interactions import Asked, asked_of
from gatewayd.channels.discord.receiving.text import (
    Words,
    attachments_of,
    described,
    embedded,
    one_line,
    quotation,
    words_of,
)
from gatewayd.channels.discord.settings import DiscordSettings
from gatewayd.channels.discord.wire.answers import User
from gatewayd.channels.discord.wire.events import (
    DEFAULT,
    DM,
    FORWARD,
    REPLY,
    Content,
    Deleted,
    Interaction,
    Member,
    Message,
    Referenced,
    decode_message,
)
from gatewayd.kit.json import Malformed, decode
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import InboundEnvelope, InboundKind, Origin, Peer, Sender
from gatewayd.ports.channel import AccountConfig

SAID: Final = frozenset({DEFAULT, REPLY})
"""The types of what people say ("Message Types"). All others are news of Discord's own (somebody joined, a message was pinned),
or the answer of an app."""

OLD_EDIT_SECONDS: Final = 86_400.0
"""The hub knows the keys of what it received for two days at least (``retention.keep_seconds``)."""
MOST_ADDRESSES: Final = 2_000
MOST_TOKENS: Final = 2_000


class Bot(Struct, frozen=True):
    """Who we are: our app, and its user."""

    application_id: str
    user_id: str
    name: str


class Read(Struct, frozen=True):
    """What came of an event. ``state`` is stored with the envelopes. ``ignored``: in words, why there are none."""

    envelopes: tuple[InboundEnvelope, ...] = ()
    state: Mapping[str, str] = {}
    ignored: str | None = None


class Unknown(Struct, frozen=True):
    """What has to be asked for before a message can be read: what its channel is, or our roles in its guild."""

    guild: str
    channel: str | None = None


class Receiver:
    """Of one account. The methods take what Discord has sent, and are quick.

    :raises Malformed: it cannot be read who did what where.
    """

    def __init__(
        self,
        account: AccountConfig,
        bot: Bot,
        settings: DiscordSettings,
        state: DiscordState,
        now: Callable[[], float],
    ) -> None:
        self.bot = bot
        self.guilds = Guilds()
        self.addresses: dict[str, str] = {}
        """Where the newest files are: by ``Attachment.ref``."""
        self.tokens: dict[str, str] = {}
        """Of the newest interactions, by their ids: a secret for 15 minutes."""
        self._account = account
        self._follows_threads = settings.thread_replies == "all"
        self._state = state
        self._talks = state.talks
        self._seen = state.seen
        self._now = now

    def unknown(self, name: str, data: Raw) -> Unknown | None:
        """What has to be known before this event is read; None: nothing."""
        if name not in ("MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_DELETE", "MESSAGE_DELETE_BULK"):
            return None
        try:
            message = decode_message(data)
        except Malformed:
            return None
        return self.unknown_of(message)

    def unknown_of(self, message: Message) -> Unknown | None:
        """As ``unknown``."""
        guild = message.guild_id
        if guild is None or self._why_not(message, is_partial=True) is not None:
            return None
        if not self.guilds.is_known(guild, message.channel_id):
            return Unknown(guild, message.channel_id)
        return Unknown(guild) if message.mention_roles and not self.guilds.knows_roles(guild) else None

    def dispatch(self, name: str, data: Raw) -> Read:
        """One event of the gateway by its name."""
        match name:
            case "MESSAGE_CREATE":
                return self.message(decode_message(data))
            case "MESSAGE_UPDATE":
                return self._updated(decode_message(data))
            case "MESSAGE_DELETE" | "MESSAGE_DELETE_BULK":
                return self._deleted(decode(data, Deleted, lenient=True))
            case "INTERACTION_CREATE":
                return self.interaction(data)
        is_news = self.guilds.learn(name, data, self.bot.user_id)
        return Read(ignored="news of a guild" if is_news else f"an event that is not used: {one_line(name)}")

    def message(self, message: Message, *, missed: bool = False) -> Read:
        """A message. ``missed``: from a history, where ``guild_id`` is given by who read it."""
        where = MessageId.of(message.channel_id, message.id)
        if not missed:
            self._seen.note(int(where.message), self._now())
        if (why := self._why_not(message)) is not None:
            return Read(ignored=why)
        return self._written(message, where)

    def interaction(self, data: bytes | Raw) -> Read:
        """A press of a button, or a slash command."""
        interaction = decode(data, Interaction, lenient=True)
        if interaction.application_id != self.bot.application_id:
            return Read(ignored="an interaction with another app")
        asked = asked_of(interaction, self._quoted)
        if isinstance(asked, str):
            return Read(ignored=asked)
        return self._asked(interaction, asked)

    def earlier(self, message: Message) -> Earlier:
        """A message of a thread, for somebody who reads what was said there before."""
        author = message.author or User("unknown")
        is_app = author.bot or message.webhook_id is not None
        name = one_line(author.global_name or author.username) or None
        sender = Sender(author.id, name, is_bot=is_app)
        return Earlier(sender, self._all_of(message), seconds_of(message.id), author.id == self.bot.user_id)

    def peer_of(self, message: Message) -> Peer:
        """The conversation of a message."""
        if message.guild_id is None:
            user = message.author.id if message.author is not None and message.author.id != self.bot.user_id else None
            return Peer("dm", user or self._talks.user_of(message.channel_id) or message.channel_id)
        parent = self.guilds.parent_of(message.channel_id)
        return Peer("group", message.channel_id) if parent is None else Peer("group", parent, message.channel_id)

    def _why_not(self, message: Message, *, is_partial: bool = False) -> str | None:
        """Why nothing comes of a message. None: a person said it."""
        author = message.author
        if author is None:
            return None if is_partial else "a message of nobody"
        if author.id == self.bot.user_id:
            return "our own message"
        if message.webhook_id is not None:
            return "a message of a webhook: apps are not answered"
        if author.bot or author.system:
            return "a message of an app, or of Discord itself: apps are not answered"
        return None if message.type in SAID else f"no message of a person: type {message.type}"

    def _updated(self, message: Message) -> Read:
        """MESSAGE_UPDATE tells of much that is no edit: the preview of a link, a pin. Some have a few fields only."""
        where = MessageId.of(message.channel_id, message.id)
        if message.author is None or message.edited_timestamp is None:
            return Read(ignored="a message that no person has edited: Discord has added something to it")
        if (why := self._why_not(message)) is not None:
            return Read(ignored=why)
        edited_at = _seconds(message.edited_timestamp)
        if edited_at is None or edited_at < self._now() - OLD_EDIT_SECONDS:
            return Read(ignored="a message that was edited long ago: Discord has added something to it")
        return self._written(message, where, edited_at=edited_at)

    def _deleted(self, deleted: Deleted) -> Read:
        ids = (deleted.id, *deleted.ids) if deleted.id is not None else deleted.ids
        messages = [MessageId.parse(f"{deleted.channel_id}:{it}") for it in ids]
        user = self._talks.user_of(deleted.channel_id)
        if deleted.guild_id is None and user is None:
            return Read(ignored="a deletion in a direct message that is not known")
        peer = self.peer_of(Message(channel_id=deleted.channel_id, guild_id=deleted.guild_id))
        envelopes = [
            self._envelope(
                "deleted", f"{it.message}:deleted", peer, Sender(user or "unknown"), message_id=str(it), guild=deleted.guild_id
            )
            for it in messages
            if it is not None
        ]
        return Read(tuple(envelopes), state=self._state.unsaved())

    def _written(self, message: Message, where: MessageId, *, edited_at: float | None = None) -> Read:
        """What a person wrote. ``edited_at``: it is a new text of a message."""
        author = message.author
        assert author is not None
        peer = self.peer_of(message)
        snapshot = self._forwarded(message)
        words = self._words(message, self.guilds.own_roles(message.guild_id))
        addressed = self._is_for_us(message, peer, words)
        if message.guild_id is None:
            self._talks.note_direct(where.channel, author.id, int(where.message))
        elif peer.thread is not None and addressed:
            self._talks.join(peer.thread, int(where.message))
        elif peer.thread is not None:
            self._talks.touch(peer.thread, int(where.message))
        self._note_addresses(message, where)
        files = (*message.attachments, *(() if snapshot is None else snapshot.attachments))
        said = self._with_replied(message, words.text) if snapshot is None else self._words(snapshot).text
        extra = described(message if snapshot is None else snapshot)
        envelope = replace(
            self._envelope(
                "message" if edited_at is None else "edit",
                where.message if edited_at is None else f"{where.message}:{message.edited_timestamp}",
                peer,
                self._sender(author, message.member),
                message_id=str(where),
                guild=message.guild_id,
                text="\n".join(filter(None, (said, extra))),
                addressed=addressed,
                sent_at=seconds_of(where.message) if edited_at is None else edited_at,
            ),
            attachments=tuple(attachments_of(files, str(where))),
            caption=bool(files and said),
            described=bool(extra and not said),
            reply_to=_reply_of(message),
            forwarded=None if snapshot is None else Origin(sent_at=_seconds(snapshot.timestamp)),
        )
        return Read((envelope,), state=self._state.unsaved())

    def _is_for_us(self, message: Message, peer: Peer, words: Words) -> bool:
        if message.guild_id is None or words.mentions_us:
            return True
        if message.referenced_message is not None and self._is_own(message.referenced_message):
            return True
        if not self.guilds.own_roles(message.guild_id).isdisjoint(message.mention_roles):
            return True
        return self._follows_threads and peer.thread is not None and self._talks.is_in(peer.thread)

    def _forwarded(self, message: Message) -> Content | None:
        """What a forward forwards; None: it is no forward."""
        is_forward = message.message_reference is not None and message.message_reference.type == FORWARD
        return message.message_snapshots[0].message if is_forward and message.message_snapshots else None

    def _note_addresses(self, message: Message, where: MessageId) -> None:
        snapshots = (file for it in message.message_snapshots for file in it.message.attachments)
        for file in (*message.attachments, *snapshots):
            if file.url:
                self.addresses[f"{where}:{file.id}"] = file.url
        while len(self.addresses) > MOST_ADDRESSES:
            del self.addresses[next(iter(self.addresses))]

    def _words(self, content: Content, own_roles: frozenset[str] = frozenset()) -> Words:
        return words_of(content, own_id=self.bot.user_id, own_name=self.bot.name, own_roles=own_roles)

    def _all_of(self, content: Content) -> str:
        """Whatever a message shows, as text. Without words, it is the embeds of an app that say something."""
        files = (f"[file: {one_line(it.title or it.filename, 250)}]" for it in content.attachments)
        words = self._words(content).text or embedded(content)
        return "\n".join(filter(None, (words, described(content), *files)))

    def _is_own(self, message: Message | Referenced) -> bool:
        return message.author is not None and message.author.id == self.bot.user_id

    def _quoted(self, message: Message | Referenced) -> str:
        author = message.author or User("")
        return quotation(one_line(author.global_name or author.username), self._all_of(message))

    def _with_replied(self, message: Message, words: str) -> str:
        """A command stays as it is: what stands behind it are its arguments."""
        replied = message.referenced_message
        if replied is None or self._is_own(replied) or words.startswith("/"):
            return words
        return "\n\n".join(filter(None, (words, self._quoted(replied))))

    def _asked(self, interaction: Interaction, asked: Asked) -> Read:
        channel, guild = asked.channel, interaction.guild_id
        if guild is not None:
            self.guilds.put_channel(guild, channel)
            peer = self.peer_of(Message(channel_id=channel.id, guild_id=guild))
        elif channel.type == DM:
            peer = Peer("dm", asked.user.id)
            self._talks.note_direct(channel.id, asked.user.id, int(interaction.id))
        else:
            return Read(ignored="an interaction in a conversation that is not ours")
        is_command = asked.kind == "command"
        envelope = self._envelope(
            asked.kind,
            f"interaction:{interaction.id}",
            peer,
            self._sender(asked.user, asked.member),
            message_id=asked.message_id,
            guild=guild,
            text=asked.text,
            addressed=True,
            sent_at=seconds_of(interaction.id),
        )
        self.tokens[interaction.id] = interaction.token
        while len(self.tokens) > MOST_TOKENS:
            del self.tokens[next(iter(self.tokens))]
        answer_with = f"{interaction.application_id}:{interaction.token}" if is_command and interaction.token else None
        press = None if is_command else interaction.id
        return Read((replace(envelope, press=press, answer_with=answer_with),), state=self._state.unsaved())

    def _sender(self, user: User, member: Member | None) -> Sender:
        name = one_line((member.nick if member is not None else None) or user.global_name or user.username)
        return Sender(user.id, name or None, one_line(user.username) or None)

    def _envelope(
        self,
        kind: InboundKind,
        key: str,
        peer: Peer,
        sender: Sender,
        *,
        message_id: str | None,
        guild: str | None,
        text: str = "",
        addressed: bool = False,
        sent_at: float | None = None,
    ) -> InboundEnvelope:
        return InboundEnvelope(
            channel=self._account.channel,
            account=self._account.account,
            event_key=key,
            kind=kind,
            peer=peer,
            sender=sender,
            text=text,
            message_id=message_id,
            addressed=addressed,
            guild=guild,
            sent_at=sent_at,
            received_at=self._now(),
        )


def _reply_of(message: Message) -> str | None:
    reference = message.message_reference
    if reference is None or reference.type == FORWARD or not is_snowflake(reference.message_id):
        return None
    return str(MessageId(reference.channel_id or message.channel_id, reference.message_id or ""))


def _seconds(timestamp: str | None) -> float | None:
    """ISO 8601 as Discord writes it ("Reference", "ISO8601 Date/Time")."""
    try:
        found = datetime.fromisoformat(timestamp or "")
    except ValueError:
        return None
    return found.timestamp() if found.tzinfo is not None else None


def addresses_in(messages: Iterable[Message]) -> dict[str, str]:
    """The addresses of the files in these messages, by ``Attachment.ref`` without its channel and message."""
    return {
        file.id: file.url
        for message in messages
        for file in (*message.attachments, *(it for snapshot in message.message_snapshots for it in snapshot.message.attachments))
        if file.url
    }
