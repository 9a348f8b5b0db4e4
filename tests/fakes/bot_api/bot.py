"""One bot on the server: who it is, what waits for it, what it knows, and what it asked for."""

from collections import Counter
from collections.abc import Callable

import trio
from msgspec import Struct

from tests.fakes.bot_api.chats import Chat, Chats
from tests.fakes.bot_api.errors import ApiError, Json
from tests.fakes.bot_api.faults import Faults
from tests.fakes.bot_api.update_queue import UpdateQueue
from tests.fakes.bot_api.updates import make_bot_user, make_chat

FIRST_UPDATE_ID = 100_000_001
CONFLICT_PAUSE_SECONDS = 3.0
CALLS_KEPT = 1_000_000


class Call(Struct):
    """One request that named a method. ``at`` is Trio's clock at receipt; ``status`` is None until it is answered."""

    method: str
    params: Json
    at: float
    status: int | None = None


class StoredFile(Struct):
    """A file that getFile knows: its File object and its bytes."""

    file: Json
    content: bytes


class Webhook(Struct):
    """What setWebhook set (core.telegram.org/bots/api#setwebhook), and the last failure of a delivery."""

    url: str
    secret_token: str = ""
    max_connections: int = 40
    ip_address: str = ""
    last_error_date: int | None = None
    last_error_message: str = ""


class Signal:
    """Wakes everybody who waits for a change; costs nothing while nobody does."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self._waited_for = False

    def notify(self) -> None:
        if self._waited_for:
            self._waited_for = False
            self._event.set()
            self._event = trio.Event()

    async def wait(self) -> None:
        """Return at the next change."""
        self._waited_for = True
        await self._event.wait()


class Dropped(Exception):
    """The connection of a request breaks while it waits."""


class Poll:
    """A getUpdates that waits. It ends with an update, with a refusal, with its time, or with its connection."""

    def __init__(self) -> None:
        self._over = trio.Event()
        self.refusal: str | None = None
        self.is_dropped = False

    def wake(self) -> None:
        self._over.set()

    def refuse(self, description: str) -> None:
        self.refusal = description
        self._over.set()

    def drop(self) -> None:
        self.is_dropped = True
        self._over.set()

    async def wait_over(self) -> None:
        await self._over.wait()


class Bot:
    """The state. Everything is synchronous except waiting; whoever changes something that can be waited for notifies."""

    def __init__(self, token: str, username: str, now: Callable[[], float]) -> None:
        self.token = token
        self.now = now
        self.user = make_bot_user(int(token.partition(":")[0]), username)
        self.updates = UpdateQueue(now, FIRST_UPDATE_ID)
        self.chats = Chats()
        self.faults = Faults()
        self.calls: list[Call] = []
        self.answers: Counter[str] = Counter()
        self.watchers: list[Callable[[Call], None]] = []
        self.files: dict[str, StoredFile] = {}
        self.presses: dict[str, Json | None] = {}  # by the callback query's id, with the answer that was taken
        self.menus: dict[str, list[Json]] = {}  # by scope and language
        self.webhook: Webhook | None = None
        self.next_webhook_at = 0.0
        self.revoked = False
        self.poll: Poll | None = None
        self.last_poll_offset: int | None = None
        self.last_poll_at = -1e9
        self._next_conflict_at = -1e9
        self.changed = Signal()
        self.deliverable = Signal()

    def unix_time(self) -> int:
        return int(self.now())

    def record(self, call: Call) -> None:
        if len(self.calls) >= CALLS_KEPT:
            raise RuntimeError(f"the fake keeps {CALLS_KEPT} calls: clear them now and then")
        self.calls.append(call)

    def answered(self, call: Call, status: int) -> None:
        """``status`` is the HTTP status, 0 for a connection reset instead."""
        call.status = status
        self.answers[call.method] += 1
        for watch in self.watchers:
            watch(call)
        self.changed.notify()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return as soon as ``condition`` holds; it is looked at after each change."""
        while not condition():
            await self.changed.wait()

    def add_update(self, update: Json) -> Json:
        """Queue an update and tell whoever waits for it."""
        numbered = self.updates.add(update, lane_of(update))
        self.updates_changed()
        return numbered

    def updates_changed(self) -> None:
        if self.poll is not None:
            self.poll.wake()
        self.deliverable.notify()
        self.changed.notify()

    def end_poll(self, description: str) -> None:
        """Refuse the getUpdates that waits, if one does."""
        if self.poll is not None:
            self.poll.refuse(description)
            self.poll = None

    async def conflict(self, description: str) -> ApiError:
        """409; from the second within three seconds on, the server answers it three seconds late (tdlib, Client.cpp)."""
        if trio.current_time() >= self._next_conflict_at:
            self._next_conflict_at = trio.current_time() + CONFLICT_PAUSE_SECONDS
        else:
            await trio.sleep(CONFLICT_PAUSE_SECONDS)
        return ApiError(409, f"Conflict: {description}")

    def chat_for(self, chat: int | Json) -> Chat:
        """The chat, made known to the bot when it is new."""
        if not isinstance(chat, int):
            return self.chats.add(chat)
        return self.chats.get(chat) or self.chats.add(make_chat(chat))

    def store_file(self, folder: str, name: str, content: bytes) -> Json:
        """File, https://core.telegram.org/bots/api#file"""
        number = len(self.files) + 1
        file: Json = {
            "file_id": f"AgACAgIAAxkBAAI{self.user['id']}-{number}",
            "file_unique_id": f"AQAD{self.user['id']}-{number}",
            "file_size": len(content),
            "file_path": f"{folder}/{name.replace('*', str(number))}",
        }
        self.files[file["file_id"]] = StoredFile(file, content)
        return file


def lane_of(update: Json) -> str:
    """What the server keeps in order when it delivers to a webhook: the updates of one chat, else of one user; the presses of
    one user apart from all else (tdlib, Client.cpp, process_new_callback_query_queue)."""
    if "callback_query" in update:
        return f"presses of {update['callback_query'].get('from', {}).get('id')}"
    for value in update.values():
        if isinstance(value, dict):
            chat = value.get("chat") or value.get("message", {}).get("chat")
            if chat:
                return f"chat {chat['id']}"
            if "from" in value:
                return f"user {value['from']['id']}"
    return "other"
