"""What was said while nobody listened, from conversations.history and conversations.replies.

A history has the messages of a channel and those that began a thread, but not the replies ("conversations.history"). So the
replies are read thread by thread: of the threads that we are in, and of those among the last messages of a channel that have new
replies. Where somebody wrote last is read first.

Nothing that is older than ``backfill_minutes`` is fetched, and at most ``backfill_calls`` calls are made for one gap. An app that
is distributed outside of Slack's marketplace may read one page of 15 messages a minute ("Rate limits"): there the calls wait.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import anyio
from msgspec import Raw, Struct

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.receiving.inbound import Receiver
from gatewayd.channels.slack.receiving.text import one_line
from gatewayd.channels.slack.receiving.threads import SlackState
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.channels.slack.wire.events import Conversation, Conversations, HistoryPage, Message, decode_message, is_direct
from gatewayd.kit.json import Malformed
from gatewayd.kit.network.backfill import Fetched, Gap, Page
from gatewayd.model.errors import SendRejected, TryAgain
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.ports.channel import ChannelServices, Deliver

PAGE: Final = 100
PAGES: Final = 20
"""Of one channel or thread."""
THREADS: Final = 200
"""The threads that we are in whose replies are read: those of the newest messages."""
OVERLAP_SECONDS: Final = 600.0
"""So much before the last message that was received is read again: an event before it may not have been stored yet, and Slack
sends such a one for six minutes only ("Events API", "Retries"). The hub knows the others by their keys."""
OVERLAP_WITHIN_SECONDS: Final = 86_400.0
"""After a longer time nothing is read again: the hub forgets keys after two days at the earliest (``retention.keep_seconds``)."""

CHANNELS_PAGE: Final = 200
NAMED: Final = 10
"""Channels that cannot be read, in status."""

T = TypeVar("T")

_TYPES: Final = {
    "public_channel": "public channels",
    "private_channel": "private channels",
    "mpim": "group direct messages",
    "im": "direct messages",
}
_HISTORY: Final = "history"


class _Channel(Struct, frozen=True):
    """A channel that we are in, and how it is called in status."""

    id: str
    kind: str
    label: str


class _Bounds(Struct):
    """Of the gap of this number: ``until`` is when all of it is too old."""

    gap: int
    since: float
    until: float
    calls: int
    is_reached: bool = False


class Backfill:
    """Of one account. Each message is delivered once, marked as missed; those that came meanwhile are known by their keys."""

    def __init__(
        self, api: SlackApi, services: ChannelServices, settings: SlackSettings, receiver: Receiver, state: SlackState
    ) -> None:
        self._api = api
        self._services = services
        self._seconds = 60.0 * settings.backfill_minutes
        self._most_calls = settings.backfill_calls
        self._receiver = receiver
        self._state = state
        self._threads = state.threads
        self._seen = state.seen
        self._bounds = _Bounds(0, 0.0, 0.0, 0)
        self._unreadable: dict[str, tuple[str, list[str]]] = {}
        self._refused: set[str] = set()
        self._progress = ""

    async def run(self, deliver: Deliver) -> None:
        """Deliver what was missed. Called after each gap, and again after an outage: then it goes on where it was.

        :raises TryAgain: an outage. :raises NeedsOperator: Slack does not accept the token. Whatever ``deliver`` raises.
        """
        seen, now = self._seen, self._services.now()
        if self._bounds.gap != seen.gap:
            self._bounds = _Bounds(seen.gap, self._since(now), now + self._seconds, self._most_calls)
        is_first_time = seen.upto is None
        if not is_first_time and self._seconds:
            await self._read_all(deliver)
        value = seen.close(self._bounds.gap, self._services.now())
        if not is_first_time:
            await deliver((), state={**self._state.unsaved(), self._state.seen_key: value})

    def _since(self, now: float) -> float:
        upto = self._seen.upto or now
        overlap = OVERLAP_SECONDS if now - upto < OVERLAP_WITHIN_SECONDS else 0.0
        return max(upto - overlap, now - self._seconds, self._seen.began)

    async def _read_all(self, deliver: Deliver) -> None:
        self._unreadable, self._refused, self._progress = {}, set(), "no channels"
        channels = await self._channels()
        parents: dict[tuple[str, str], float] = {}
        for number, channel in enumerate(channels):
            self._tell(f"{number} of {len(channels)} channels")
            await self._read_channel(channel, deliver, parents)
        threads = self._wanted(parents, {channel.id: channel for channel in channels})
        for number, (channel, root) in enumerate(threads):
            self._tell(f"{number} of {len(threads)} threads")
            await self._read_thread(channel, root, deliver)
        self._tell_end()

    def _wanted(self, parents: Mapping[tuple[str, str], float], channels: Mapping[str, _Channel]) -> list[tuple[_Channel, str]]:
        """Where there may be replies: what the histories say of a thread is better than what we remember of it. They need not say
        when its last reply came ("conversations.replies": the example of a thread has no ``latest_reply``)."""
        ours = [name for name in self._threads.newest_first() if name[0] in channels and name not in parents][:THREADS]
        found = sorted((name for name, latest in parents.items() if latest > self._bounds.since), key=lambda name: -parents[name])
        return [(channels[channel], root) for channel, root in (*found, *ours)]

    async def _channels(self) -> list[_Channel]:
        """The channels that we are in, beginning with the one where somebody wrote last. Where Slack does not list them, those
        where somebody wrote to our knowledge."""
        found: dict[str, tuple[tuple[float, float], _Channel]] = {}
        for kind, words in _TYPES.items():
            params: dict[str, Any] = {"types": kind, "exclude_archived": True, "limit": CHANNELS_PAGE}
            try:
                while (page := await self._ask("users.conversations", params, Conversations)) is not None:
                    found |= {
                        it.id: ((self._threads.last_in(it.id), it.updated), _Channel(it.id, words, _label_of(it)))
                        for it in page.channels
                        if it.id and not it.is_archived
                    }
                    if not page.response_metadata.next_cursor:
                        break
                    params["cursor"] = page.response_metadata.next_cursor
            except SendRejected as error:
                self._unreadable[words] = (f"only those of which we know are read: {error.reason}", [])
                for channel in self._threads.channels():
                    if is_direct(channel) == (kind == "im"):
                        found.setdefault(channel, ((self._threads.last_in(channel), 0.0), _Channel(channel, words, channel)))
        return [channel for _, channel in sorted(found.values(), key=lambda it: it[0], reverse=True)]

    async def _read_channel(self, channel: _Channel, deliver: Deliver, parents: dict[tuple[str, str], float]) -> None:
        if channel.kind in self._refused:
            return
        gap = self._gap_of(channel.id, deliver)

        async def fetch(cursor: str | None) -> Page:
            params = {"channel": channel.id, "limit": PAGE, **({} if cursor is None else {"cursor": cursor})}
            page = await self._ask("conversations.history", params, HistoryPage)
            if page is None:
                return Page(())
            messages = _messages(page)
            parents.update({(channel.id, it.ts): float(it.latest_reply or "inf") for _, it in messages if it.ts == it.thread_ts})
            return Page(list(self._items(channel, messages)), page.response_metadata.next_cursor or None)

        try:
            if not await gap.fill_backward(fetch, pages=PAGES):
                self._note_unreadable(channel, f"too much was said: only the last {gap.delivered} messages were read")
        except SendRejected as error:
            self._note_unreadable(channel, error.reason)
            if "missing_scope" in error.reason:
                self._refused.add(channel.kind)

    def _note_unreadable(self, channel: _Channel, reason: str) -> None:
        reason, names = self._unreadable.get(channel.kind, (reason, []))
        self._unreadable[channel.kind] = (reason, [*names, channel.label])

    async def _read_thread(self, channel: _Channel, root: str, deliver: Deliver) -> None:
        gap = self._gap_of(f"{channel.id}:{root}", deliver)
        oldest = gap.cursor

        async def fetch(cursor: str | None) -> Page:
            params = {"channel": channel.id, "ts": root, "oldest": oldest, "limit": PAGE}
            page = await self._ask("conversations.replies", params | ({} if cursor is None else {"cursor": cursor}), HistoryPage)
            if page is None:
                return Page(())
            replies = [(raw, it) for raw, it in _messages(page) if it.ts != root]
            return Page(list(self._items(channel, replies)), page.response_metadata.next_cursor or None)

        try:
            await gap.fill_forward(fetch, pages=PAGES)
        except SendRejected as error:  # the thread is gone
            self._services.log.info("slack_thread_not_read", channel=channel.id, reason=error.reason)

    def _gap_of(self, history: str, deliver: Deliver) -> Gap:
        seen = self._seen
        since = max(self._bounds.since, seen.read_back_to(history))

        def state(ts: str) -> Mapping[str, str]:
            return {**self._state.unsaved(), self._state.seen_key: seen.note_read_back(history, ts)}

        return Gap(deliver, cursor=f"{since:.6f}", order=float, state=state)

    def _items(self, channel: _Channel, messages: Sequence[tuple[Raw, Message]]) -> Iterator[Fetched]:
        """The messages, and the edits of those that may have been received as they were. The oldest first: a message can begin
        what the next one belongs to."""
        upto = self._seen.upto or 0.0
        for raw, message in sorted(messages, key=lambda it: float(it[1].ts)):
            yield Fetched(message.ts, self._envelope(raw, message.ts, channel.id))
            if message.edited_at and float(message.ts) <= upto:
                yield Fetched(message.edited_at, self._envelope(raw, message.edited_at, channel.id, is_edit=True))

    def _envelope(self, raw: Raw, ts: str, channel: str, *, is_edit: bool = False) -> InboundEnvelope | None:
        """None: nothing comes of it, or it is not of this gap."""
        if float(ts) <= self._bounds.since:
            return None
        try:
            read = self._receiver.message(raw, channel=channel, is_edit=is_edit)
        except Malformed as malformed:
            self._services.log.warning("slack_message_skipped", channel=channel, reason=str(malformed))
            return None
        return read.envelopes[0] if read.envelopes else None

    async def _ask(self, method: str, params: Mapping[str, Any], kind: type[T]) -> T | None:
        """One call, when Slack takes it. None: the bounds of this gap are reached.

        :raises TryAgain: an outage. :raises SendRejected: this cannot be read.
        """
        bounds = self._bounds
        while True:
            if bounds.calls <= 0 or self._services.now() >= bounds.until:
                bounds.is_reached = True
                return None
            try:
                answer = await self._api.ask(method, params, kind, purpose="fetch")
                if isinstance(answer, HistoryPage):
                    await self._receiver.meet(answer.messages)
            except TryAgain as error:
                if error.after_seconds is None:
                    raise
                self._tell(self._progress, f"; {error.reason}")
                await anyio.sleep(error.after_seconds)
                self._tell(self._progress)
            else:
                bounds.calls -= 1
                return answer

    def _tell(self, progress: str, waits: str = "") -> None:
        if not self._bounds.is_reached:
            self._progress = progress
            self._services.connection.lacks(_HISTORY, f"reading what was said since {self._when()}: {progress}{waits}")

    def _tell_end(self) -> None:
        """What could not be read."""
        bounds, reason = self._bounds, None
        if bounds.is_reached:
            limit = "backfill_calls" if bounds.calls <= 0 else "backfill_minutes"
            reason = f"only {self._progress} were read back to {self._when()}: the limit {limit} is reached"
            self._services.log.warning("slack_backfill_in_part", reason=reason)
        self._services.connection.lacks(_HISTORY, reason)
        for words in _TYPES.values():
            reason_and_names = self._unreadable.get(words)
            what = f"history of {words}"
            self._services.connection.lacks(what, None if reason_and_names is None else _shown(*reason_and_names))

    def _when(self) -> str:
        return datetime.fromtimestamp(self._bounds.since, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _messages(page: HistoryPage) -> list[tuple[Raw, Message]]:
    found: list[tuple[Raw, Message]] = []
    for raw in page.messages:
        with suppress(Malformed):
            message = decode_message(raw)
            if message.ts:
                found.append((raw, message))
    return found


def _label_of(conversation: Conversation) -> str:
    name = f"#{one_line(conversation.name)}" if conversation.name else conversation.user
    return f"{name} ({conversation.id})" if name else conversation.id


def _shown(reason: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}: {reason}" if names else reason
