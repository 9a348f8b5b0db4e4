"""What was said while nobody listened and no session could be resumed, from the histories ("Get Channel Messages").

A new session tells of all channels and active threads, each with its last message ("Gateway Events", "Guild Create"). Only those
where that is newer than what was received are read, forward from there. Threads that were archived meanwhile are asked for where
a channel has news. Direct messages are not told of, so those are asked for in which somebody wrote last.

Not read back are direct messages of people who never wrote before, of which Discord has no list for bots; threads that were
archived meanwhile in a channel that is quiet itself, unless we are in them; and edits of older messages, which are in no order.

Nothing that is older than ``backfill_minutes`` is fetched, and at most ``backfill_calls`` calls are made for one gap.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NoReturn, TypeVar

import anyio
from msgspec import Raw, Struct
from msgspec.structs import replace

from gatewayd.actor.wakeup import Wakeup
from gatewayd.channels.discord.api import DiscordApi, Route, route
from gatewayd.channels.discord.errors import NO_HISTORY
from gatewayd.channels.discord.ids import MessageId, is_snowflake, seconds_of, snowflake_at
from gatewayd.channels.discord.receiving.cursors import DiscordState
from gatewayd.channels.discord.receiving.inbound import Receiver
from gatewayd.channels.discord.settings import DiscordSettings
from gatewayd.channels.discord.wire.answers import Channel, Threads
from gatewayd.channels.discord.wire.events import ANNOUNCEMENT, FORUMS, TEXT, Message, decode_message
from gatewayd.kit.json import Malformed
from gatewayd.kit.network.backfill import Fetched, Gap, Page
from gatewayd.model.errors import SendRejected, TryAgain
from gatewayd.ports.channel import ChannelServices, Deliver

PAGE: Final = 100
PAGES: Final = 20
"""Of one channel or thread."""
DIRECT_MESSAGES: Final = 50
"""Those of the newest messages."""
OWN_THREADS: Final = 50
"""Likewise of the threads that we are in, as far as they are not active any more."""
GUILDS_SECONDS: Final = 20.0
"""So long a new session may take to tell of its guilds. Those that come later have an outage, and are read when it is over."""
AGAIN_SECONDS: Final = 5.0
NAMED: Final = 10
"""Channels that cannot be read, in status."""

T = TypeVar("T")

_PUBLIC: Final = "GET /channels/{channel_id}/threads/archived/public"
_JOINED: Final = "GET /channels/{channel_id}/users/@me/threads/archived/private"
_ARCHIVES: Final[dict[int, tuple[str, ...]]] = {TEXT: (_PUBLIC, _JOINED), ANNOUNCEMENT: (_PUBLIC,)} | dict.fromkeys(
    FORUMS, (_PUBLIC,)
)
"""Which archives a channel of this type has ("Topics", "Threads"). All private threads would need Manage Threads."""

_HISTORY: Final = "history"
_UNREADABLE: Final = "history of channels"


class _Place(Struct, frozen=True):
    """A channel, a thread or a direct message; of the last one ``guild`` is None. ``last`` is its last message that is known."""

    id: str
    guild: str | None
    last: int


class _Bounds(Struct):
    """Of the gap of this number: ``until`` is when all of it is too old. ``done`` are the channels that were read, and ``asked``
    those that were asked for what they are, or for their archives."""

    gap: int
    since: int
    until: float
    calls: int
    is_reached: bool = False
    done: set[str] = set()
    asked: set[str] = set()


class Backfill:
    """Of one account. Each message is delivered once, marked as missed; those that came meanwhile are known by their keys."""

    def __init__(
        self, api: DiscordApi, services: ChannelServices, settings: DiscordSettings, receiver: Receiver, state: DiscordState
    ) -> None:
        self._api = api
        self._services = services
        self._seconds = 60.0 * settings.backfill_minutes
        self._most_calls = settings.backfill_calls
        self._receiver = receiver
        self._state = state
        self._seen = state.seen
        self._talks = state.talks
        self._noted = Wakeup()
        self._bounds = _Bounds(0, 0, 0.0, 0)
        self._unreadable: dict[str, list[str]] = {}

    def begin(self) -> None:
        """A new session has begun: from now on its guilds tell where something was missed."""
        now = self._services.now()
        since = max(self._seen.since(now), snowflake_at(now - self._seconds))
        self._bounds = _Bounds(self._seen.gap, since, now + self._seconds, self._most_calls)
        self._receiver.guilds.collect(since)
        self._noted.notify()

    async def watch(self, deliver: Deliver) -> NoReturn:
        """Read back after each ``begin``, and again after an outage: then it goes on where it was.

        :raises NeedsOperator: Discord does not accept the token. Whatever ``deliver`` raises.
        """
        while True:
            await self._noted.take()
            try:
                await self._run(deliver)
            except TryAgain as error:
                self._services.log.warning("discord_gap_not_fetched", reason=error.reason)
                await anyio.sleep(max(error.after_seconds or 0.0, AGAIN_SECONDS))
                self._noted.notify()

    async def _run(self, deliver: Deliver) -> None:
        bounds = self._bounds
        guilds = self._receiver.guilds
        with anyio.move_on_after(GUILDS_SECONDS):
            while not guilds.is_complete:
                await guilds.told.wait()
        if self._seconds:
            await self._read_all(deliver, bounds)
        if self._seen.close(bounds.gap):
            guilds.collect(None)
        await deliver((), state={**self._state.unsaved(), self._state.seen_key: self._seen.value()})

    async def _read_all(self, deliver: Deliver, bounds: _Bounds) -> None:
        """What costs the fewest calls for each message comes first: the bound may be reached at any time."""
        self._unreadable = {}
        is_more = True
        while is_more:
            await self._read_each(self._told(), deliver, bounds)
            await self._read_each([it async for it in self._ours(bounds)], deliver, bounds)
            await self._read_each([it async for it in self._archived(bounds)], deliver, bounds)
            await self._read_each(self._told(), deliver, bounds)  # of guilds that were told of meanwhile
            self._tell_end(bounds)
            is_more = await self._is_late(bounds)

    async def _is_late(self, bounds: _Bounds) -> bool:
        """Waits until one more guild is told of. False: there is none to wait for, or all of it would be too old."""
        guilds = self._receiver.guilds
        seconds = bounds.until - self._services.now()
        if (guilds.is_complete and not guilds.late) or bounds.is_reached or bounds is not self._bounds or seconds <= 0:
            return False
        if guilds.late:
            self._services.connection.lacks(_HISTORY, f"{guilds.late} servers have an outage: they are read when it is over")
        with anyio.move_on_after(seconds):
            await guilds.told.wait()
        self._services.connection.lacks(_HISTORY, None)
        return True

    async def _read_each(self, places: Iterable[_Place], deliver: Deliver, bounds: _Bounds) -> None:
        """Those that are not done, each once: first direct messages, which are all for us, then where somebody wrote last."""
        found = {it.id: it for it in places if it.id not in bounds.done}
        for number, place in enumerate(sorted(found.values(), key=lambda it: (it.guild is not None, -it.last))):
            if bounds.is_reached:
                return
            self._tell(bounds, f"{number} of {len(found)} channels")
            await self._read(place, deliver, bounds)
            bounds.done.add(place.id)

    def _told(self) -> list[_Place]:
        """Channels and active threads with news, as far as they are told of now, and direct messages."""
        missed = self._receiver.guilds.missed.values()
        found = [_Place(it.id, guild, int(it.last_message_id or it.id)) for guild, it in missed if it.type not in FORUMS]
        return found + [_Place(name, None, last) for name, user, last in self._talks.newest_first() if user][:DIRECT_MESSAGES]

    async def _ours(self, bounds: _Bounds) -> AsyncIterator[_Place]:
        """Threads that we are in and that were not told of: they are archived, or gone."""
        guilds = self._receiver.guilds
        ours = [name for name, user, _ in self._talks.newest_first() if not user and guilds.parent_of(name) is None]
        for name in ours[:OWN_THREADS]:
            if name not in bounds.asked and (place := await self._thread(name, bounds)) is not None:
                yield place
            bounds.asked.add(name)

    async def _thread(self, thread: str, bounds: _Bounds) -> _Place | None:
        """One of ours that is not among the active ones; None: nothing is new in it."""
        try:
            channel = await self._ask(route("GET /channels/{channel_id}", channel_id=thread), Channel, bounds)
        except SendRejected:
            return None
        if channel is None or channel.guild_id is None or not is_snowflake(channel.last_message_id):
            return None
        self._receiver.guilds.put_channel(channel.guild_id, channel)
        last = int(channel.last_message_id or "0")
        return _Place(thread, channel.guild_id, last) if last > bounds.since else None

    async def _archived(self, bounds: _Bounds) -> AsyncIterator[_Place]:
        """Threads of channels with news that were archived and have news, too ("List Public Archived Threads": the newest first;
        "List Joined Private Archived Threads")."""
        missed = [it for it in self._receiver.guilds.missed.values() if it[1].id not in bounds.asked]
        for guild, channel in missed:
            for template in _ARCHIVES.get(channel.type, ()):
                try:
                    page = await self._ask(route(template, channel_id=channel.id), Threads, bounds, {"limit": PAGE})
                except SendRejected:
                    continue
                for thread in () if page is None else page.threads:
                    if is_snowflake(thread.last_message_id) and int(thread.last_message_id or "0") > bounds.since:
                        self._receiver.guilds.put_channel(guild, thread)
                        yield _Place(thread.id, guild, int(thread.last_message_id or "0"))
            bounds.asked.add(channel.id)

    async def _read(self, place: _Place, deliver: Deliver, bounds: _Bounds) -> None:
        seen = self._seen
        start = max(bounds.since, seen.read_back_to(place.id))
        gap = Gap(
            deliver,
            cursor=str(start),
            order=int,
            state=lambda cursor: {
                **self._state.unsaved(),
                self._state.seen_key: seen.note_read_back(place.id, int(cursor)),
            },
        )

        async def fetch(after: str | None) -> Page:
            query: dict[str, str | int] = {"after": after or str(start), "limit": PAGE}
            page = await self._ask(route("GET /channels/{channel_id}/messages", channel_id=place.id), list[Raw], bounds, query)
            if page == [] and after is None and await self._is_hidden(place, start, bounds):
                raise SendRejected(f"Discord shows no history: {NO_HISTORY}")
            items = [] if page is None else list(self._items(place, page))
            is_more = page is not None and len(page) == PAGE and items
            return Page(items, max(items, key=lambda it: int(it.cursor)).cursor if is_more else None)

        try:
            if not await gap.fill_forward(fetch, pages=PAGES, messages=PAGES * PAGE):
                self._note_unreadable(place, f"too much was said: only the first {gap.delivered} messages were read")
        except SendRejected as error:
            self._note_unreadable(place, error.reason)

    async def _is_hidden(self, place: _Place, start: int, bounds: _Bounds) -> bool:
        """Whether there is something new, and we see nothing at all: "Get Channel Messages" gives no messages where Read Message
        History is missing. What is new may also be deleted."""
        if place.guild is None or place.last <= start:
            return False
        to = route("GET /channels/{channel_id}/messages", channel_id=place.id)
        return await self._ask(to, list[Raw], bounds, {"limit": 1}) == []

    def _note_unreadable(self, place: _Place, reason: str) -> None:
        self._unreadable.setdefault(reason, []).append(place.id)

    def _items(self, place: _Place, page: list[Raw]) -> Iterator[Fetched]:
        """The oldest first: a message can begin what the next one belongs to."""
        for message in sorted(self._messages(place, page), key=lambda it: int(it.id)):
            read = self._receiver.message(message, missed=True)
            yield Fetched(message.id, read.envelopes[0] if read.envelopes else None)

    def _messages(self, place: _Place, page: list[Raw]) -> Iterator[Message]:
        for raw in page:
            try:
                message = replace(decode_message(raw), channel_id=place.id, guild_id=place.guild)
                MessageId.of(message.channel_id, message.id)
            except Malformed as malformed:
                self._services.log.warning("discord_message_skipped", channel=place.id, reason=str(malformed))
            else:
                yield message

    async def _ask(self, to: Route, kind: type[T], bounds: _Bounds, query: dict[str, str | int] | None = None) -> T | None:
        """One call, when Discord takes it. None: the bounds of this gap are reached.

        :raises TryAgain: an outage. :raises SendRejected: this cannot be read.
        """
        while True:
            if bounds.calls <= 0 or self._services.now() >= bounds.until:
                bounds.is_reached = True
                return None
            try:
                answer = await self._api.ask(to, kind, purpose="fetch", query=query)
            except TryAgain as error:
                if error.after_seconds is None:
                    raise
                await anyio.sleep(error.after_seconds)
            else:
                bounds.calls -= 1
                return answer

    def _tell(self, bounds: _Bounds, progress: str) -> None:
        self._services.connection.lacks(_HISTORY, f"reading what was said since {_when(bounds)}: {progress}")

    def _tell_end(self, bounds: _Bounds) -> None:
        """What could not be read."""
        reason = None
        if bounds.is_reached:
            limit = "backfill_calls" if bounds.calls <= 0 else "backfill_minutes"
            reason = f"not everything was read back to {_when(bounds)}: the limit {limit} is reached"
            self._services.log.warning("discord_backfill_in_part", reason=reason)
        self._services.connection.lacks(_HISTORY, reason)
        shown = (_shown(reason, names) for reason, names in self._unreadable.items())
        self._services.connection.lacks(_UNREADABLE, "; ".join(shown) or None)


def _shown(reason: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}: {reason}"


def _when(bounds: _Bounds) -> str:
    return datetime.fromtimestamp(seconds_of(str(bounds.since)), UTC).strftime("%Y-%m-%d %H:%M UTC")
