"""What an account remembers between starts, all of it bound to the token: another token begins with nothing."""

import hashlib
import secrets

from gatewayd.model.secret import Secret
from gatewayd.ports.memos import Memos

_MOST_GROUPS = 10_000


class Memory:
    """Memos under keys that end in a fingerprint of the token."""

    def __init__(self, memos: Memos, token: Secret) -> None:
        self._memos = memos
        self._fingerprint = hashlib.sha256(token.reveal().encode()).hexdigest()[:16]
        self._moved: dict[int, int | None] = {}

    @property
    def offset_key(self) -> str:
        """Where ``deliver`` stores the poll offset, together with the envelopes."""
        return f"offset.{self._fingerprint}"

    async def offset(self) -> int | None:
        """The offset for the next getUpdates; None: from the oldest update that Telegram still has."""
        saved = await self._memos.load(self.offset_key)
        return int(saved) if saved is not None else None

    async def had_rival(self) -> bool:
        """Whether another program received for this bot when we tried last."""
        return await self._memos.load(f"rival.{self._fingerprint}") == "yes"

    async def note_rival(self, seen: bool) -> None:
        if await self.had_rival() != seen:
            await self._memos.save(f"rival.{self._fingerprint}", "yes" if seen else "no")

    async def username(self) -> str | None:
        """The bot's name as getMe gave it last."""
        return await self._memos.load(f"username.{self._fingerprint}")

    async def remember_username(self, username: str) -> None:
        if await self.username() != username:
            await self._memos.save(f"username.{self._fingerprint}", username)

    async def webhook_secret(self) -> str:
        """A random secret_token (setWebhook: 1-256 characters of A-Z, a-z, 0-9, _ and -), made at first use. Of its own for
        each token: a webhook that the bot of an earlier token still has must not pass for this one's."""
        key = f"webhook_secret.{self._fingerprint}"
        secret = await self._memos.load(key)
        if secret is None:
            secret = secrets.token_urlsafe(32)
            await self._memos.save(key, secret)
        return secret

    async def current_id(self, chat_id: int | str) -> int | str:
        """``chat_id``, or the supergroup that this group has become. Supergroups' and people's own ids never change."""
        if isinstance(chat_id, str) or not -1_000_000_000_000 < chat_id < 0:
            return chat_id
        if chat_id not in self._moved:
            saved = await self._memos.load(f"moved.{chat_id}.{self._fingerprint}")
            self._note(chat_id, None if saved is None else int(saved))
        return self._moved[chat_id] or chat_id

    async def remember_move(self, chat_id: int, to: int) -> None:
        await self._memos.save(f"moved.{chat_id}.{self._fingerprint}", str(to))
        self._note(chat_id, to)

    def _note(self, chat_id: int, to: int | None) -> None:
        if len(self._moved) >= _MOST_GROUPS:
            self._moved.clear()  # only a cache
        self._moved[chat_id] = to
