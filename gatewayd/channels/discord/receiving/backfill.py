"""What was said while nobody listened and no session could be resumed, from the histories ("Get Channel Messages").

A new session tells of all channels and active threads, each with its last message ("Gateway Events", "Guild Create"). Only those
where that is newer than what was received are read, forward from there. Threads that were archived meanwhile are asked for where
a channel has news. Direct messages are not told of, so those are asked for in which somebody wrote last.

Nothing that is older than ``backfill_minutes`` is fetched, and at most ``backfill_calls`` calls are made for one gap.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Final, NoReturn, TypeVar

import anyio
from msgspec import Raw, Struct
from msgspec.structs import replace

from gatewayd.actor.wakeup import Wakeup
from gatewayd.channels.discord.api import DiscordApi, Route, route
from gatewayd.channels.discord.ids import is_snowflake, seconds_of, snowflake_at
from gatewayd.channels.discord.receiving.cursors import DiscordState
from gatewayd.channels.discord.receiving.inbound import Receiver
from gatewayd.channels.discord.settings import DiscordSettings
from gatewayd.channels.discord.wire.answers import Channel, Threads
from gatewayd.channels.discord.wire.events import FORUMS, THREADS, decode_message
from gatewayd.kit.json import Malformed
from gatewayd.kit.network.backfill import Fetched, Gap, Page
from gatewayd.model.errors import SendRejected, TryAgain
from gatewayd.ports.channel import ChannelServices, Deliver

PAGE: Final = 100
PAGES: Final = 20
"""Of one channel or thread."""
DIRECT_MESSAGES: Final = 50
"""Those of the newest messages."""
GUILDS_SECONDS: Final = 20.0
"""So long a new session may take to tell of its guilds. Those that come later had an outage, and are told of when it is over."""
AGAIN_SECONDS: Final = 5.0
NAMED: Final = 10
"""Channels that cannot be read, in status."""

T = TypeVar("T")

_HISTORY: Final = "history"
_UNREADABLE: Final = "history of channels"


class _Place(Struct, frozen=True):
    """A channel, a thread or a direct message; of the last one ``guild`` is None. ``last`` is its last message, where told."""

    id: str
    guild: str | None
    last: int | None = None


class _Bounds(Struct):
    """Of the gap of this number: ``until`` is when all of it is too old."""

    gap: int
    since: int
    until: float
    calls: int
    is_reached: bool = False


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
        self._unreadable: list[str] = []
        self._reason = ""

    def begin(self) -> None:
        """A new session has begun: from now on its guilds tell where something was missed."""
        now = self._services.now()
        since = max(self._seen.upto, snowflake_at(now - self._seconds))
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
        with anyio.move_on_after(GUILDS_SECONDS):
            while not self._receiver.guilds.is_complete:
                await self._receiver.guilds.told.wait()
        if self._seconds:
            await self._read_all(deliver, bounds)
        if self._seen.close(bounds.gap):
            self._receiver.guilds.collect(None)
        await deliver((), state={**self._state.unsaved(), self._state.seen_key: self._seen.value()})

    async def _read_all(self, deliver: Deliver, bounds: _Bounds) -> None:
        self._unreadable = []
        done: set[str] = set()
        while (waiting := [it for it in await self._places(bounds, done) if it.id not in done]) and not bounds.is_reached:
            for number, place in enumerate(waiting):
                self._tell(bounds, f"{number} of {len(waiting)} channels")
                done.add(place.id)
                await self._read(place, deliver, bounds)
        self._tell_end(bounds)

    async def _places(self, bounds: _Bounds, done: set[str]) -> list[_Place]:
        """Where something may have been missed, as far as it is known now: first where somebody wrote last."""
        missed = [(guild, it) for guild, it in self._receiver.guilds.missed.values() if it.id not in done]
        found = [_Place(it.id, guild, int(it.last_message_id or "0")) for guild, it in missed if it.type not in FORUMS]
        if not done:
            talks = self._talks.newest_first()
            found += [_Place(name, None) for name, user in talks if user][:DIRECT_MESSAGES]
            listed = {it.id for it in found}
            ours = [name for name, user in talks if not user and name not in listed]
            found += [it for name in ours[:DIRECT_MESSAGES] if (it := await self._thread(name, bounds)) is not None]
        for guild, channel in missed:
            if channel.type not in THREADS:
                if channel.type in FORUMS:
                    done.add(channel.id)
                found += [it async for it in self._archived(guild, channel, bounds)]
        return sorted({it.id: it for it in found}.values(), key=lambda it: -(it.last or 0))

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

    async def _archived(self, guild: str, channel: Channel, bounds: _Bounds) -> AsyncIterator[_Place]:
        """Threads of a channel that were archived and have news ("List Public Archived Threads": the newest first; "List Joined
        Private Archived Threads")."""
        for template in (
            "GET /channels/{channel_id}/threads/archived/public",
            "GET /channels/{channel_id}/users/@me/threads/archived/private",
        ):
            try:
                page = await self._ask(route(template, channel_id=channel.id), Threads, bounds, {"limit": PAGE})
            except SendRejected:
                continue
            for thread in () if page is None else page.threads:
                if is_snowflake(thread.last_message_id) and int(thread.last_message_id or "0") > bounds.since:
                    self._receiver.guilds.put_channel(guild, thread)
                    yield _Place(thread.id, guild, int(thread.last_message_id or "0"))

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
            items = [] if page is None else list(self._items(place, page))
            is_more = page is not None and len(page) == PAGE and items
            return Page(items, max(items, key=lambda it: int(it.cursor)).cursor if is_more else None)

        try:
            await gap.fill_forward(fetch, pages=PAGES)
        except SendRejected as error:
            self._unreadable.append(place.id)
            self._reason = error.reason

    def _items(self, place: _Place, page: list[Raw]) -> Iterator[Fetched]:
        for raw in page:
            try:
                message = replace(decode_message(raw), channel_id=place.id, guild_id=place.guild)
                if not is_snowflake(message.id):
                    continue
                read = self._receiver.message(message, missed=True)
            except Malformed as malformed:
                self._services.log.warning("discord_message_skipped", channel=place.id, reason=str(malformed))
                continue
            yield Fetched(message.id, read.envelopes[0] if read.envelopes else None)

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
        names = ", ".join(self._unreadable[:NAMED])
        more = f" and {len(self._unreadable) - NAMED} more" if len(self._unreadable) > NAMED else ""
        self._services.connection.lacks(_UNREADABLE, f"{names}{more}: {self._reason}" if self._unreadable else None)


def _when(bounds: _Bounds) -> str:
    return datetime.fromtimestamp(seconds_of(str(bounds.since)), UTC).strftime("%Y-%m-%d %H:%M UTC")
