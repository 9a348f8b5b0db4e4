"""Delivery reports say whether a reply that shows a request or a question was sent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct


class _Subscriber(Struct, frozen=True, eq=False):
    sent: Callable[[str], None]
    lost: Callable[[], None]


class DeliveryReports:
    """Reports from the outbox to the desks, by the subject of the row. Reports without a subscriber are dropped: the store has
    the same facts."""

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

    def report_sent(self, subject: str, message_id: str) -> None:
        for subscriber in self._subscribers.get(subject, ()):
            subscriber.sent(message_id)

    def report_lost(self, subject: str) -> None:
        for subscriber in self._subscribers.get(subject, ()):
            subscriber.lost()
