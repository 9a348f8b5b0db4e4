"""What an account remembers between starts: the threads that we are in, and until when it has received everything.

Slack tells of all channels at once, so one time says for all of them what was received: ``Seen``. Only while a gap is read back
are the channels apart.
"""

from collections.abc import Iterator, Mapping
from typing import Final
from zlib import crc32

import msgspec
from msgspec import Struct

from gatewayd.ports.store import State

SHARDS: Final = 32
NAMES_PER_SHARD: Final = 64
"""So 2,048 threads and channels are known, those where something was said last. A shard is one value in the store: a message
writes at most one or two of them."""
FRESH_SECONDS: Final = 3600.0
"""What is stored of the last message of a thread is so old at most."""
CLOCK_SECONDS: Final = 2.0
"""So far may our clock be ahead of Slack's when the account is to connect for the first time: what is said then has Slack's time,
and must not count as said before."""


class _Received(Struct, omit_defaults=True):
    """``upto`` is the ``ts`` until which everything was received. ``read_back`` is, of each history of which that is not true,
    the ``ts`` until which it was read back. ``began`` is when the account was to connect for the first time."""

    upto: str | None = None
    began: str | None = None
    read_back: dict[str, str] = {}


class Seen:
    """Until when everything was received. It begins with a gap. As long as there is one, what comes in moves nothing."""

    def __init__(self) -> None:
        self._received = _Received()
        self._newest = "0"
        self._gaps = 1
        self._closed = 0
        self._is_first_life = False

    @property
    def upto(self) -> float | None:
        """None: this account has never been connected."""
        known = self._received.upto or (None if self._is_first_life else self._received.began)
        return None if known is None else float(known)

    @property
    def began(self) -> float:
        """What is older is from before our time."""
        return float(self._received.began or "0")

    def begin(self, now: float) -> str | None:
        """The account is about to connect. Returns the value to store before it does, when this is its first time: a message that
        comes, and is lost in a crash, is fetched by the next life."""
        if self._received.upto is not None or self._received.began is not None:
            return None
        self._is_first_life = True
        self._received.began = f"{now - CLOCK_SECONDS:.6f}"
        return self.value()

    @property
    def gap(self) -> int:
        """The number of the last gap."""
        return self._gaps

    def read(self, stored: str) -> None:
        self._received = msgspec.json.decode(stored, type=_Received)

    def value(self) -> str:
        """To be stored."""
        return msgspec.json.encode(self._received).decode()

    def note(self, ts: str) -> None:
        """A message has come in."""
        self._newest = max(self._newest, ts, key=float)

    def advance(self) -> bool:
        """Whether more was received than is known, and there is no gap."""
        if self._closed < self._gaps or float(self._newest) <= (self.upto or 0.0):
            return False
        self._received.upto = self._newest
        return True

    def open(self) -> None:
        """There was a gap, perhaps while another one is read back."""
        self._gaps += 1

    def may_have_missed(self, channel: str, ts: str) -> bool:
        """Whether a message with this ``ts`` may be among those that are still to be read back."""
        upto = self.upto
        return upto is not None and self._closed < self._gaps and float(ts) > max(upto, self.read_back_to(channel))

    def read_back_to(self, history: str) -> float:
        """Until when this history was read back since there is a gap. 0: it was not."""
        return float(self._received.read_back.get(history, "0"))

    def note_read_back(self, history: str, ts: str) -> str:
        """This history was read back until then. Returns the value to store with its messages."""
        self.note(ts)
        self._received.read_back[history] = ts
        return self.value()

    def close(self, gap: int, now: float) -> str:
        """The gap of this number is read back, as far as it can be. When there was another one meanwhile, that one stays. Returns
        the value to store."""
        self._closed = gap
        if gap == self._gaps:
            self._received.read_back.clear()
            if not self.advance() and self._received.upto is None:
                self._received.upto = f"{now:.6f}"
        return self.value()


