"""What an account remembers between starts: until which message it has received everything, the threads that it is in, and the
channels of direct messages.

Snowflakes are ordered by time over all channels, and the gateway tells of all channels at once. So one id says for all of them
what was received. Only while a gap is read back are the channels apart.
"""

from collections.abc import Iterator, Mapping
from typing import Final
from zlib import crc32

import msgspec
from msgspec import Struct

from gatewayd.channels.discord.ids import EPOCH_SECONDS, snowflake_at
from gatewayd.ports.store import State

SHARDS: Final = 16
NAMES_PER_SHARD: Final = 128
"""So 2,048 threads and direct messages are known, those where something was said last. A shard is one value in the store: a
message writes at most one of them, and only when its thread or person is new there, or was quiet for ``FRESH_SECONDS``."""
FRESH_SECONDS: Final = 3600
CLOCK_SECONDS: Final = 2.0
"""So far may our clock be ahead of Discord's when the account connects for the first time."""
OVERLAP_SECONDS: Final = 60.0
"""So much before the last message that was received is read again. Each guild is told of by itself, so of two guilds the older
message may come second. The hub knows the others by their keys."""
OVERLAP_WITHIN_SECONDS: Final = 86_400.0
"""After a longer time nothing is read again: the hub forgets keys after two days at the earliest (``retention.keep_seconds``)."""
AHEAD_SECONDS: Final = 86_400.0
"""A message that is dated later than this is none whose id may count as received."""


class _Received(Struct, omit_defaults=True):
    """``upto`` is the message until which everything was received. ``read_back`` is, of each channel of which that is not true,
    the message until which it was read back. ``gap``: there is one that is not read back. ``began``: older messages are not of
    this account's time."""

    upto: int = 0
    began: int = 0
    read_back: dict[str, int] = {}
    gap: bool = False


class Seen:
    """Until which message everything was received. As long as there is a gap, what comes in moves nothing."""

    def __init__(self) -> None:
        self._received = _Received()
        self._newest = 0
        self._newest_read_back = 0
        self._session_began = 0
        self._gaps = 0
        self._is_first_session = False

    @property
    def upto(self) -> int:
        """What is older is not of our time, or was received."""
        return self._received.upto

    @property
    def has_gap(self) -> bool:
        """Something may be missing."""
        return self._received.gap

    @property
    def gap(self) -> int:
        """The number of the last gap."""
        return self._gaps

    def begin(self, now: float) -> str | None:
        """The account is about to connect. Returns the value to store before it does, when this is its first time: a message that
        comes, and is lost in a crash, is fetched by the next life."""
        if self._received.upto:
            return None
        self._is_first_session = True
        self._received.upto = self._received.began = snowflake_at(now - CLOCK_SECONDS)
        return self.value()

    def read(self, stored: str) -> None:
        self._received = msgspec.json.decode(stored, type=_Received)

    def value(self) -> str:
        """To be stored."""
        return msgspec.json.encode(self._received).decode()

    def note(self, message: int, now: float) -> None:
        """A message has come in."""
        if message < snowflake_at(now + AHEAD_SECONDS):
            self._newest = max(self._newest, message)

    def advance(self) -> bool:
        """Whether more was received than is known, and there is no gap."""
        if self._received.gap or self._newest <= self._received.upto:
            return False
        self._received.upto = self._newest
        return True

    def begin_session(self, now: float) -> None:
        """A new session: there was a gap before it, perhaps while another one is read back. Before the first session of all there
        was nothing."""
        self._session_began = snowflake_at(now - CLOCK_SECONDS)
        if self._is_first_session:
            self._is_first_session = False
            return
        self._received.gap = True
        self._gaps += 1

    def since(self, now: float) -> int:
        """Behind which message something may be missing."""
        upto = self._received.upto
        overlap = OVERLAP_SECONDS if snowflake_at(now - OVERLAP_WITHIN_SECONDS) < upto else 0.0
        return max(upto - snowflake_at(EPOCH_SECONDS + overlap), self._received.began)

    def read_back_to(self, channel: str) -> int:
        """Until which message this channel was read back since there is a gap; 0: not at all."""
        return self._received.read_back.get(channel, 0)

    def note_read_back(self, channel: str, message: int) -> str:
        """This channel was read back until there. Returns the value to store with its messages."""
        self._newest_read_back = max(self._newest_read_back, message)
        self._received.read_back[channel] = message
        return self.value()

    def close(self, gap: int) -> bool:
        """The gap of this number is read back, as far as it can be. Returns whether there is none any more.

        What was read back counts for all channels until its session began. After that only what the session brought does: when it
        ends in the middle of the reading, another channel may have more, which the gap after it has to bring."""
        if gap != self._gaps:
            return False
        self._newest = max(self._newest, min(self._newest_read_back, self._session_began))
        self._received.gap = False
        self._received.read_back.clear()
        self.advance()
        return True


