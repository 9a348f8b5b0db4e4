"""The event stream: one per server, connected as long as the core is open, begun anew when it breaks. There is no replay:
after each connect whoever reads has to look at everything."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from random import Random

import anyio
import httpx2
from structlog.typing import FilteringBoundLogger

from gatewayd.actor.backoff import Backoff
from gatewayd.agents.opencode.server.client import CALL_SECONDS, Client
from gatewayd.agents.opencode.server.dialect import Dialect, StreamEvent
from gatewayd.agents.opencode.server.wire import Malformed, one_line
from gatewayd.kit.http import CONNECT_SECONDS, describe
from gatewayd.kit.sse import EventStream, EventTooLarge
from gatewayd.model.errors import NeedsOperator

_FIRST_RETRY_SECONDS = 0.25
_LONGEST_RETRY_SECONDS = 10.0


class Feed:
    """``on_event`` is called for each event that concerns a session, one after the other; ``on_connected`` after each connect;
    ``on_broken`` with the reason whenever there is no stream, and may raise to give up."""

    def __init__(
        self,
        client: Client,
        dialect: Dialect,
        *,
        on_event: Callable[[StreamEvent], Awaitable[None]],
        on_connected: Callable[[], None],
        on_broken: Callable[[str], None],
        log: FilteringBoundLogger,
        rng: Random,
    ) -> None:
        self._client = client
        self._dialect = dialect
        self._on_event = on_event
        self._on_connected = on_connected
        self._on_broken = on_broken
        self._log = log
        self._backoff = Backoff(rng, first_seconds=_FIRST_RETRY_SECONDS, longest_seconds=_LONGEST_RETRY_SECONDS)
        self._connected = anyio.Event()
        self._attempt = 0

    async def wait_connected(self) -> None:
        await self._connected.wait()

    async def run(self) -> None:
        """Read until cancelled. :raises NeedsOperator: the server refuses the credentials. Else what ``on_broken`` raises."""
        while True:
            why = await self._read()
            if self._connected.is_set():
                self._connected = anyio.Event()
            self._attempt += 1
            if self._attempt == 1:
                self._log.warning("event_stream_lost", reason=why)
            self._on_broken(why)
            await anyio.sleep(self._backoff.delay(self._attempt))

    async def _read(self) -> str:
        """One connection, to its end. Returns why it ended."""
        try:
            with anyio.move_on_after(CALL_SECONDS) as opening:
                response = await self._open()
            if opening.cancelled_caught:
                return "no answer in time"
            try:
                if response.status_code in (401, 403):
                    raise NeedsOperator(
                        "the server refuses the credentials: set username and password, or token", look_again=True
                    )
                if response.status_code != 200:
                    return f"the server answers {response.status_code}"
                return await self._read_events(response)
            finally:
                await response.aclose()
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            return describe(error, "the event stream", written=False, repeatable=True).reason
        except EventTooLarge as error:
            return error.reason

    async def _open(self) -> httpx2.Response:
        client = self._client
        request = client.http.build_request(
            "GET",
            client.url + self._dialect.stream_path,
            headers={"accept": "text/event-stream", "accept-encoding": "identity", **client.headers},
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
        )
        return await client.http.send(request, stream=True)

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
            # The first event says that we are subscribed: OpenAgentic subscribes before it, and what happens from then on comes.
            self._attempt = 0
            self._connected.set()
            self._on_connected()
        try:
            if (event := self._dialect.read(data)) is not None:
                await self._on_event(event)
        except Malformed as error:
            self._log.debug("event_not_decoded", reason=one_line(error.reason))