class Threads:
    """The threads that we are in, and the channels, each with the ``ts`` of the last message that was seen there.

    A thread is ``{channel}:{root}``, a channel is its id. When there are too many, the quietest are forgotten.
    """

    def __init__(self) -> None:
        self._shards: list[dict[str, str]] = [{} for _ in range(SHARDS)]
        self._stored: dict[str, str] = {}
        self._unsaved: set[int] = set()

    def has(self, channel: str, root: str) -> bool:
        """Whether we are in this thread."""
        name = f"{channel}:{root}"
        return name in self._shards[_shard(name)]

    def join(self, channel: str, root: str, ts: str) -> None:
        """We were spoken to there."""
        self._note(f"{channel}:{root}", ts)

    def touch(self, channel: str, root: str, ts: str) -> None:
        """Somebody wrote in this thread: if we are in it, it is one of the last to be forgotten."""
        if self.has(channel, root):
            self._note(f"{channel}:{root}", ts)

    def note_channel(self, channel: str, ts: str) -> None:
        """Somebody wrote in this channel."""
        self._note(channel, ts)

    def last_in(self, channel: str) -> float:
        """When somebody wrote in this channel last, as far as it was seen. 0: never."""
        return float(self._shards[_shard(channel)].get(channel, "0"))

    def channels(self) -> list[str]:
        """The channels where somebody wrote, as far as they are remembered."""
        return [name for shard in self._shards for name in shard if ":" not in name]

    def newest_first(self) -> list[tuple[str, str]]:
        """The threads that we are in as (channel, root), beginning with that of the newest message."""
        named = [(float(ts), name) for shard in self._shards for name, ts in shard.items() if ":" in name]
        return [(name.partition(":")[0], name.partition(":")[2]) for _, name in sorted(named, reverse=True)]

    def read(self, shard: int, stored: str) -> None:
        """What is stored of a shard."""
        self._shards[shard] = msgspec.json.decode(stored, type=dict[str, str])
        self._stored.update(self._shards[shard])

    def unsaved(self) -> Iterator[tuple[int, str]]:
        """The shards that are to be stored now."""
        for shard in sorted(self._unsaved):
            self._stored.update(self._shards[shard])
            yield shard, msgspec.json.encode(self._shards[shard]).decode()
        self._unsaved.clear()

    def _note(self, name: str, ts: str) -> None:
        number = _shard(name)
        shard = self._shards[number]
        ts = max(ts, shard.pop(name, ts), key=float)
        shard[name] = ts
        if float(ts) - float(self._stored.get(name, "0")) >= FRESH_SECONDS:
            self._unsaved.add(number)
        while len(shard) > NAMES_PER_SHARD:
            self._stored.pop(oldest := min(shard, key=lambda other: float(shard[other])), None)
            del shard[oldest]


class SlackState:
    """Both, with their keys in the account's state: they end in the workspace, because a new token may be of another one."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._team: str | None = None
        self.threads = Threads()
        self.seen = Seen()

    async def load(self, team: str) -> None:
        """Read what is stored for this workspace. Call before anything else; a second call does nothing."""
        if self._team == team:
            return
        self._team = team
        for shard in range(SHARDS):
            if stored := await self._state.load(self._key_of(shard)):
                self.threads.read(shard, stored)
        if stored := await self._state.load(self.seen_key):
            self.seen.read(stored)

    async def begin(self, now: float) -> None:
        """Call before the account connects. :raises StoreRefused:"""
        if (value := self.seen.begin(now)) is not None:
            await self._state.save(self.seen_key, value)

    @property
    def seen_key(self) -> str:
        return f"seen.{self._team or ''}"

    def note(self, channel: str, ts: str) -> None:
        """A message was seen there."""
        self.seen.note(ts)
        self.threads.note_channel(channel, ts)

    def unsaved(self) -> Mapping[str, str]:
        """What is to be stored with the next envelopes.

        By HTTP, two requests at once may be committed in the other order. Then ``seen`` goes back for a moment, which a backfill
        makes good (``backfill.OVERLAP_SECONDS``), and a thread that was joined by the other may be missing in the store until
        something else is written about its shard.
        """
        seen = {self.seen_key: self.seen.value()} if self.seen.advance() else {}
        return {**seen, **{self._key_of(shard): value for shard, value in self.threads.unsaved()}}

    def _key_of(self, shard: int) -> str:
        return f"threads.{self._team or ''}.{shard}"


def _shard(name: str) -> int:
    return crc32(name.encode()) % SHARDS
