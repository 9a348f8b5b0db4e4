"""What an account remembers between starts. Only the migrations of groups are valid for every token."""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Final

import msgspec

from gatewayd.model.secret import Secret
from gatewayd.ports.store import State

MOST_GROUPS = 10_000


class BotState:
    """State under keys that end in a fingerprint of the token."""

    def __init__(self, state: State, token: Secret) -> None:
        self._state = state
        self._fingerprint = hashlib.sha256(token.reveal().encode()).hexdigest()[:16]
        self.migrations = Migrations()

    async def load_migrations(self) -> None:
        self.migrations = Migrations(await self._state.load(Migrations.KEY))

    async def save_migrations(self) -> None:
        """Returns after the commit. :raises StoreRefused:"""
        unsaved = self.migrations.unsaved
        for key, value in unsaved.items():
            await self._state.save(key, value)
        self.migrations.note_saved(unsaved)

    @property
    def offset_key(self) -> str:
        """Where ``deliver`` stores the poll offset, together with the envelopes."""
        return f"offset.{self._fingerprint}"

    async def offset(self) -> int | None:
        """The offset for the next getUpdates; None: from the oldest update that Telegram still has."""
        saved = await self._state.load(self.offset_key)
        return int(saved) if saved is not None else None

    async def had_rival(self) -> bool:
        """Whether another program received for this bot at the last attempt."""
        return await self._state.load(f"rival.{self._fingerprint}") == "yes"

    async def note_rival(self, seen: bool) -> None:
        if await self.had_rival() != seen:
            await self._state.save(f"rival.{self._fingerprint}", "yes" if seen else "no")

    async def username(self) -> str | None:
        """The bot's name as getMe gave it last."""
        return await self._state.load(f"username.{self._fingerprint}")

    async def remember_username(self, username: str) -> None:
        if await self.username() != username:
            await self._state.save(f"username.{self._fingerprint}", username)

    async def webhook_secret(self) -> str:
        """A random secret_token (setWebhook: 1-256 characters of A-Z, a-z, 0-9, _ and -), made at first use. Each token
        has its own: a webhook that the bot of an earlier token still has must not be taken for this one."""
        key = f"webhook_secret.{self._fingerprint}"
        secret = await self._state.load(key)
        if secret is None:
            secret = secrets.token_urlsafe(32)
            await self._state.save(key, secret)
        return secret


class Migrations:
    """Groups that became supergroups. Each got another id, once and for good, and the same for every bot (#message,
    migrate_to_chat_id). Beyond ``MOST_GROUPS`` the oldest is forgotten.

    A supergroup numbers its messages anew. So the reference of a message in such a supergroup is NUMBER@CHAT: the number alone
    means a message of the former group.
    """

    KEY: Final = "moved"

    def __init__(self, saved: str | None = None) -> None:
        self._now = {} if saved is None else msgspec.json.decode(saved, type=dict[int, int])
        self._before = {now: before for before, now in self._now.items()}
        self._wanted = self._saved = saved

    def note(self, before: int, now: int) -> bool:
        """Whether the migration was not known yet."""
        if self._now.get(before) == now:
            return False
        self._now[before], self._before[now] = now, before
        while len(self._now) > MOST_GROUPS:
            del self._before[self._now.pop(next(iter(self._now)))]
        self._wanted = msgspec.json.encode(self._now).decode()
        return True

    @property
    def unsaved(self) -> dict[str, str]:
        """What to write, together with the update that said so or before that update is acknowledged."""
        return {} if self._wanted is None or self._wanted == self._saved else {self.KEY: self._wanted}

    def note_saved(self, saved: Mapping[str, str]) -> None:
        self._saved = saved.get(self.KEY, self._saved)

    def now(self, chat_id: int | str) -> int | str:
        """The id under which a chat can be reached."""
        return chat_id if isinstance(chat_id, str) else self._now.get(chat_id, chat_id)

    def before(self, chat_id: int) -> int | None:
        """The id that a supergroup had as a group."""
        return self._before.get(chat_id)

    def reference(self, number: int | str, chat_id: int | str) -> str:
        """The message id that the hub knows for a message of this chat."""
        return f"{number}@{chat_id}" if chat_id in self._before else str(number)
