"""The Bot API's JSON: what of it we read and write, and how. Pure.

Only the fields that are used are named; unknown fields and unknown update types are skipped, as the API demands of its
clients. Types: core.telegram.org/bots/api#available-types, #update, #making-requests.
"""

from typing import Final

from msgspec import Raw, Struct, field

from gatewayd.kit.json import Malformed, decode

ALLOWED_UPDATES = ("message", "edited_message", "channel_post", "edited_channel_post", "callback_query", "my_chat_member")


_NOTHING: Final = Raw()
"""A field that is not there. (msgspec takes no object for ``Raw | None``.)"""


class User(Struct, frozen=True):
    id: int
    is_bot: bool = False
    first_name: str = ""
    last_name: str | None = None
    username: str | None = None


class Chat(Struct, frozen=True):
    """``type`` is private, group, supergroup or channel."""

    id: int
    type: str
    title: str | None = None
    username: str | None = None


class Entity(Struct, frozen=True):
    """MessageEntity. ``offset`` and ``length`` count UTF-16 code units."""

    type: str
    offset: int
    length: int
    url: str | None = None
    user: User | None = None


class Media(Struct, frozen=True):
    """What PhotoSize, Document, Voice, Audio, Video, VideoNote, Animation and Sticker have in common, and what one has."""

    file_id: str
    file_size: int | None = None
    file_name: str | None = None
    mime_type: str | None = None
    width: int = 0
    height: int = 0
    emoji: str | None = None
    is_animated: bool = False
    is_video: bool = False


class RepliedMessage(Struct, frozen=True):
    """Of reply_to_message, what says whose it is."""

    message_id: int
    from_: User | None = field(default=None, name="from")


class ForwardOrigin(Struct, frozen=True):
    """MessageOrigin: ``sender_user`` of the type user, ``sender_user_name`` of hidden_user, ``sender_chat`` of chat, ``chat`` of
    channel. Of a type that nobody knows yet, none of them."""

    date: int | None = None
    sender_user: User | None = None
    sender_user_name: str | None = None
    sender_chat: Chat | None = None
    chat: Chat | None = None
    author_signature: str | None = None


class Message(Struct, frozen=True):
    """A message, or the InaccessibleMessage of an old button (``date`` is 0 then).

    ``forward_date`` is what servers before Bot API 7.0 say of a forward. ``sender_business_bot`` wrote in the name of ``from_``.
    """

    message_id: int
    chat: Chat
    date: int = 0
    edit_date: int | None = None
    from_: User | None = field(default=None, name="from")
    sender_chat: Chat | None = None
    sender_business_bot: User | None = None
    via_bot: User | None = None
    forward_origin: ForwardOrigin | None = None
    forward_date: int | None = None
    is_automatic_forward: bool = False
    message_thread_id: int | None = None
    is_topic_message: bool = False
    reply_to_message: RepliedMessage | None = None
    text: str | None = None
    entities: tuple[Entity, ...] = ()
    caption: str | None = None
    caption_entities: tuple[Entity, ...] = ()
    photo: tuple[Media, ...] = ()
    document: Media | None = None
    voice: Media | None = None
    audio: Media | None = None
    video: Media | None = None
    video_note: Media | None = None
    animation: Media | None = None
    sticker: Media | None = None
    live_photo: Media | None = None
    rich_message: Raw = _NOTHING


class Migration(Struct, frozen=True):
    """Of a Message that tells that a group became a supergroup: it comes once in each of the two."""

    chat: Chat
    migrate_to_chat_id: int | None = None
    migrate_from_chat_id: int | None = None


class Whose(Struct, frozen=True):
    """Of a Message, what says who wrote it."""

    from_: User | None = field(default=None, name="from")
    sender_chat: Chat | None = None
    sender_business_bot: User | None = None
    via_bot: User | None = None
    forward_origin: ForwardOrigin | None = None


class CallbackQuery(Struct, frozen=True):
    """A press. It has ``message`` when the button is under a message of ours, ``inline_message_id`` (not read) when it is under
    one that somebody sent by way of us, ``data`` unless it is a game's button."""

    id: str
    from_: User = field(name="from")
    message: Message | None = None
    data: str | None = None


class ChatMember(Struct, frozen=True):
    status: str


class MembershipChange(Struct, frozen=True):
    """ChatMemberUpdated, of the bot itself."""

    chat: Chat
    from_: User = field(name="from")
    new_chat_member: ChatMember
    date: int = 0


