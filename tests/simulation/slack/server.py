"""Slack's Web API and Socket Mode in front of a simulated workspace, on streams in memory, with the faults of the simulation."""

import math
from collections.abc import Callable, Mapping
from html import unescape
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from gatewayd.model.errors import NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.payload import Choice, EditText, RichText, SendText
from tests.fakes.bot_api.http_server import Request, Response, _serve_connection
from tests.fakes.slack_platform.errors import SlackError
from tests.fakes.slack_platform.faults import ratelimited
from tests.fakes.slack_platform.methods.arguments import read_arguments
from tests.simulation.outside.platforms import NOT_MODIFIED, OPEN_FAULTS
from tests.simulation.slack.account import HISTORIES, NO_MESSAGE, SlackAccount

if TYPE_CHECKING:
    from tests.simulation.life import Life

Json = dict[str, Any]
CALL_FAULTS: Final[Mapping[str, int]] = {
    "limited": 2,
    "broken": 4,
    "cut_before": 3,
    "cut_after": 3,
    "garbage": 1,
    "hangs": 1,
    "slow": 4,
    "revoked": 1,
}


class SlackServer:
    """One connection of the daemon."""

    def __init__(self, account: SlackAccount, life: "Life", rng: Random, count: Callable[[str], None]) -> None:
        self._account = account
        self._life = life
        self._rng = rng
        self._count = count

    async def serve(self, stream: trio.StapledStream[Any, Any]) -> None:
        """Until either side closes it, or the daemon is gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_with_the_life, nursery.cancel_scope)
            served: Any = MemoryStream(stream)
            await _serve_connection(self._handle, self._connect, served)
            nursery.cancel_scope.cancel()

    async def _end_with_the_life(self, scope: trio.CancelScope) -> None:
        await self._life.over.wait()
        scope.cancel()

    async def _connect(self, request: Request, stream: trio.SocketStream) -> None:
        """A connection of Socket Mode."""
        account = self._account
        account.note_hello(self._life)
        try:
            await account.slack.socket_mode.serve(request, stream)
        finally:
            if not account.slack.connections:
                account.note_away(self._life)

    async def _handle(self, request: Request) -> Response:
        """:raises trio.BrokenResourceError: the connection is cut without an answer."""
        method = request.path.removeprefix("/api/")
        self._count("Slack: calls")
        response: Response | None = None
        try:
            if method in ("chat.postMessage", "chat.update"):
                response = _encoded(await self._write(method, read_arguments(request)))
            else:
                response = await self._read(method, request)
        except SlackError as error:
            response = _encoded(error.answer(), error)
        except SendRejected as error:
            response = _encoded(SlackError("message_not_found" if error.reason == NO_MESSAGE else "is_archived").answer())
        except NeedsOperator:
            response = _encoded(SlackError("token_revoked").answer())
        except TryAgain as error:
            response = self._outage(error)
        except OutcomeUnknown:
            response = None
        except ValueError:
            response = Response(200, b"<html>It works!</html>", "text/html")
        if self._life.dead or response is None:
            self._count("Slack: calls cut")
            raise trio.BrokenResourceError
        return response

    async def _write(self, method: str, params: Json) -> Json:
        """What people see of it."""
        account = self._account
        body, peer, choices = RichText(unescape(params["text"])), account.peer_of(params), _choices_of(params)
        if method == "chat.postMessage":
            key = params["metadata"]["event_payload"]["key"]
            payload: SendText | EditText = SendText(peer, body, choices=choices)
        else:
            key = f"edit {self._rng.random()}"
            payload = EditText(peer, body, 0, f"{params['channel']}:{params['ts']}", choices)
        try:
            return await account.carry_out(self._life, payload, key, params)
        except OutcomeUnknown:
            if self._rng.random() < 0.3 and account.is_sure:  # also where it was done
                self._count("Slack: fatal_error")
                raise SlackError(self._rng.choice(("fatal_error", "internal_error"))) from None
            raise
        except SendRejected as error:
            if error.reason != NOT_MODIFIED:
                raise
            return {"ok": True, "channel": params["channel"], "ts": params["ts"]}  # nobody waits for it any more

    async def _read(self, method: str, request: Request) -> Response | None:
        """All other calls: twice is as good as once."""
        account, life = self._account, self._life
        is_first = method in ("auth.test", "apps.connections.open")
        fate = await account.travel(life, OPEN_FAULTS if is_first else CALL_FAULTS)
        account.note_call(method)
        match fate:
            case "limited":
                raise ratelimited(self._rng.choice((1, 3, 30)))
            case "broken":
                raise TryAgain("502")
            case "cut_before" | "dropped":
                raise OutcomeUnknown("cut")
            case "garbage":
                raise ValueError
            case "hangs":
                await trio.sleep_forever()
            case "revoked":
                raise NeedsOperator("revoked")
        if method in HISTORIES and read_arguments(request).get("include_all_metadata"):
            self._count("sends looked up")
            if not account.is_sure:
                raise SlackError("internal_error")
        life.pass_point("before_call")
        life.check_alive()
        response = await account.parts.server.handle(request)
        life.pass_point("after_call")
        if fate == "cut_after":
            raise OutcomeUnknown("cut")
        return response

    def _outage(self, error: TryAgain) -> Response | None:
        if error.reason.startswith("429"):
            self._count("Slack: 429")
            limited = ratelimited(math.ceil(error.after_seconds)) if error.after_seconds is not None else None
            refused = limited or SlackError("ratelimited", status=429)
            return _encoded(refused.answer(), refused)
        if error.reason == "502":
            return Response(self._rng.choice((500, 502, 503)), b"<html>Bad Gateway</html>", "text/html")
        return None


class MemoryStream:
    """The server's end of a connection, with what it asks of a socket."""

    def __init__(self, stream: trio.StapledStream[Any, Any]) -> None:
        self._stream = stream

    @property
    def socket(self) -> "MemoryStream":
        return self

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        """There is no TCP."""

    def close(self) -> None:
        self._stream.send_stream.close()
        self._stream.receive_stream.close()

    async def receive_some(self, max_bytes: int) -> bytes:
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> "MemoryStream":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()


def _encoded(answer: Json, error: SlackError | None = None) -> Response:
    headers: tuple[tuple[str, str], ...] = ()
    if error is not None and error.retry_after_seconds is not None:
        headers = (("Retry-After", str(error.retry_after_seconds)),)
    return Response(200 if error is None else error.status, msgspec.json.encode(answer), "application/json", headers)


def _choices_of(params: Json) -> tuple[tuple[Choice, ...], ...]:
    rows = [block["elements"] for block in params.get("blocks", ()) if block["type"] == "actions"]
    return tuple(tuple(Choice(button["text"]["text"], button["value"]) for button in row) for row in rows)
