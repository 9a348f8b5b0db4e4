"""Updates to envelopes. Pure: the bot's own id and name, and the time, are arguments.

Update and Message types: core.telegram.org/bots/api#update, #message, #messageentity.
"""

from msgspec import Raw, Struct
from msgspec.structs import replace

from gatewayd.channels.telegram.receiving.content import Summary, attachments_of, rich_text_of, summarise
from gatewayd.channels.telegram.state import Migrations
from gatewayd.channels.telegram.wire import (
    CallbackQuery,
    Chat,
    Entity,
    ForwardOrigin,
    MembershipChange,
    Message,
    Migration,
    Update,
    User,
    Whose,
)
from gatewayd.kit.json import Malformed, decode
from gatewayd.kit.text import sanitise
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, InboundKind, Origin, Peer, PeerKind, Sender

_PEER_KINDS: dict[str, PeerKind] = {"private": "dm", "group": "group", "supergroup": "group", "channel": "channel"}


class Bot(Struct, frozen=True):
    """Who we are. ``username`` is None until getMe has said it: then mentions by name are not seen."""

    id: int
    username: str | None = None


class Receiver(Struct, frozen=True):
    """What every envelope of an account carries."""

    channel: str
    account: str
    bot: Bot


def to_inbound(update: Update, receiver: Receiver, *, received_at: float) -> InboundEnvelope | None:
    """The envelope; of the kind ``service`` where there is nothing for an agent. None for a type of update that is not used.

    :raises Malformed: it cannot even be read who wrote where.
    """
    if update.callback_query is not None:
        return _button(update.update_id, update.callback_query, receiver, received_at)
    if update.my_chat_member is not None:
        return _membership(update.update_id, update.my_chat_member, receiver, received_at)
    if message := update.message or update.channel_post:
        return _message(update.update_id, "message", message, receiver, received_at)
    if message := update.edited_message or update.edited_channel_post:
        return _message(update.update_id, "edit", message, receiver, received_at)
    return None


def migration_of(update: Update) -> tuple[int, int] | None:
    """The id of a group and that of the supergroup that it became, if the update says so."""
    if b"migrate_" not in bytes(update.message):
        return None
    migration = decode(update.message, Migration, lenient=True)
    if migration.migrate_to_chat_id is not None:
        return migration.chat.id, migration.migrate_to_chat_id
    return None if migration.migrate_from_chat_id is None else (migration.migrate_from_chat_id, migration.chat.id)


def with_references(envelope: InboundEnvelope, migrations: Migrations) -> InboundEnvelope:
    """The envelope with the former id of its group, and with message ids as ``Migrations.reference`` makes them."""
    chat_id = int(envelope.peer.id)
    if (before := migrations.before(chat_id)) is None:
        return envelope
    numbers = (envelope.message_id, envelope.reply_to)
    message_id, reply_to = (None if number is None else migrations.reference(number, chat_id) for number in numbers)
    return replace(envelope, formerly=str(before), message_id=message_id, reply_to=reply_to)


def _message(number: int, kind: InboundKind, raw: Raw, receiver: Receiver, received_at: float) -> InboundEnvelope:
    message = _read(raw)
    peer, sender = peer_of(message), _sender(message)
    written, entities = (
        (message.text, message.entities) if message.text is not None else (message.caption or "", message.caption_entities)
    )
    text = sanitise(_readable(written, entities, receiver.bot) or rich_text_of(message))
    attachments = tuple(attachments_of(message))
    summary = _summary(message, raw, text, attachments)
    is_for_nobody = sender is None or message.chat.type not in _PEER_KINDS or (summary is not None and summary.is_service)
    return InboundEnvelope(
        channel=receiver.channel,
        account=receiver.account,
        event_key=_event_key(number, receiver),
        kind="service" if is_for_nobody else kind,
        peer=peer,
        sender=sender or _chat_as_sender(message.chat),
        text=text if summary is None else "\n".join(filter(None, (text, summary.line))),
        attachments=attachments,
        message_id=str(message.message_id),
        reply_to=str(message.reply_to_message.message_id) if _is_reply(message) and message.reply_to_message else None,
        addressed=peer.kind == "dm" or _is_addressed(message, written, entities, receiver.bot),
        sent_at=float(message.edit_date or message.date),
        received_at=received_at,
        forwarded=_forwarded(message),
        via_bot=_via_bot(message),
        caption=message.text is None and bool(message.caption),
        described=summary is not None and not text,
    )


