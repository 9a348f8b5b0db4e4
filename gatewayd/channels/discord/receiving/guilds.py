"""What is known of guilds: which channels are threads and of which channel, our own roles, and where something was missed.

A message says its channel, and not whether that is a thread ("Gateway Events", "Message Create"). After READY each guild tells of
its channels and active threads. A resumed session tells of nothing again, so after a restart it is asked for when a message comes
(``ask`` in receiving/inbound.py).

Names, topics and permissions are not kept, and an id of a channel has eight bytes: 200 guilds with 1,000 channels each take
1.7 MB (measured with tracemalloc).
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from msgspec import Raw

from gatewayd.actor.wakeup import Wakeup
from gatewayd.channels.discord.ids import is_snowflake
from gatewayd.channels.discord.wire.answers import Channel
from gatewayd.channels.discord.wire.events import THREADS, WITH_MESSAGES, Guild, MemberUpdate, Ready, ThreadList
from gatewayd.kit.json import decode

MOST_THREADS: Final = 20_000
MOST_ASKED: Final = 20_000
MOST_MISSED: Final = 10_000


class Guilds:
    """Of one account. Ids are strings outside, and numbers inside."""

    def __init__(self) -> None:
        self._channels: dict[int, array[int]] = {}
        self._roles: dict[str, frozenset[str]] = {}
        self._parents: dict[str, str] = {}
        self._asked: dict[str, None] = {}
        self._expected: set[str] = set()
        self._away: set[str] = set()
        self._is_replayed = True
        self.missed: dict[str, tuple[str, Channel]] = {}
        """By id, the channels in which something was said since the watermark of ``collect``, each with its guild."""
        self.told = Wakeup()
        """A guild was told of."""
        self._after: int | None = None

    def expect(self, guilds: Iterable[str]) -> None:
        """A new session: these guilds will be told of, and nothing of the old ones counts any more."""
        self._channels.clear()
        self._roles.clear()
        self._parents.clear()
        self._asked.clear()
        self._expected = set(guilds)
        self._away.clear()
        self._is_replayed = True

    def expect_replay(self) -> None:
        """An earlier life's session is resumed: what it told of then comes again, until RESUMED."""
        self._is_replayed = False

    @property
    def is_complete(self) -> bool:
        """Whether every guild of the session was told of, if only that it has an outage."""
        return not self._expected and self._is_replayed

    @property
    def late(self) -> int:
        """Of how many guilds nothing is known yet, or not any more: they have an outage."""
        return len(self._expected | self._away)

    def collect(self, after: int | None) -> None:
        """From now on, note channels where something newer than this message was said. None: no more."""
        self._after = after
        self.missed.clear()

    def learn(self, name: str, data: Raw, own_id: str) -> bool:
        """What an event tells of guilds and channels. False: it tells nothing of them. :raises Malformed:"""
        match name:
            case "READY":
                self.expect(it.id for it in decode(data, Ready, lenient=True).guilds)
            case "RESUMED":
                self._is_replayed = True
                self.told.notify()
            case "GUILD_CREATE":
                self.put(decode(data, Guild, lenient=True), own_id)
            case "GUILD_DELETE":
                guild = decode(data, Guild, lenient=True)
                self.drop_guild(guild.id, is_away=guild.unavailable)
            case "CHANNEL_CREATE" | "CHANNEL_UPDATE" | "THREAD_CREATE" | "THREAD_UPDATE":
                channel = decode(data, Channel, lenient=True)
                self.put_channel(channel.guild_id, channel)
            case "CHANNEL_DELETE" | "THREAD_DELETE":
                self.drop_channel(decode(data, Channel, lenient=True).id)
            case "THREAD_LIST_SYNC":
                found = decode(data, ThreadList, lenient=True)
                for thread in found.threads:
                    self.put_channel(found.guild_id, thread)
            case "GUILD_MEMBER_UPDATE":
                member = decode(data, MemberUpdate, lenient=True)
                if member.user is not None and member.user.id == own_id:
                    self.put_roles(member.guild_id, member.roles)
            case _:
                return False
        return True

    def put(self, guild: Guild, own_id: str) -> None:
        """GUILD_CREATE. Of a guild with an outage it says nothing else."""
        self._expected.discard(guild.id)
        (self._away.add if guild.unavailable else self._away.discard)(guild.id)
        self.told.notify()
        if guild.unavailable or not is_snowflake(guild.id):
            return
        ids = sorted(int(it.id) for it in guild.channels if is_snowflake(it.id) and int(it.id) < 1 << 64)
        self._channels[int(guild.id)] = array("Q", ids)
        own = next((it for it in guild.members if it.user is not None and it.user.id == own_id), None)
        if own is not None:
            self.put_roles(guild.id, own.roles)
        for channel in (*guild.channels, *guild.threads):
            self.put_channel(guild.id, channel, is_listed=True)

    def put_roles(self, guild: str, roles: Iterable[str]) -> None:
        """Our own roles there."""
        self._roles[guild] = frozenset(roles)

    def put_channel(self, guild: str | None, channel: Channel, *, is_listed: bool = False) -> None:
        """A channel or a thread. ``is_listed``: it is among the channels of its guild already."""
        if channel.type in THREADS and channel.parent_id is not None:
            if len(self._parents) >= MOST_THREADS and channel.id not in self._parents:
                del self._parents[next(iter(self._parents))]
            self._parents[channel.id] = channel.parent_id
        elif not is_listed:
            self._note_plain(channel.id)
        if guild is not None:
            self._note_missed(guild, channel)

    def drop_guild(self, guild: str, *, is_away: bool = False) -> None:
        """We are not in it any more. ``is_away``: it has an outage."""
        self.told.notify()
        self._expected.discard(guild)
        (self._away.add if is_away else self._away.discard)(guild)
        self._roles.pop(guild, None)
        if is_snowflake(guild):
            self._channels.pop(int(guild), None)

    def drop_channel(self, channel: str) -> None:
        """It is deleted."""
        self._parents.pop(channel, None)
        self._asked.pop(channel, None)
        self.missed.pop(channel, None)

    def parent_of(self, channel: str) -> str | None:
        """The channel of this thread; None: it is no thread, as far as it is known."""
        return self._parents.get(channel)

    def is_known(self, guild: str, channel: str) -> bool:
        """Whether it is known what this channel is."""
        return channel in self._parents or channel in self._asked or self._is_listed(guild, channel)

    def knows_roles(self, guild: str) -> bool:
        """Whether our roles in this guild are known."""
        return guild in self._roles

    def own_roles(self, guild: str | None) -> frozenset[str]:
        """Our roles there, as far as they are known. A direct message is in no guild."""
        return self._roles.get(guild or "", frozenset())

    def _is_listed(self, guild: str, channel: str) -> bool:
        if not is_snowflake(guild) or not is_snowflake(channel):
            return False
        ids, wanted = self._channels.get(int(guild)), int(channel)
        if ids is None:
            return False
        at = bisect_left(ids, wanted)
        return at < len(ids) and ids[at] == wanted

    def _note_plain(self, channel: str) -> None:
        if len(self._asked) >= MOST_ASKED:
            del self._asked[next(iter(self._asked))]
        self._asked[channel] = None

    def _note_missed(self, guild: str, channel: Channel) -> None:
        # The first message of a post has the id of the post, and may not be its last message yet ("Start Thread in Forum").
        last = channel.id if channel.type in THREADS and channel.last_message_id is None else channel.last_message_id
        if self._after is None or channel.type not in WITH_MESSAGES | THREADS or not is_snowflake(last):
            return
        if int(last or "0") > self._after and len(self.missed) < MOST_MISSED:
            self.missed[channel.id] = (guild, channel)
