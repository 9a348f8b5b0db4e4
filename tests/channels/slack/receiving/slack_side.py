"""Slack's side of Socket Mode, on a real socket: it does what a test says, and sends again what is not acknowledged."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from websockets.exceptions import InvalidState

from gatewayd.actor.wakeup import Wakeup
from gatewayd.kit.http import create_client
from gatewayd.model.errors import GatewayError
from tests.kit.network.websocket_peer import Peer, playing
from tests.kit.test_http import server

TICKET = "ticket-canary"
APP = "A0APP"
AGAIN_SECONDS = 3.0


class Line:
    """One connection, after its handshake. ``is_open``: its hello was said, and it is not over."""

    def __init__(self, slack: "Slack", peer: Peer) -> None:
        self.slack = slack
        self.peer = peer
        self.is_open = False
        self.acknowledged: list[str] = []
        self.close_code: int | None = None
        self._scope = trio.CancelScope()
        self._is_silent = False

    async def say(self, frame: dict[str, Any] | str) -> None:
        await self._do(self.peer.say, frame if isinstance(frame, str) else json.dumps(frame))

    async def hello(self, **fields: Any) -> None:
        self.is_open = True
        told = len(self.slack.open) + self.slack.strangers
        said = {"type": "hello", "num_connections": told, "connection_info": {"app_id": APP}, **fields}
        await self.say(said)
        self.slack.tell()

    async def disconnect(self, reason: str) -> None:
        await self.say({"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-1"}})

    async def close(self) -> None:
        """As Slack ends a connection: a close frame, and then TCP."""
        await self._do(self.peer.close, 1000)
        await self.cut()

    async def _do(self, act: Callable[[Any], Awaitable[None]], what: object) -> None:
        try:
            await act(what)
        except (trio.BrokenResourceError, trio.ClosedResourceError, InvalidState):
            self._over()

    async def cut(self) -> None:
        self._scope.cancel()
        await trio.testing.wait_all_tasks_blocked()

    def go_silent(self) -> None:
        """Read nothing any more, and answer no ping. TCP stays open."""
        self._is_silent = True
        self._scope.cancel()

    async def live(self) -> None:
        """Read acknowledgements until the end."""
        with self._scope:
            try:
                while (message := await self.peer.take()) is not None:
                    self.slack.take(self, json.loads(message))
            except trio.BrokenResourceError:
                pass
        received = self.peer.protocol.close_rcvd
        self.close_code = received.code if received is not None else None
        self._over()
        if self._is_silent:
            await trio.sleep_forever()

    def _over(self) -> None:
        self.is_open = False
        self.slack.tell()


class Slack:
    """``attempts`` are the times at which apps.connections.open was called. ``refuse`` is asked for the error of each.
    ``welcome`` is what each new connection gets, in place of an ordinary hello. ``strangers`` is the number of
    connections of another program.

    ``frames`` are the envelopes that are not acknowledged; ``taken`` are the ids of those that are, in order.
    ``check`` is called with each id that is acknowledged. ``dark_at`` are the times from which on no connection was open.
    """

    def __init__(self, url: str) -> None:
        self.attempts: list[float] = []
        self.lines: list[Line] = []
        self.refuse: Callable[[], GatewayError | None] = lambda: None
        self.welcome: Callable[[Line], Any] = Line.hello
        self.strangers = 0
        self.frames: dict[str, dict[str, Any]] = {}
        self.taken: list[str] = []
        self.check: Callable[[str], None] = lambda envelope_id: None
        self.dark_at: list[float] = []
        self.changed = Wakeup()
        self._url = url
        self._numbers = iter(range(1, 1_000_000))

    @property
    def open(self) -> list[Line]:
        return [line for line in self.lines if line.is_open]

    async def open_url(self) -> str:
        await trio.lowlevel.checkpoint()
        self.attempts.append(trio.current_time())
        if (error := self.refuse()) is not None:
            raise error
        return f"{self._url}/link/?ticket={TICKET}-{len(self.attempts)}"

    async def play(self, peer: Peer) -> None:
        line = Line(self, peer)
        self.lines.append(line)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.welcome, line)
            await line.live()
            nursery.cancel_scope.cancel()

    def envelope(self, text: str, kind: str = "events_api", **fields: Any) -> dict[str, Any]:
        """A new envelope, which is kept until it is acknowledged."""
        number = next(self._numbers)
        event = {"type": "message", "channel": "D01", "channel_type": "im", "user": "U01", "text": text, "ts": f"17.{number:06}"}
        payload = {"type": "event_callback", "team_id": "T01", "api_app_id": APP, "event": event, **fields}
        frame = {"type": kind, "envelope_id": f"e{number}", "payload": payload, "accepts_response_payload": False}
        self.frames[f"e{number}"] = frame
        return frame

    async def send(self, text: str, line: Line | None = None, **fields: Any) -> str:
        """Send a new envelope on this connection, else on the oldest. Returns its id."""
        frame = self.envelope(text, **fields)
        if line is not None or self.open:
            await (line or self.open[0]).say(frame)
        return str(frame["envelope_id"])

    async def send_again(self) -> None:
        """Send what is not acknowledged on the newest connection."""
        for frame in list(self.frames.values()):
            frame["retry_attempt"], frame["retry_reason"] = frame.get("retry_attempt", 0) + 1, "timeout"
            if self.open:
                await self.open[-1].say(frame)

    def take(self, line: Line, message: dict[str, Any]) -> None:
        envelope_id = message.pop("envelope_id")
        assert message == {}, "nothing but the id"
        self.check(envelope_id)
        line.acknowledged.append(envelope_id)
        self.taken.append(envelope_id)
        self.frames.pop(envelope_id, None)
        self.tell()

    def tell(self) -> None:
        if not self.open:
            self.dark_at.append(trio.current_time())
        self.changed.notify()

    async def wait(self, condition: Callable[[], object]) -> None:
        while not condition():
            await self.changed.wait()

    async def wait_open(self, count: int) -> list[Line]:
        await self.wait(lambda: len(self.open) == count)
        return self.open


@asynccontextmanager
async def slack_side() -> AsyncIterator[tuple[Slack, Any]]:
    """Slack, and an HTTP client."""
    slack: Slack

    async def behave(stream: trio.SocketStream) -> None:
        await playing(slack.play)(stream)

    async with server(behave) as url, create_client() as http:
        slack = Slack("ws://" + url.split("/")[2])
        yield slack, http