def _summary(message: Message, raw: Raw, text: str, attachments: tuple[Attachment, ...]) -> Summary | None:
    """What there is beside the text; None where that is nothing, or files alone."""
    if attachments or (text and not message.caption):
        return None
    summary = summarise(decode(raw, dict[str, object]))
    return None if text and summary.is_service else summary


def _read(raw: Raw) -> Message:
    """A field of another type than the Bot API says costs no message, unless it says who wrote: then nobody did."""
    try:
        return decode(raw, Message)
    except Malformed:
        message = decode(raw, Message, lenient=True)
    try:
        decode(raw, Whose)
    except Malformed:
        return replace(message, from_=None, sender_chat=None, forward_origin=ForwardOrigin())
    return message


def _forwarded(message: Message) -> Origin | None:
    """Where a forward comes from, as far as its first author lets it be seen."""
    origin = message.forward_origin
    if origin is None:
        is_forward = message.is_automatic_forward or message.forward_date is not None
        return Origin(sent_at=_seconds(message.forward_date)) if is_forward else None
    first = _person(origin.sender_user) if origin.sender_user else _first_chat(origin)
    name = first.name or first.username if first else sanitise(origin.sender_user_name or "")
    return Origin(name or None, first.id if first else None, _seconds(origin.date))


def _first_chat(origin: ForwardOrigin) -> Sender | None:
    chat = origin.sender_chat or origin.chat
    return None if chat is None else _chat_as_sender(chat)


def _seconds(date: int | None) -> float | None:
    return None if date is None else float(date)


def _via_bot(message: Message) -> str | None:
    """The user name of the bot that wrote this in the name of its sender (#message, via_bot and sender_business_bot)."""
    bot = message.via_bot or message.sender_business_bot
    return None if bot is None else sanitise(bot.username or str(bot.id))


def _button(number: int, query: CallbackQuery, receiver: Receiver, received_at: float) -> InboundEnvelope:
    """A press of a button under one of our messages. Without the message (inline mode) there is no place to answer in.

    The server gives the message without its contents when it cannot read it (any more): its chat and number are there, its
    topic is not.
    """
    sender, message = _person(query.from_), query.message
    is_ours = message is not None and message.chat.type in _PEER_KINDS and query.data is not None
    return InboundEnvelope(
        channel=receiver.channel,
        account=receiver.account,
        event_key=_event_key(number, receiver),
        kind="button" if is_ours else "service",
        peer=Peer("dm", sender.id) if message is None else peer_of(message),
        sender=sender,
        text=sanitise(query.data or ("" if is_ours else "[a press without data]")),
        message_id=None if message is None else str(message.message_id),
        addressed=True,
        received_at=received_at,
        press=query.id,
    )


def _membership(number: int, change: MembershipChange, receiver: Receiver, received_at: float) -> InboundEnvelope:
    """The bot was added, removed, promoted, blocked …: ``text`` is the new ChatMember status."""
    return InboundEnvelope(
        channel=receiver.channel,
        account=receiver.account,
        event_key=_event_key(number, receiver),
        kind="membership",
        peer=Peer(_kind_of(change.chat), str(change.chat.id)),
        sender=_person(change.from_),
        text=sanitise(change.new_chat_member.status),
        sent_at=float(change.date),
        received_at=received_at,
    )


def _event_key(number: int, receiver: Receiver) -> str:
    """With the bot's id: after a change of the token another bot's numbers must not look like this one's."""
    return f"{receiver.bot.id}:{number}"