class Talks:
    """The threads that we are in, and the channels of direct messages with the user there, each with the message that was seen
    there last. When there are too many, the quietest are forgotten."""

    def __init__(self) -> None:
        self._shards: list[dict[str, tuple[int, str]]] = [{} for _ in range(SHARDS)]
        self._stored: dict[str, int] = {}
        self._unsaved: set[int] = set()

    def is_in(self, thread: str) -> bool:
        """Whether we were spoken to in this thread."""
        return self._of(thread) == ""

    def user_of(self, channel: str) -> str | None:
        """The person of this direct message."""
        return self._of(channel) or None

    def join(self, thread: str, message: int) -> None:
        """We were spoken to there."""
        self._note(thread, message, "")

    def touch(self, thread: str, message: int) -> None:
        """Somebody wrote in this thread: if we are in it, it is one of the last to be forgotten."""
        if self.is_in(thread):
            self._note(thread, message, "")

    def note_direct(self, channel: str, user: str, message: int) -> None:
        """A direct message with this person."""
        self._note(channel, message, user)

    def newest_first(self) -> list[tuple[str, str, int]]:
        """(channel, user, last message) of direct messages and (thread, "", last message) of threads, beginning with the newest
        message."""
        found = sorted(((last, name, user) for shard in self._shards for name, (last, user) in shard.items()), reverse=True)
        return [(name, user, last) for last, name, user in found]

    def read(self, shard: int, stored: str) -> None:
        """What is stored of a shard."""
        self._shards[shard] = msgspec.json.decode(stored, type=dict[str, tuple[int, str]])
        self._stored.update({name: last for name, (last, _) in self._shards[shard].items()})

    def unsaved(self) -> Iterator[tuple[int, str]]:
        """The shards that are to be stored now."""
        for number in sorted(self._unsaved):
            shard = self._shards[number]
            self._stored.update({name: last for name, (last, _) in shard.items()})
            yield number, msgspec.json.encode(shard).decode()
        self._unsaved.clear()

    def _of(self, name: str) -> str | None:
        found = self._shards[_shard(name)].get(name)
        return None if found is None else found[1]

    def _note(self, name: str, message: int, user: str) -> None:
        number = _shard(name)
        shard = self._shards[number]
        known = shard.pop(name, (0, user))
        shard[name] = (max(message, known[0]), user)
        if name not in self._stored or message - self._stored[name] >= (FRESH_SECONDS * 1000) << 22 or known[1] != user:
            self._unsaved.add(number)
        while len(shard) > NAMES_PER_SHARD:
            oldest = min(shard, key=lambda other: shard[other][0])
            self._stored.pop(oldest, None)
            del shard[oldest]


class DiscordState:
    """Both, with their keys in the account's state: they end in the id of the bot, because a new token may be of another one."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._bot: str | None = None
        self.talks = Talks()
        self.seen = Seen()

    async def load(self, bot: str) -> None:
        """Read what is stored for this bot. Call before anything else; a second call does nothing."""
        if self._bot == bot:
            return
        self._bot = bot
        for shard in range(SHARDS):
            if stored := await self._state.load(self._key_of(shard)):
                self.talks.read(shard, stored)
        if stored := await self._state.load(self.seen_key):
            self.seen.read(stored)

    async def begin(self, now: float) -> None:
        """Call before the account connects. :raises StoreRefused:"""
        if (value := self.seen.begin(now)) is not None:
            await self._state.save(self.seen_key, value)

    @property
    def seen_key(self) -> str:
        return f"seen.{self._bot or ''}"

    def unsaved(self) -> Mapping[str, str]:
        """What is to be stored with the next envelopes."""
        seen = {self.seen_key: self.seen.value()} if self.seen.advance() else {}
        return {**seen, **{self._key_of(shard): value for shard, value in self.talks.unsaved()}}

    def _key_of(self, shard: int) -> str:
        return f"talks.{self._bot or ''}.{shard}"


def _shard(name: str) -> int:
    return crc32(name.encode()) % SHARDS