class Update(Struct, frozen=True):
    """At most one of the optional fields is present, and none in an update of a type that is not used. The messages are each a
    Message."""

    update_id: int
    message: Raw = _NOTHING
    edited_message: Raw = _NOTHING
    channel_post: Raw = _NOTHING
    edited_channel_post: Raw = _NOTHING
    callback_query: CallbackQuery | None = None
    my_chat_member: MembershipChange | None = None


class ResponseParameters(Struct, frozen=True):
    migrate_to_chat_id: int | None = None
    retry_after: float | None = None


class ApiResponse(Struct, frozen=True):
    """The envelope of every answer (#making-requests)."""

    ok: bool
    result: Raw = Raw(b"null")
    error_code: int | None = None
    description: str | None = None
    parameters: ResponseParameters | None = None


class WebhookInfo(Struct, frozen=True):
    url: str = ""
    pending_update_count: int = 0
    last_error_date: int | None = None
    last_error_message: str | None = None


class File(Struct, frozen=True):
    file_path: str | None = None
    file_size: int | None = None


class SentMessage(Struct, frozen=True):
    message_id: int


class GetUpdates(Struct, frozen=True, omit_defaults=True):
    timeout: int
    allowed_updates: tuple[str, ...]
    offset: int | None = None


class SetWebhook(Struct, frozen=True):
    url: str
    secret_token: str
    max_connections: int
    allowed_updates: tuple[str, ...] = ALLOWED_UPDATES


class ReplyParameters(Struct, frozen=True):
    message_id: int
    allow_sending_without_reply: bool = True


class LinkPreviewOptions(Struct, frozen=True):
    is_disabled: bool


class InlineKeyboardButton(Struct, frozen=True):
    """``callback_data`` is 1-64 bytes (#inlinekeyboardbutton); the server refuses any other with BUTTON_DATA_INVALID."""

    text: str
    callback_data: str


class InlineKeyboardMarkup(Struct, frozen=True):
    """Rows of buttons under a message."""

    inline_keyboard: tuple[tuple[InlineKeyboardButton, ...], ...]


class SendMessage(Struct, frozen=True, omit_defaults=True):
    chat_id: int | str
    text: str
    parse_mode: str | None = None
    message_thread_id: int | None = None
    reply_parameters: ReplyParameters | None = None
    link_preview_options: LinkPreviewOptions | None = None
    reply_markup: InlineKeyboardMarkup | None = None


class EditMessageText(Struct, frozen=True, omit_defaults=True):
    """Without ``reply_markup`` the buttons go (#editmessagetext)."""

    chat_id: int | str
    message_id: int
    text: str
    parse_mode: str | None = None
    link_preview_options: LinkPreviewOptions | None = None
    reply_markup: InlineKeyboardMarkup | None = None


class SendChatAction(Struct, frozen=True, omit_defaults=True):
    chat_id: int | str
    action: str
    message_thread_id: int | None = None


class SendMessageDraft(Struct, frozen=True, omit_defaults=True):
    chat_id: int
    draft_id: int
    text: str
    message_thread_id: int | None = None
    parse_mode: str | None = None


class AnswerCallbackQuery(Struct, frozen=True, omit_defaults=True):
    callback_query_id: str
    text: str = ""
    show_alert: bool = False


class GetFile(Struct, frozen=True):
    file_id: str


class Batch(Struct, frozen=True):
    """What one getUpdates gave. ``next_offset`` is None when nothing came; ``skipped`` says why some were left out."""

    updates: tuple[Update, ...] = ()
    next_offset: int | None = None
    skipped: tuple[str, ...] = ()


class Numbered(Struct, frozen=True):
    """Of an update that cannot be read, its number."""

    update_id: int


def decode_batch(result: bytes | Raw) -> Batch:
    """The updates of one getUpdates. One that cannot be read is skipped, but counts for the offset: it would come for ever.

    :raises Malformed: not a list, or a list in which no update has a number.
    """
    items = decode(result, list[Raw])
    updates: list[Update] = []
    skipped: list[str] = []
    numbers: list[int] = []
    for item in items:
        try:
            update = decode(item, Update, lenient=True)
            updates.append(update)
            numbers.append(update.update_id)
        except Malformed as error:
            number = _number_of(item)
            numbers += [] if number is None else [number]
            skipped.append(f"update {number}: {error}")
    if items and not numbers:
        raise Malformed("updates without a number")
    # The highest of this batch, not of all time: after a quiet week Telegram starts anew at a random number (#update).
    return Batch(tuple(updates), max(numbers) + 1 if numbers else None, tuple(skipped))


def _number_of(item: Raw) -> int | None:
    try:
        return decode(item, Numbered).update_id
    except Malformed:
        return None