def peer_of(message: Message) -> Peer:
    """Where a message is. Only a topic is a thread: message_thread_id alone is also set on plain replies, and the General
    topic has none that could be sent to."""
    return Peer(_kind_of(message.chat), str(message.chat.id), str(message.message_thread_id) if _in_topic(message) else None)


def _kind_of(chat: Chat) -> PeerKind:
    return _PEER_KINDS.get(chat.type, "group")


def _in_topic(message: Message) -> bool:
    return message.is_topic_message and message.message_thread_id is not None


def _sender(message: Message) -> Sender | None:
    """On behalf of a chat (an anonymous administrator, a channel) the chat is the sender: ``from`` is a placeholder then."""
    if message.sender_chat is not None:
        return _chat_as_sender(message.sender_chat)
    if message.from_ is not None:
        return _person(message.from_)
    return _chat_as_sender(message.chat) if message.chat.type == "channel" else None


def _chat_as_sender(chat: Chat) -> Sender:
    return Sender(str(chat.id), sanitise(chat.title) if chat.title else None, chat.username)


def _person(user: User) -> Sender:
    name = sanitise(f"{user.first_name} {user.last_name or ''}".strip())
    return Sender(str(user.id), name or None, user.username, user.is_bot)


def _is_reply(message: Message) -> bool:
    """In a topic, a message that answers nothing "replies" to the one that made the topic, whose id is the topic's."""
    replied = message.reply_to_message
    return replied is not None and not (_in_topic(message) and replied.message_id == message.message_thread_id)


def _is_addressed(message: Message, text: str, entities: tuple[Entity, ...], bot: Bot) -> bool:
    replied = message.reply_to_message
    if _is_reply(message) and replied is not None and replied.from_ is not None and replied.from_.id == bot.id:
        return True
    units = _Utf16(text)
    return any(_addresses(entity, units, bot) for entity in entities)


def _addresses(entity: Entity, text: "_Utf16", bot: Bot) -> bool:
    match entity.type:
        case "mention":
            return bot.username is not None and text.of(entity).lower() == f"@{bot.username.lower()}"
        case "text_mention":
            return entity.user is not None and entity.user.id == bot.id
        case "bot_command":
            _, at, name = text.of(entity).partition("@")
            if at:
                return bot.username is not None and name.lower() == bot.username.lower()
            return entity.offset == 0
    return False


def _readable(text: str, entities: tuple[Entity, ...], bot: Bot) -> str:
    """The text with what only entities say: the target of a link behind it; "/command@us" at the start is "/command"."""
    units = _Utf16(text)
    for entity in sorted(entities, key=lambda entity: entity.offset, reverse=True):
        shown = units.of(entity)
        if entity.type == "text_link" and entity.url and shown and entity.url.rstrip("/") != shown.rstrip("/"):
            units.replace(entity.offset + entity.length, 0, f" ({entity.url})")
        elif entity.type == "bot_command" and entity.offset == 0 and "@" in shown and _addresses(entity, units, bot):
            command = shown.partition("@")[0]
            units.replace(len(command), entity.length - len(command), "")
    return units.text()


class _Utf16:
    """A text by UTF-16 code units, as entities count."""

    def __init__(self, text: str) -> None:
        self._units = text.encode("utf-16-le", "surrogatepass")

    def of(self, entity: Entity) -> str:
        """What the entity covers; empty when it lies outside."""
        if entity.offset < 0 or entity.length <= 0:
            return ""
        return self._units[2 * entity.offset : 2 * (entity.offset + entity.length)].decode("utf-16-le", "replace")

    def replace(self, offset: int, length: int, by: str) -> None:
        units = self._units
        self._units = units[: 2 * offset] + by.encode("utf-16-le", "surrogatepass") + units[2 * (offset + length) :]

    def text(self) -> str:
        return self._units.decode("utf-16-le", "replace")
