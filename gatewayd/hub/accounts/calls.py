"""Calls into the driver of an account that others wait for: turns, and webhooks.

They run in the life of the account. Who waits for one goes on when its time is over, or when it is not wanted any more, whatever
the driver does. A driver that ignores its cancellation ends its own life, and nothing else.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import trio
from anyio.abc import TaskGroup
from msgspec.structs import replace

from gatewayd.actor.border import describe, sole, third_party
from gatewayd.actor.call import Call
from gatewayd.actor.life import Life
from gatewayd.hub.accounts.checked import checked
from gatewayd.kit.text import sanitise
from gatewayd.model.errors import OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer
from gatewayd.model.message.payload import RichText, Signal
from gatewayd.ports.channel import Channel, FetchesMedia, RecallsThreads, ShowsGrowth, ShowsSignals

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

SIGNAL_SECONDS: Final = 10.0
FETCH_SECONDS: Final = 120.0
"""For an attachment, and for what was said in a thread before."""
GROW_SECONDS: Final = 5.0
"""The end of a reply waits so long at most for a call that is in progress."""
OBEY_SECONDS: Final = 10.0
"""How long a call may go on after its time is over."""

T = TypeVar("T")


class CallCut(Exception):
    """A call did not end in its time, or its account was closed meanwhile. It may have had its effect, or may have it yet."""


class DriverCalls:
    """The calls of one life into its open channel. ``driver_tasks`` are the tasks of that life."""

    def __init__(
        self, channel: Channel, driver_tasks: TaskGroup, life: Life, log: "FilteringBoundLogger", redact: Callable[[str], str]
    ) -> None:
        self.channel = channel
        self._driver_tasks = driver_tasks
        self._life = life
        self._log = log
        self._redact = redact
        self._is_open = False

    @contextmanager
    def open(self) -> Iterator[None]:
        """Calls are made inside. Left before the tasks end: a task group that has ended takes no more tasks."""
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False

    async def call(self, work: Callable[[], Awaitable[T]], *, within_seconds: float) -> T:
        """Return what ``work`` returns.

        :raises TryAgain: the account is not open, and nothing was called. :raises CallCut: see there. :raises Exception: what the
            driver raised, as it arrives from the border.
        """
        if not self._is_open or self._life.over:
            raise TryAgain("the account is not connected")
        call = Call(work)
        self._driver_tasks.start_soon(self._run, call, within_seconds)
        try:
            with trio.move_on_after(within_seconds) as waiting:
                await call.done.wait()
        finally:
            call.cancel()
        if waiting.cancelled_caught:
            raise CallCut(f"cut after {within_seconds:g} s without an answer")
        if call.was_cut:
            raise CallCut("cut, because the account was closed")
        return call.result()

    async def _run(self, call: Call[T], seconds: float) -> None:
        with self._life.must_end_within(seconds + OBEY_SECONDS):
            await call.run()

    async def signal(self, signal: Signal) -> None:
        """Show a signal, where the channel can. Best effort: errors are ignored."""

        async def show() -> None:
            if isinstance(self.channel, ShowsSignals):
                await self.channel.signal(signal)

        try:
            await self.call(show, within_seconds=SIGNAL_SECONDS)
        except Exception as error:
            self._log.debug("signal_failed", reason=describe(error, self._redact))

    def grows_every(self, peer: Peer) -> float | None:
        """The least pause between two calls of ``grow`` in this chat, in seconds. None: replies do not grow there."""
        try:
            with third_party():
                seconds: object = self.channel.grows_every(peer) if isinstance(self.channel, ShowsGrowth) else None
                return float(seconds) if isinstance(seconds, int | float) else None
        except Exception as error:
            self._log.debug("growth_failed", reason=describe(sole(error)))
            return None

    async def grow(self, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        """Show more of a message that grows.

        :raises TryAgain: nothing was shown. :raises SendRejected: it cannot be edited any more. :raises OutcomeUnknown: it was
            perhaps shown, or will be.
        """

        async def show() -> None:
            if isinstance(self.channel, ShowsGrowth):
                await self.channel.grow(peer, message_id, text, key=key)

        try:
            await self.call(show, within_seconds=GROW_SECONDS)
        except Exception as error:
            reason = describe(error, self._redact)
            self._log.debug("growth_failed", reason=reason)
            raise error if isinstance(error, TryAgain | SendRejected) else OutcomeUnknown(reason) from None

    async def fetch(self, attachment: Attachment, at_most_bytes: int) -> bytes:
        """The bytes of an attachment, from the platform.

        :raises TryAgain: an outage, or it took too long. :raises SendRejected: no files here, too large, or gone.
        """

        async def fetch() -> bytes:
            if not isinstance(self.channel, FetchesMedia):
                raise SendRejected("this channel has no files to fetch")
            return await self.channel.fetch(attachment, at_most_bytes=at_most_bytes)

        try:
            return await self.call(fetch, within_seconds=FETCH_SECONDS)
        except CallCut as cut:
            raise TryAgain(f"the attachment was not fetched: {cut}") from None

    async def earlier(self, envelope: InboundEnvelope, at_most: int) -> Sequence[Earlier]:
        """The newest ``at_most`` messages of the thread before this one.

        :raises TryAgain: an outage, or it took too long. :raises SendRejected: they cannot be read, or the driver has a bug.
        """

        async def recall() -> Sequence[Earlier]:
            if not isinstance(self.channel, RecallsThreads):
                raise SendRejected("this channel cannot read its threads")
            return [checked(item, Earlier) for item in await self.channel.earlier(envelope, at_most=at_most)]

        try:
            told = await self.call(recall, within_seconds=FETCH_SECONDS)
        except CallCut as cut:
            raise TryAgain(f"the thread was not read: {cut}") from None
        except Exception as error:
            raise error if isinstance(error, TryAgain | SendRejected) else SendRejected(describe(error, self._redact)) from None
        return [replace(item, text=sanitise(item.text)) for item in told[-at_most:]]
