"""The event stream of one server: connected as long as the core is open, and connected anew when it breaks.

There is no replay: events may be missed between two connections.
"""

import math
from abc import ABC, abstractmethod
from contextlib import aclosing
from random import Random

import anyio
import httpx2
from structlog.typing import FilteringBoundLogger

from gatewayd.actor.backoff import Backoff
from gatewayd.agents.opencode.server.client import CALL_SECONDS, Client, credentials_refused
from gatewayd.agents.opencode.server.dialect import Dialect
from gatewayd.agents.opencode.server.progress import StreamEvent
from gatewayd.agents.opencode.server.wire import Malformed, one_line
from gatewayd.kit.http import open_stream
from gatewayd.kit.sse import EventStream, EventTooLarge
from gatewayd.model.errors import TryAgain

_FIRST_RETRY_SECONDS = 0.25
_LONGEST_RETRY_SECONDS = 10.0


class Feed(ABC):
    def __init__(self, client: Client, dialect: Dialect, log: FilteringBoundLogger, rng: Random) -> None:
        self._client = client
        self._dialect = dialect
        self._log = log
        self._backoff = Backoff(rng, first_seconds=_FIRST_RETRY_SECONDS, longest_seconds=_LONGEST_RETRY_SECONDS)
        self._connected = anyio.Event()
        self._attempt = 0

    @abstractmethod
    async def _on_event(self, event: StreamEvent) -> None:
        """Called for each event that concerns a session, one after the other."""

    @abstractmethod
    def _on_connected(self) -> None:
        """Called after each connect."""

    @abstractmethod
    def _on_failure(self, why: str) -> None:
        """Called when there is no stream. May raise to give up."""

    async def _read_stream(self) -> None:
        """Read until cancelled. :raises NeedsOperator: the server refuses the credentials. Else what ``_on_failure`` raises."""
        while True:
            why = await self._read_connection()
            if self._connected.is_set():
                self._connected = anyio.Event()
            self._attempt += 1
            if self._attempt == 1:
                self._log.warning("event_stream_lost", reason=why)
            self._on_failure(why)
            await anyio.sleep(self._backoff.delay(self._attempt))

    async def _read_connection(self) -> str:
        """One connection, to its end. Returns why it ended."""
        client = self._client
        opening = anyio.CancelScope(deadline=anyio.current_time() + CALL_SECONDS)
        try:
            with opening:
                async with open_stream(
                    client.http,
                    "GET",
                    client.url + self._dialect.stream_path,
                    what="the event stream",
                    repeatable=True,
                    headers={"accept": "text/event-stream", **client.headers},
                ) as response:
                    opening.deadline = math.inf
                    if response.status_code in (401, 403):
                        raise credentials_refused("the event stream", response.status_code)
                    if response.status_code != 200:
                        return f"the server answers {response.status_code}"
                    return await self._read_events(response)
        except (TryAgain, EventTooLarge) as error:
            return error.reason
        return "no answer in time"

    async def _read_events(self, response: httpx2.Response) -> str:
        silence = 3 * self._dialect.heartbeat_seconds + 5
        async with aclosing(EventStream(response)) as events:
            while True:
                with anyio.move_on_after(silence) as quiet:
                    try:
                        event = await anext(events)
                    except StopAsyncIteration:
                        return "the server ended it"
                if quiet.cancelled_caught:
                    return f"nothing came for {silence:g} s"
                await self._take(event.data)

    async def _take(self, data: str) -> None:
        if not self._connected.is_set():
            # The first event says that we are subscribed: from then on no event is missed.
            self._attempt = 0
            self._connected.set()
            self._on_connected()
        try:
            if (event := self._dialect.read(data)) is not None:
                await self._on_event(event)
        except Malformed as error:
            self._log.debug("event_not_decoded", reason=one_line(error.reason))
