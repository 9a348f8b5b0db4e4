"""What a test holds: one bot on a fake Bot API server, driven from the platform's side."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Self

import trio

from tests.fakes.bot_api import updates as shapes
from tests.fakes.bot_api.bot import Bot, Call, lane_of
from tests.fakes.bot_api.chats import Chat
from tests.fakes.bot_api.errors import ApiError, Json
from tests.fakes.bot_api.faults import Fault, When
from tests.fakes.bot_api.http_server import Handler, listen, port_of, serve_http
from tests.fakes.bot_api.methods.pressing import Buttons, person_in
from tests.fakes.bot_api.server import Server

TOKEN = "424242:AAfake_token_for_tests_0123456789abcdef"
USERNAME = "echo_bot"


class FakeBotApi(Buttons):
    """One bot of a server, as the platform sees it.

    Methods named ``user_…`` do what a person does in the app and return the Update that came of it. A ``chat`` is an id
    (positive: private, -100…: supergroup, else group) or a Chat object from ``updates``; it is known to the bot from then on.
    """

    def __init__(self, server: Server, bot: Bot) -> None:
        super().__init__(bot)
        self._server = server

    @classmethod
    @asynccontextmanager
    async def serve(
        cls, *, token: str = TOKEN, username: str = USERNAME, port: int = 0, now: Callable[[], float] | None = None
    ) -> AsyncIterator[Self]:
        """Serve on 127.0.0.1 in the caller's Trio loop. ``now`` (Unix seconds) follows Trio's clock by default.

        :raises AssertionError: at the end, when a request violated the Bot API's parameter lists (see ``violations``).
        """
        listener = await listen(port)
        started = time.time() - trio.current_time()
        async with trio.open_nursery() as nursery:
            server = Server(nursery, now or (lambda: started + trio.current_time()))
            server.url = f"http://127.0.0.1:{port_of(listener)}"
            nursery.start_soon(serve_http, listener, server.handle)
            api = cls(server, server.add_bot(token, username))
            yield api
            nursery.cancel_scope.cancel()
        assert not server.violations, "\n".join(server.violations)

    @property
    def url(self) -> str:
        """The API's base, to be followed by ``/bot<token>/<method>``."""
        return self._server.url

    @property
    def token(self) -> str:
        return self._bot.token

    @property
    def user(self) -> Json:
        """The bot as getMe gives it."""
        return self._bot.user

    @property
    def violations(self) -> list[str]:
        """What clients of any bot did against the Bot API. Clear it where a test provokes some."""
        return self._server.violations

    @property
    def waiting_poll(self) -> object | None:
        """The getUpdates that waits now, None when none does. It is the same object for as long as it is the same request."""
        return self._bot.poll

    async def wait_poll(self) -> object:
        """Wait until a getUpdates waits."""
        await self._bot.wait_until(lambda: self._bot.poll is not None)
        return self._bot.poll

    def add_bot(self, token: str, username: str = USERNAME) -> "FakeBotApi":
        """A further bot on the same server (the same one when the token is known)."""
        return FakeBotApi(self._server, self._server.add_bot(token, username))

    def serve_control(self, control: Handler) -> None:
        """Answer ``/control/…`` with this handler."""
        self._server.control = control

    def menu(self, scope: str = "default") -> list[str]:
        """The names of the commands in the list of a scope, for every language."""
        return [command["command"] for command in self._bot.menus.get(f"{scope}:", [])]

    def revoke_token(self) -> None:
        """From now on: 401 Unauthorized."""
        self._bot.revoked = True

    # What was asked for

    @property
    def log(self) -> list[Call]:
        """Every request that named a method, in order of receipt."""
        return self._bot.calls

    def calls(self, method: str) -> list[Json]:
        """The parameters of every request for ``method``, in order of receipt, whatever became of it."""
        return [call.params for call in self._bot.calls if call.method == method]

    async def wait_call(self, method: str, *, count: int = 1, when: When | None = None) -> Json:
        """Wait until ``count`` requests for ``method`` (that fulfil ``when``) were answered; the parameters of the last."""
        found: list[Json] = []

        def arrived() -> bool:
            if self._bot.answers[method] < count:
                return False
            found[:] = [
                call.params
                for call in self._bot.calls
                if call.method == method and call.status is not None and (when is None or when(call.params))
            ]
            return len(found) >= count

        await self._bot.wait_until(arrived)
        return found[count - 1]

    def clear_calls(self) -> None:
        self._bot.calls.clear()
        self._bot.answers.clear()

    def watch(self, seen: Callable[[Call], None]) -> None:
        """Call ``seen`` for every request from now on, as soon as its answer is known (and before it is sent)."""
        self._bot.watchers.append(seen)

    # What can be seen

    def chat(self, chat_id: int) -> Chat:
        """:raises KeyError: the bot knows no such chat."""
        chat = self._bot.chats.get(chat_id)
        if chat is None:
            raise KeyError(chat_id)
        return chat

    def texts(self, chat_id: int, *, thread: int | None = None) -> list[str]:
        """The bot's own messages in this chat as they read now: text or caption, edits applied, deleted ones gone."""
        return [
            str(message.get("text", message.get("caption", "")))
            for message in self.chat(chat_id).visible(thread)
            if message.get("from", {}).get("id", self.user["id"]) == self.user["id"]
        ]

    async def wait_texts(self, chat_id: int, count: int, *, thread: int | None = None) -> list[str]:
        """Wait until the bot has at least ``count`` messages in this chat."""
        await self._bot.wait_until(
            lambda: self._bot.chats.get(chat_id) is not None and len(self.texts(chat_id, thread=thread)) >= count
        )
        return self.texts(chat_id, thread=thread)

    async def wait_text(self, chat_id: int, words: str) -> str:
        """Wait until one of the bot's messages in this chat has these words, perhaps by an edit; the whole of it."""
        found: list[str] = []

        def said() -> bool:
            found[:] = [text for text in self.texts(chat_id) if words in text]
            return bool(found)

        await self._bot.wait_until(said)
        return found[0]

    @property
    def pending_update_count(self) -> int:
        return len(self._bot.updates)

    async def wait_delivered(self) -> None:
        """Wait until no update is pending: all confirmed by an offset, or taken by the webhook."""
        await self._bot.wait_until(lambda: not len(self._bot.updates))

    # What people do

    def add_chat(self, chat: int | Json) -> Chat:
        """Make a chat known without a message, as a person who pressed Start long ago."""
        return self._bot.chat_for(chat)

    def add_update(self, update: Json) -> Json:
        """Queue any Update object; it is numbered unless it brings ``update_id``. Its chat is not made known."""
        return self._bot.add_update(update)

    def redeliver(self, update: Json) -> None:
        """Deliver an update once more, with its number, as after a confirmation that got lost on the way."""
        self._bot.updates.add_again(update, lane_of(update))
        self._bot.updates_changed()

    def user_sends(
        self,
        chat: int | Json,
        text: str = "",
        *,
        user: Json | None = None,
        thread: int | None = None,
        reply_to: int | None = None,
        content: Json | None = None,
    ) -> Json:
        """A message; ``content`` instead of ``text`` for anything but text. ``thread`` is a forum topic, made when new."""
        message = self._post(chat, user, content or shapes.text_content(text), thread=thread, reply_to=reply_to)
        return self.add_update({"message": message})

    def user_edits(self, chat: int | Json, message_id: int, text: str) -> Json:
        """edited_message"""
        known = self._bot.chat_for(chat)
        old = {key: value for key, value in known.messages[message_id].items() if key not in {"text", "entities"}}
        message = {**old, "edit_date": self._bot.unix_time(), **shapes.text_content(text)}
        known.messages[message_id] = message
        return self.add_update({"edited_message": message})

    def user_sends_photo(self, chat: int | Json, caption: str | None = None, *, content: bytes = b"\xff\xd8jpeg") -> Json:
        files = [self._bot.store_file("photos", "file_*.jpg", content) for _ in range(3)]
        return self.user_sends(chat, content={**shapes.photo_content(files), **shapes.caption_content(caption)})

    def user_sends_document(
        self, chat: int | Json, name: str, content: bytes, *, mime_type: str = "text/plain", caption: str | None = None
    ) -> Json:
        file = self._bot.store_file("documents", "file_*.bin", content)
        return self.user_sends(
            chat, content={**shapes.document_content(file, name, mime_type), **shapes.caption_content(caption)}
        )

    def user_sends_voice(self, chat: int | Json, content: bytes = b"OggS", *, duration: int = 3) -> Json:
        file = self._bot.store_file("voice", "file_*.oga", content)
        return self.user_sends(chat, content=shapes.voice_content(file, duration))

    def channel_posts(self, chat: int | Json, text: str) -> Json:
        """channel_post"""
        info = shapes.make_channel(chat) if isinstance(chat, int) else chat
        return self.add_update({"channel_post": self._post(info, None, shapes.text_content(text))})

    def member_changes(self, chat: int | Json, new: str, *, old: str = "member", user: Json | None = None) -> Json:
        """my_chat_member: the bot's own status. In a private chat "kicked" means blocked, "member" unblocked."""
        known = self._bot.chat_for(chat)
        known.refusal = _refusal(known.info["type"], new)
        change = shapes.make_member_change(
            known.info,
            user or person_in(known),
            shapes.as_sender(self.user),
            self._bot.unix_time(),
            old=old,
            new=new,
        )
        return self.add_update({"my_chat_member": change})

    def group_upgrades(self, chat: int, to: int) -> Json:
        """A group becomes a supergroup: writing to the old id is refused with migrate_to_chat_id."""
        known = self._bot.chat_for(chat)
        self._bot.chats.add(shapes.make_supergroup(to, known.info.get("title", "Group")))
        known.refusal = ApiError(400, "Bad Request: group chat was upgraded to a supergroup chat", {"migrate_to_chat_id": to})
        self.user_sends(chat, content={"migrate_to_chat_id": to})
        return self.user_sends(to, content={"migrate_from_chat_id": chat})

    def unknown_update(self, kind: str = "hologram_call") -> Json:
        """An update of a type that nobody knows yet."""
        return self.add_update({kind: {"id": "1", "shape": ["round", {"depth": 3}]}})

    def _post(
        self,
        chat: int | Json,
        user: Json | None,
        content: Json,
        *,
        thread: int | None = None,
        reply_to: int | None = None,
    ) -> Json:
        known = self._bot.chat_for(chat)
        if thread is not None:
            known.topics.add(thread)
        message = shapes.make_message(
            self._bot.chats.number(),
            known.info,
            self._bot.unix_time(),
            sender=None if known.info["type"] == "channel" else user or person_in(known),
            thread=thread,
            reply_to=known.messages.get(reply_to or 0),
            content=content,
        )
        known.messages[message["message_id"]] = message
        return message

    # What goes wrong

    def fail_next(
        self,
        method: str,
        error_code: int,
        description: str,
        *,
        parameters: Json | None = None,
        times: int | None = 1,
        when: When | None = None,
    ) -> None:
        """Refuse the next ``times`` requests (None: all) for ``method`` ("*": any) that fulfil ``when``; nothing is done.

        ``parameters`` is ResponseParameters, e.g. ``{"retry_after": 7}`` with 429.
        """
        error = ApiError(error_code, description, parameters)
        self._bot.faults.add(Fault("error", method, times, when, error=error))

    def drop_next(self, method: str, *, processed: bool, times: int | None = 1, when: When | None = None) -> None:
        """Reset the connection instead of answering; ``processed``: after the request took effect."""
        self._bot.faults.add(Fault("drop_after" if processed else "drop_before", method, times, when))

    def drop_poll(self) -> None:
        """Reset the connection of the getUpdates that waits, if one does."""
        if self._bot.poll is not None:
            self._bot.poll.drop()

    def delay_next(self, method: str, seconds: float, *, times: int | None = 1, when: When | None = None) -> None:
        self._bot.faults.add(Fault("delay", method, times, when, seconds=seconds))

    def hold_next(self, method: str) -> trio.Event:
        """The next request for ``method`` takes effect, and is answered, when the returned event is set."""
        released = trio.Event()
        self._bot.faults.add(Fault("hold", method, released=released))
        return released

    def hang_next(self, method: str, *, times: int | None = 1, when: When | None = None) -> None:
        """Never answer; the connection stays open."""
        self._bot.faults.add(Fault("hang", method, times, when))

    def garble_next(
        self, method: str, *, status: int = 502, body: bytes = b"<html>Bad Gateway</html>", times: int | None = 1
    ) -> None:
        """Answer what a broken proxy answers."""
        self._bot.faults.add(Fault("garbage", method, times, status=status, body=body))

    def behave(self) -> None:
        """Forget all faults that were asked for and have not happened."""
        self._bot.faults.clear()

    # Webhooks

    @property
    def webhook_url(self) -> str:
        """What setWebhook set; empty without a webhook."""
        return self._bot.webhook.url if self._bot.webhook else ""

    @property
    def last_webhook_error(self) -> str:
        """The last failure of a delivery, as getWebhookInfo words it; empty without one."""
        return self._bot.webhook.last_error_message if self._bot.webhook else ""

    async def wait_webhook(self) -> str:
        """Wait until a webhook is set; its URL."""
        await self._bot.wait_until(lambda: self._bot.webhook is not None)
        return self.webhook_url

    def route_webhooks(self, public: str, real: str) -> None:
        """Deliver to ``real`` what is registered under ``public``: the stand-in for DNS and a TLS proxy."""
        self._server.webhook_routes[public.rstrip("/")] = real.rstrip("/")

    async def post_update(self, update: Json, *, secret_token: str | None = None) -> int:
        """POST an update to the webhook once, past the queue; the HTTP status. ``secret_token`` None is the right one.

        :raises ConnectionError: no answer.
        """
        webhook = self._bot.webhook
        assert webhook is not None, "no webhook is set"
        secret = webhook.secret_token if secret_token is None else secret_token
        return (await self._server.senders[self.token].post(webhook.url, update, secret)).status


def _refusal(chat_type: str, status: str) -> ApiError | None:
    if status not in {"kicked", "left"}:
        return None
    if chat_type == "private":
        return ApiError(403, "Forbidden: bot was blocked by the user")
    if status == "kicked":
        return ApiError(403, f"Forbidden: bot was kicked from the {chat_type} chat")
    return ApiError(403, f"Forbidden: bot is not a member of the {chat_type} chat")
