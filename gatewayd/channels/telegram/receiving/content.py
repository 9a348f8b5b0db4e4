"""What a message holds: files, the text of a rich message, and in one line what is neither. Pure.

The fields are those of core.telegram.org/bots/api#message as of Bot API 10.3. One that nobody knows yet is told of, too: what
a person sent must not vanish because it is newer than this module.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from gatewayd.channels.telegram.receiving.rich_message import text_of
from gatewayd.channels.telegram.wire import Media, Message
from gatewayd.kit.text import sanitise
from gatewayd.model.message.envelope import Attachment, AttachmentKind

LINES: dict[str, str] = {
    "venue": "venue: {<title>}{, <address>}{ (<location.latitude>}{, <location.longitude>)}",
    "location": "location: {<latitude>}{, <longitude>}",
    "contact": "contact: {<first_name>}{ <last_name>}{, <phone_number>}",
    "poll": "poll: {<question>}{ (<options.text>)}",
    "dice": "{<emoji>: }{<value>}",
    "story": "story: {<chat.title>}{<chat.first_name>}{ @<chat.username>}",
    "checklist": "checklist: {<title>}{ (<tasks.text>)}",
    "checklist_tasks_done": "checklist{, tasks done: <marked_as_done_task_ids>}{, tasks not done: <marked_as_not_done_task_ids>}",
    "checklist_tasks_added": "checklist, new tasks: {<tasks.text>}",
    "paid_media": "paid media{ for <star_count> stars}",
    "game": "game: {<title>}{, <description>}",
    "invoice": "invoice: {<title>}{, <description>}{, <total_amount> of the smallest units}{ of <currency>}",
    "successful_payment": "payment{: <total_amount> of the smallest units}{ of <currency>}{, payload <invoice_payload>}",
    "refunded_payment": "payment returned{: <total_amount> of the smallest units}{ of <currency>}{, payload <invoice_payload>}",
    "giveaway": "giveaway{ for <winner_count> winners}{, <prize_description>}{, of <chats.title>}",
    "giveaway_winners": "giveaway ended{ with <winner_count> winners}{, <prize_description>}{, of <chat.title>}",
    "web_app_data": "data of a web app{, from its button <button_text>}{: <data>}",
    "users_shared": "people shared{: <users.user_id>}{ (<users.first_name>)}",
    "user_shared": "person shared{: <user_id>}",
    "chat_shared": "chat shared{: <chat_id>}{ (<title>)}",
    "gift": "gift{ for <gift.star_count> stars}{: <text>}",
    "gift_upgrade_sent": "upgrade of a gift{ for <gift.star_count> stars}{: <text>}",
    "unique_gift": "gift{: <gift.base_name>}{ number <gift.number>}",
    "passport_data": "Telegram Passport data",
    "rich_message": "rich message without a text",
}
"""What a person sends on purpose, as a line for the agent: the first of them that is there. Braces stand for the value at the
path in them together with the words around it, and for nothing where there is no value; of a list all values are told."""

_SERVICE = """
new_chat_members left_chat_member chat_owner_left chat_owner_changed new_chat_title new_chat_photo delete_chat_photo
group_chat_created supergroup_chat_created channel_chat_created message_auto_delete_timer_changed migrate_to_chat_id
migrate_from_chat_id pinned_message connected_website write_access_allowed proximity_alert_triggered boost_added
chat_background_set direct_message_price_changed paid_message_price_changed forum_topic_created forum_topic_edited
forum_topic_closed forum_topic_reopened general_forum_topic_hidden general_forum_topic_unhidden giveaway_created
giveaway_completed managed_bot_created poll_option_added poll_option_deleted suggested_post_approved
suggested_post_approval_failed suggested_post_declined suggested_post_paid suggested_post_refunded video_chat_scheduled
video_chat_started video_chat_ended video_chat_participants_invited voice_chat_scheduled voice_chat_started voice_chat_ended
voice_chat_participants_invited community_chat_added community_chat_removed community_chat_joined
"""
SERVICE = frozenset(_SERVICE.split())
"""Fields of service messages, which Telegram itself writes in a chat. No agent gets them."""

_ABOUT = """
direct_messages_topic sender_boost_count sender_tag guest_query_id business_connection_id external_reply quote reply_to_story
reply_to_checklist_task_id reply_to_poll_option_id guest_bot_caller_user guest_bot_caller_chat has_protected_content
is_from_offline is_paid_post media_group_id author_signature paid_star_count link_preview_options suggested_post_info
effect_id show_caption_above_media has_media_spoiler reply_markup receiver_user ephemeral_message_id forward_from
forward_from_chat forward_from_message_id forward_sender_name forward_signature
"""
ABOUT = frozenset(_ABOUT.split())
"""What only says something about the message, beside the fields of ``wire.Message``."""

_KNOWN = SERVICE | ABOUT | LINES.keys() | set(Message.__struct_encode_fields__)
_PLACE = re.compile(r"\{([^{}<>]*)<([a-z_.]+)>([^{}<>]*)\}")


class Summary(Struct, frozen=True):
    """A line in brackets. ``is_service``: Telegram itself wrote the message, and no agent gets it."""

    line: str
    is_service: bool = False


def summarise(message: Mapping[str, object]) -> Summary:
    """In one line what a Message (as JSON) holds beside text and files."""
    if (kind := next((kind for kind in LINES if message.get(kind) is not None), None)) is not None:
        return Summary(f"[{_one_line(_filled(LINES[kind], message[kind]))}]")
    if (service := next((kind for kind in message if kind in SERVICE), None)) is not None:
        return Summary(f"[service message: {service}]", is_service=True)
    if unknown := [_one_line(kind) for kind in message if kind not in _KNOWN]:
        return Summary(f"[a message of a kind that gatewayd does not know: {', '.join(unknown)}]")
    return Summary("[empty message]", is_service=True)


def _filled(line: str, value: object) -> str:
    def place(match: re.Match[str]) -> str:
        before, path, after = match.groups()
        found = _at(value, path.split("."))
        return f"{before}{found}{after}" if found else ""

    return _PLACE.sub(place, line)


def _at(value: object, path: Sequence[str]) -> str:
    match value:
        case list():
            return " / ".join(filter(None, (_at(item, path) for item in value)))
        case Mapping():
            return _at(value.get(path[0]), path[1:]) if path else ""
        case str() | int() | float() if not path:
            return str(value)
    return ""


def _one_line(text: str) -> str:
    return " ".join(sanitise(text).split())


def rich_text_of(message: Message) -> str:
    return text_of(message.rich_message) if message.rich_message else ""


def attachments_of(message: Message) -> Iterator[Attachment]:
    if message.photo:
        yield _attachment("photo", max(message.photo, key=lambda size: size.width * size.height), "image/jpeg")
    if message.animation:  # the API sets document, too, for old clients
        yield _attachment("video", message.animation, "video/mp4")
    elif message.document:
        yield _attachment("document", message.document, None)
    if message.voice:
        yield _attachment("voice", message.voice, "audio/ogg")
    if message.audio:
        yield _attachment("audio", message.audio, None)
    if message.video:
        yield _attachment("video", message.video, "video/mp4")
    if message.video_note:
        yield _attachment("video", message.video_note, "video/mp4")
    if message.live_photo:  # the API sets photo, too
        yield _attachment("video", message.live_photo, "video/mp4")
    if message.sticker:
        yield _attachment("sticker", message.sticker, _sticker_mime(message.sticker))


def _attachment(kind: AttachmentKind, media: Media, mime: str | None) -> Attachment:
    name = media.file_name or (media.emoji if kind == "sticker" else None)
    return Attachment(kind, media.file_id, sanitise(name) if name else None, media.mime_type or mime, media.file_size)


def _sticker_mime(sticker: Media) -> str:
    if sticker.is_animated:
        return "application/x-tgsticker"
    return "video/webm" if sticker.is_video else "image/webp"
