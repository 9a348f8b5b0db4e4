"""Update objects in the platform's shape (core.telegram.org/bots/api#update and the types below it). Pure."""

from tests.fakes.bot_api.errors import Json
from tests.fakes.bot_api.methods.entities import find_entities


def make_user(user_id: int = 4711, first_name: str = "Alice", username: str | None = "alice") -> Json:
    """User, https://core.telegram.org/bots/api#user"""
    user: Json = {"id": user_id, "is_bot": False, "first_name": first_name}
    if username is not None:
        user["username"] = username
    return {**user, "language_code": "en"}


def make_bot_user(bot_id: int, username: str) -> Json:
    """User, with the fields that only getMe returns."""
    return {
        "id": bot_id,
        "is_bot": True,
        "first_name": username.removesuffix("_bot").capitalize(),
        "username": username,
        "can_join_groups": True,
        "can_read_all_group_messages": False,
        "supports_inline_queries": False,
        "can_connect_to_business": False,
        "has_main_web_app": False,
        "has_topics_enabled": False,
        "allows_users_to_create_topics": False,
        "can_manage_bots": False,
        "supports_guest_queries": False,
    }


def as_sender(bot_user: Json) -> Json:
    """The bot as ``from`` of a message."""
    return {key: bot_user[key] for key in ("id", "is_bot", "first_name", "username")}


def make_private_chat(user: Json) -> Json:
    """Chat of type private: its id is the user's."""
    chat: Json = {"id": user["id"], "first_name": user["first_name"]}
    if "username" in user:
        chat["username"] = user["username"]
    return {**chat, "type": "private"}


def make_group(chat_id: int = -4001, title: str = "Family") -> Json:
    return {"id": chat_id, "title": title, "type": "group", "all_members_are_administrators": True}


def make_supergroup(chat_id: int = -1001234567890, title: str = "Ops", *, forum: bool = False) -> Json:
    return {"id": chat_id, "title": title, **({"is_forum": True} if forum else {}), "type": "supergroup"}


def make_channel(chat_id: int = -1009876543210, title: str = "News") -> Json:
    return {"id": chat_id, "title": title, "type": "channel"}


def make_chat(chat_id: int) -> Json:
    """A chat of the kind that its id says: positive private, -100… supergroup, else group."""
    if chat_id > 0:
        return make_private_chat(make_user(chat_id, f"User {chat_id}", f"user{chat_id}"))
    if chat_id < -1_000_000_000_000:
        return make_supergroup(chat_id, f"Supergroup {-chat_id}")
    return make_group(chat_id, f"Group {-chat_id}")


def make_message(
    message_id: int,
    chat: Json,
    date: int,
    *,
    sender: Json | None,
    thread: int | None = None,
    reply_to: Json | None = None,
    content: Json,
) -> Json:
    """Message. ``sender`` None is a channel post. ``content`` has the text, the caption or the media."""
    message: Json = {"message_id": message_id}
    if sender is None:
        message["sender_chat"] = chat
    else:
        message["from"] = sender
    message.update({"chat": chat, "date": date})
    if thread is not None:
        message["message_thread_id"] = thread
    if reply_to is not None:
        message["reply_to_message"] = {key: value for key, value in reply_to.items() if key != "reply_to_message"}
    message.update(content)
    if thread is not None and chat.get("is_forum"):
        message["is_topic_message"] = True
    return message


def text_content(text: str) -> Json:
    entities = find_entities(text)
    return {"text": text, **({"entities": entities} if entities else {})}


def caption_content(caption: str | None) -> Json:
    if caption is None:
        return {}
    entities = find_entities(caption)
    return {"caption": caption, **({"caption_entities": entities} if entities else {})}


def photo_content(files: list[Json]) -> Json:
    """PhotoSize array, the smallest first; ``files`` are File objects of the same picture."""
    sides = (90, 320, 1280)
    return {
        "photo": [
            {
                "file_id": file["file_id"],
                "file_unique_id": file["file_unique_id"],
                "file_size": file["file_size"],
                "width": side,
                "height": side * 3 // 4,
            }
            for file, side in zip(files, sides, strict=False)
        ]
    }


def document_content(file: Json, name: str, mime_type: str) -> Json:
    return {"document": {"file_name": name, "mime_type": mime_type, **_file_fields(file)}}


def voice_content(file: Json, duration: int) -> Json:
    return {"voice": {"duration": duration, "mime_type": "audio/ogg", **_file_fields(file)}}


def _file_fields(file: Json) -> Json:
    return {key: file[key] for key in ("file_id", "file_unique_id", "file_size")}


def make_callback_query(query_id: str, user: Json, message: Json, data: str, *, accessible: bool = True) -> Json:
    """CallbackQuery of an inline button, https://core.telegram.org/bots/api#callbackquery. A message that the server cannot
    read (any more) is an InaccessibleMessage: its chat, its number and the date 0."""
    instance = str(message["chat"]["id"] * 31)
    if not accessible:
        message = {"message_id": message["message_id"], "chat": message["chat"], "date": 0}
    return {"id": query_id, "from": user, "message": message, "chat_instance": instance, "data": data}


def make_member_change(chat: Json, user: Json, bot: Json, date: int, *, old: str, new: str) -> Json:
    """ChatMemberUpdated of the bot itself, https://core.telegram.org/bots/api#chatmemberupdated"""
    return {
        "chat": chat,
        "from": user,
        "date": date,
        "old_chat_member": _member(bot, old),
        "new_chat_member": _member(bot, new),
    }


def _member(bot: Json, status: str) -> Json:
    """ChatMember. Each status has fields of its own."""
    rights = (
        "can_be_edited",
        "is_anonymous",
        "can_manage_chat",
        "can_delete_messages",
        "can_manage_video_chats",
        "can_restrict_members",
        "can_promote_members",
        "can_change_info",
        "can_invite_users",
        "can_post_stories",
        "can_edit_stories",
        "can_delete_stories",
        "can_send_welcome_messages",
    )
    match status:
        case "kicked":
            return {"user": bot, "status": status, "until_date": 0}
        case "administrator":
            return {"user": bot, "status": status, **dict.fromkeys(rights, False)}
        case _:
            return {"user": bot, "status": status}
