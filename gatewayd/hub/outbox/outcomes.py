"""Tells the desks what became of a reply that shows a request or a question."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct


class _Subscriber(Struct, frozen=True, eq=False):
    sent: Callable[[str], None]
    lost: Callable[[], None]


class ReplyOutcomes:
    """From the outbox to the desks, by the subject of the row. What has no subscriber is dropped: the store has the same
    facts."""

    def __init__(self) -> None:
        self._subscribers: dict[str, list[_Subscriber]] = {}

    @contextmanager
    def subscribe(self, subject: str, *, sent: Callable[[str], None], lost: Callable[[], None]) -> Iterator[None]:
        """While the body runs, ``sent`` is called for each row that was sent, with the platform's id of the message, and ``lost``
        for each row that was given up. Both are called inside the outbox, and must not wait."""
        mine = _Subscriber(sent, lost)
        self._subscribers.setdefault(subject, []).append(mine)
        try:
            yield
        finally:
            left = [other for other in self._subscribers.pop(subject) if other is not mine]
            if left:
                self._subscribers[subject] = left

    def tell_sent(self, subject: str, message_id: str) -> None:
        for subscriber in self._subscribers.get(subject, ()):
            subscriber.sent(message_id)

    def tell_lost(self, subject: str) -> None:
        for subscriber in self._subscribers.get(subject, ()):
            subscriber.lost()
