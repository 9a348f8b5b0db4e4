"""The updates that wait for one bot: numbered, kept for a day, forgotten when confirmed.

Facts: core.telegram.org/bots/api#getupdates and #update: identifiers grow one by one from some positive number, an update
is confirmed by an offset above it, a negative offset forgets all but the last ones, nothing is kept longer than 24 hours. A
press of a button is kept for 150 seconds only (tdlib/telegram-bot-api, ``Client.cpp``, process_new_callback_query_queue).
"""

from collections import deque
from collections.abc import Callable, Iterator
from math import inf

from msgspec import Struct

from tests.fakes.bot_api.errors import Json

KEPT_SECONDS = 86_400.0
PRESS_KEPT_SECONDS = 150.0
UPDATE_TYPES = frozenset(
    {
        "message",
        "edited_message",
        "channel_post",
        "edited_channel_post",
        "business_connection",
        "business_message",
        "edited_business_message",
        "deleted_business_messages",
        "message_reaction",
        "message_reaction_count",
        "inline_query",
        "chosen_inline_result",
        "callback_query",
        "shipping_query",
        "pre_checkout_query",
        "purchased_paid_media",
        "poll",
        "poll_answer",
        "my_chat_member",
        "chat_member",
        "chat_join_request",
        "chat_boost",
        "removed_chat_boost",
    }
)
NOT_BY_DEFAULT = frozenset({"chat_member", "message_reaction", "message_reaction_count"})


class PendingUpdate(Struct, eq=False):
    """``lane``: what must be delivered in order (a chat). ``survives_once``: sent again whatever the offset says.

    ``failures``, ``pause`` (seconds) and ``not_before`` (Trio's clock) are the webhook delivery's.
    """

    update: Json
    lane: str
    expires_at: float
    survives_once: bool = False
    failures: int = 0
    pause: float = 1.0
    not_before: float = 0.0

    @property
    def update_id(self) -> int:
        update_id: int = self.update["update_id"]
        return update_id


class UpdateQueue:
    """In the order of arrival. Times are Unix seconds."""

    def __init__(self, now: Callable[[], float], first_id: int) -> None:
        self._now = now
        self._next_id = first_id
        self._pending: deque[PendingUpdate] = deque()
        self._next_expiry = inf
        self.allowed: frozenset[str] | None = None

    def __len__(self) -> int:
        self._expire()
        return len(self._pending)

    def allow(self, types: list[str] | None) -> None:
        """``allowed_updates``: an empty list is the default set, None keeps the previous setting."""
        if types is not None:
            known = frozenset(types) & UPDATE_TYPES
            self.allowed = known or None

    def allows(self, kind: str) -> bool:
        """A type that the fake does not know is newer than the filter, and passes."""
        if self.allowed is None:
            return kind not in NOT_BY_DEFAULT
        return kind in self.allowed or kind not in UPDATE_TYPES

    def add(self, update: Json, lane: str) -> Json:
        """Number the update (unless it has its number) and queue it, if its type is allowed."""
        if "update_id" not in update:
            update = {"update_id": self._next_id, **update}
            self._next_id += 1
        kind = next(key for key in update if key != "update_id")
        if self.allows(kind):
            self._append(PendingUpdate(update, lane, self._now() + _kept_seconds(kind)))
        return update

    def add_again(self, update: Json, lane: str) -> None:
        """Queue an update that was delivered before, as after a confirmation that got lost."""
        self._append(PendingUpdate(update, lane, self._now() + KEPT_SECONDS, survives_once=True))

    def confirm(self, offset: int) -> None:
        """Forget what is below a positive ``offset``; a negative one keeps that many from the end."""
        if offset > 0:
            while self._pending and self._pending[0].update_id < offset and not self._pending[0].survives_once:
                self._pending.popleft()
            if any(pending.survives_once for pending in self._pending):
                self._pending = deque(p for p in self._pending if p.update_id >= offset or p.survives_once)
        while offset < 0 and len(self._pending) > -offset:
            self._pending.popleft()

    def read(self, limit: int) -> list[Json]:
        """The first ones, still unconfirmed."""
        self._expire()
        updates: list[Json] = []
        for pending in self._pending:
            if len(updates) == limit:
                break
            pending.survives_once = False
            updates.append(pending.update)
        return updates

    def waiting(self) -> Iterator[PendingUpdate]:
        """Everything in order; nothing may be added or removed while iterating."""
        self._expire()
        return iter(self._pending)

    def remove(self, pending: PendingUpdate) -> None:
        """A webhook has taken it."""
        if self._pending and self._pending[0] is pending:
            self._pending.popleft()
        else:
            self._pending = deque(other for other in self._pending if other is not pending)

    def clear(self) -> None:
        self._pending.clear()

    def _append(self, pending: PendingUpdate) -> None:
        self._pending.append(pending)
        self._next_expiry = min(self._next_expiry, pending.expires_at)

    def _expire(self) -> None:
        now = self._now()
        if now <= self._next_expiry:
            return
        self._pending = deque(pending for pending in self._pending if pending.expires_at >= now)
        self._next_expiry = min((pending.expires_at for pending in self._pending), default=inf)


def _kept_seconds(kind: str) -> float:
    return PRESS_KEPT_SECONDS if kind == "callback_query" else KEPT_SECONDS
