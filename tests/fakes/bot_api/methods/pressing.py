"""Buttons as people see and press them, and what the bot answered."""

from tests.fakes.bot_api import updates as shapes
from tests.fakes.bot_api.bot import Bot
from tests.fakes.bot_api.chats import Chat
from tests.fakes.bot_api.errors import Json
from tests.fakes.bot_api.methods.keyboards import buttons_of, data_behind


class Buttons:
    """The part of FakeBotApi that is about inline keyboards."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    def buttons(self, chat_id: int, message_id: int) -> list[list[str]]:
        """The labels of the buttons under a message, row by row. :raises KeyError: there is no such message."""
        return [[button["text"] for button in row] for row in buttons_of(self._bot.chat_for(chat_id).messages[message_id])]

    async def wait_buttons(self, chat_id: int, label: str) -> int:
        """Wait until a message of the chat has a button with this label; the newest one's id."""
        found: list[int] = []

        def shown() -> bool:
            chat = self._bot.chats.get(chat_id)
            found[:] = [
                number
                for number in (chat.messages if chat is not None else ())
                if any(label in row for row in self.buttons(chat_id, number))
            ]
            return bool(found)

        await self._bot.wait_until(shown)
        return found[-1]

    def answer_to(self, press: Json) -> Json | None:
        """The parameters of the answerCallbackQuery that was taken for this update of :meth:`user_presses`."""
        return self._bot.presses[press["callback_query"]["id"]]

    async def wait_answer(self, press: Json) -> Json:
        """Wait until the press is answered; the parameters of the answer."""
        await self._bot.wait_until(lambda: self.answer_to(press) is not None)
        answer = self.answer_to(press)
        assert answer is not None
        return answer

    def user_presses(
        self, chat: int | Json, message_id: int, data: str, *, user: Json | None = None, accessible: bool = True
    ) -> Json:
        """callback_query with this data, whether or not the message has such a button (any more): a client of somebody's own
        can send any data, and an app may still show what was edited away. ``accessible`` False: an old message."""
        known = self._bot.chat_for(chat)
        query_id = str(7_000_000_000 + self._bot.chats.number())
        self._bot.presses[query_id] = None
        message, presser = known.messages[message_id], user or person_in(known)
        query = shapes.make_callback_query(query_id, presser, message, data, accessible=accessible)
        return self._bot.add_update({"callback_query": query})

    def user_presses_button(
        self, chat: int | Json, label: str, *, message_id: int | None = None, user: Json | None = None
    ) -> Json:
        """callback_query of a button that is shown now: under this message, else under the newest that has one.

        :raises KeyError: no button with this label is there.
        """
        known = self._bot.chat_for(chat)
        for number in [message_id] if message_id is not None else reversed(list(known.messages)):
            if any(button["text"] == label for row in buttons_of(known.messages[number]) for button in row):
                return self.user_presses(chat, number, data_behind(known.messages[number], label), user=user)
        raise KeyError(label)


def person_in(chat: Chat) -> Json:
    """Who writes and presses there when a test names nobody."""
    if chat.info["type"] != "private":
        return shapes.make_user()
    info = chat.info
    return shapes.make_user(info["id"], info["first_name"], info.get("username"))
