"""The channels that the account is to be in: whether it is, and when to try again. Pure, but for the dice."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Final

from msgspec import Struct

from gatewayd.model.errors import SendRejected, TryAgain
from gatewayd.model.secret import Secret

from .settings import IrcSettings
from .wire import render

REFUSED: Final = ("403", "405", "437", "470", "471", "473", "474", "475", "476", "477", "489", "520")
"""Answers to a JOIN (RFC 2812, modern.ircdocs.horse; 470 forward, 477 only the registered, 489 and 520 TLS or operators only).
The channel is the second parameter."""
FIRST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 600.0
"""The pauses before another JOIN grow from one to the other; after so long in a channel they begin anew."""


class Room(Struct):
    """``why``: the reason for which we are not in it; None: we are."""

    name: str
    key: Secret | None
    why: str | None = "not joined yet"
    attempts: int = 0
    since: float = 0.0


class Rooms:
    """By the name as the server folds it. ``now`` gives seconds of any clock."""

    def __init__(self, settings: IrcSettings, fold: Callable[[str], str], rng: Random, now: Callable[[], float]) -> None:
        self._rooms = {fold(name): Room(name, settings.keys.get(name)) for name in settings.channels}
        self._fold = fold
        self._rng = rng
        self._now = now

    def find(self, channel: str) -> Room | None:
        return self._rooms.get(self._fold(channel))

    @contextmanager
    def waiting_for(self, channel: str) -> Iterator[None]:
        """What is said inside can wait: we come back into our channels. Also when we are thrown out meanwhile, so that the server
        refuses it.

        :raises TryAgain: we are not in the channel, and nothing was said.
        """
        self._check(channel)
        try:
            yield
        except SendRejected:
            self._check(channel)
            raise

    def _check(self, channel: str) -> None:
        room = self.find(channel)
        if room is not None and room.why is not None:
            raise TryAgain(f"not in {room.name}: {room.why}", scope="conversation")

    def join_all(self) -> list[bytes]:
        return [self.join(room) for room in self._rooms.values()]

    def join(self, room: Room) -> bytes:
        return render("JOIN", room.name, *([room.key.reveal()] if room.key is not None else []))

    def entered(self, room: Room) -> None:
        room.why, room.since = None, self._now()

    def left(self, room: Room, why: str) -> float:
        """We are out, or were not let in. In how many seconds to try again."""
        if room.why is None and self._now() - room.since >= LONGEST_SECONDS:
            room.attempts = 0
        room.why = why
        room.attempts += 1
        longest = min(FIRST_SECONDS * 2.0 ** min(room.attempts - 1, 20), LONGEST_SECONDS)
        return longest * self._rng.uniform(0.5, 1.0)
