"""Delivery reports: what became of a reply that shows a request or a question, for whoever waits to have it seen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct


class _Subscriber(Struct, frozen=True, eq=False):
    sent: Callable[[str], None]
    lost: Callable[[], None]


class DeliveryReports:
    """From the outbox to the desks, by the subject of the row. Nothing is kept: what was reported before somebody subscribed is
    in the store, and a report that nobody has subscribed to is dropped."""

    def __init__(self) -> None:
        self._subscribers: dict[str, list[_Subscriber]] = {}

    @contextmanager
    def subscribe(self, subject: str, *, sent: Callable[[str], None], lost: Callable[[], None]) -> Iterator[None]:
        """``sent`` hears of each row that was sent, with the platform's id of the message, and ``lost`` of each that was given
        up, while the body runs. Both are called inside the outbox, and do not wait."""
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
