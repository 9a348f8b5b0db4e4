"""Chats and what can be seen in them.

Facts: core.telegram.org/bots/api#message, #chat. A chat exists for a bot once somebody wrote to it there (a bot cannot
start a private chat), so sending elsewhere is "chat not found".
"""

from msgspec import Struct, field

from tests.fakes.bot_api.errors import ApiError, Json, bad_request


class Chat(Struct):
    """One chat as the bot knows it. ``refusal`` is what every write here is answered with (blocked, kicked, upgraded)."""

    info: Json
    messages: dict[int, Json] = field(default_factory=dict)
    topics: set[int] = field(default_factory=set)
    refusal: ApiError | None = None

    def visible(self, thread: int | None) -> list[Json]:
        """Messages in their order, edits applied, deleted ones gone."""
        return [message for message in self.messages.values() if thread is None or message.get("message_thread_id") == thread]


class Chats:
    """All chats of one bot, and the numbering of its messages."""

    def __init__(self) -> None:
        self._chats: dict[int, Chat] = {}
        self._next_message_id = 1

    def add(self, info: Json) -> Chat:
        """The chat with this id; its description is replaced by ``info``."""
        chat = self._chats.setdefault(info["id"], Chat(info))
        chat.info = info
        return chat

    def get(self, chat_id: int) -> Chat | None:
        return self._chats.get(chat_id)

    def find(self, chat_id: object) -> Chat:
        """The chat that a request names by id or @username.

        :raises ApiError: 400, empty or unknown.
        """
        if chat_id in (None, ""):
            raise bad_request("chat_id is empty")
        if isinstance(chat_id, int):
            chat = self._chats.get(chat_id)
        else:
            name = str(chat_id).removeprefix("@").lower()
            chat = next((chat for chat in self._chats.values() if chat.info.get("username", "").lower() == name), None)
        if chat is None:
            raise bad_request("chat not found")
        return chat

    def find_writable(self, chat_id: object) -> Chat:
        """Like :meth:`find`, and refused where the bot may not write."""
        chat = self.find(chat_id)
        if chat.refusal is not None:
            raise chat.refusal
        return chat

    def number(self) -> int:
        """The next message id."""
        message_id = self._next_message_id
        self._next_message_id += 1
        return message_id
