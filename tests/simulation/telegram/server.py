"""A Bot API server in front of a simulated account: what the account does, in HTTP and in the platform's JSON.

Methods, types and words are those of core.telegram.org/bots/api; ``tests/fakes/bot_api`` is the whole of it, on real sockets.
This one draws its faults where the other channels of the simulation do, and cuts connections before and after an effect.
"""

import math
from collections.abc import Awaitable, Callable
from html import unescape
from random import Random
from re import sub
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio
from msgspec import Struct

from gatewayd.model.errors import NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, EditText, RichText, SendText
from tests.simulation.outside.platforms import NOT_MODIFIED, OPEN_FAULTS, Account, Update

if TYPE_CHECKING:
    from tests.simulation.life import Life

BOT_ID: Final = 424242
TOKEN: Final = f"{BOT_ID}:AAtoken_of_the_simulation_0123456789abc"
Json = dict[str, Any]


class _Reply(Struct, frozen=True):
    status: int
    body: bytes


class BotServer:
    """The server's side of one account."""

    def __init__(self, account: Account, rng: Random, count: Callable[[str], None]) -> None:
        self._account = account
        account.is_in_process = False
        self._rng = rng
        self._count = count
        self._methods: dict[str, Callable[[Life, Json], Awaitable[object]]] = {
            "getMe": self._get_me,
            "getUpdates": self._get_updates,
            "sendMessage": self._send_message,
            "editMessageText": self._edit_message,
        }

    async def serve(self, life: "Life", stream: trio.StapledStream[Any, Any]) -> None:
        """One connection, until either side closes it."""
        received = bytearray()
        async with stream:
            try:
                while (request := await _next_request(stream, received)) is not None:
                    method, params = request
                    reply = await self._answer(life, method, params)
                    if not await self._send(stream, reply):
                        return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def _answer(self, life: "Life", method: str, params: Json) -> _Reply | None:
        """None: the connection is cut without an answer."""
        self._count("Telegram: calls")
        reply: _Reply | None = None
        try:
            reply = _ok(await self._methods.get(method, self._take)(life, params))
        except SendRejected as error:
            known = _WORDS.get(error.reason, "Forbidden: bot was blocked by the user")
            reply = _refusal(400 if known.startswith("Bad") else 403, known)
        except NeedsOperator:
            reply = _refusal(401, "Unauthorized")
        except TryAgain as error:
            reply = self._outage(error)
        except OutcomeUnknown:
            self._count("Telegram: calls cut")
        except ValueError:
            reply = _Reply(200, b"<html>It works!</html>")
        return None if life.dead else reply

    def _outage(self, error: TryAgain) -> _Reply | None:
        if error.reason.startswith("429"):
            self._count("Telegram: 429")
            seconds = None if error.after_seconds is None else math.ceil(error.after_seconds)
            return _refusal(429, "Too Many Requests: retry later", {} if seconds is None else {"retry_after": seconds})
        if error.reason == "502":
            return self._rng.choice((_refusal(500, "Internal Server Error"), _Reply(502, b"<html>Bad Gateway</html>")))
        self._count("Telegram: calls cut")
        return None

    async def _send(self, stream: trio.StapledStream[Any, Any], reply: _Reply | None) -> bool:
        """The answer in some pieces. False: the connection is over."""
        if reply is None:
            # What was cut may have begun to be answered.
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Le" if self._rng.random() < 0.3 else b"")
            return False
        head = f"HTTP/1.1 {reply.status} Any\r\nContent-Type: application/json\r\nContent-Length: {len(reply.body)}\r\n\r\n"
        whole = head.encode() + reply.body
        at = self._rng.randrange(len(whole))
        for piece in (whole[:at], whole[at:]):
            await stream.send_all(piece)
        return True

    async def _take(self, life: "Life", params: Json) -> object:
        """Signs of life and the like: nothing depends on them."""
        await trio.sleep(self._account.weather.latency("fine"))
        life.check_alive()
        return True

    async def _get_me(self, life: "Life", params: Json) -> Json:
        await self._take(life, params)
        if self._account.weather.draw(OPEN_FAULTS) == "dropped":
            raise TryAgain("no connection")
        return {"id": BOT_ID, "is_bot": True, "first_name": "Bot", "username": "simulated_bot"}

    async def _get_updates(self, life: "Life", params: Json) -> list[Json]:
        offset = params.get("offset") or 1
        updates = await self._account.get_updates(life, offset, seconds=params["timeout"])
        return [_json_of(update) for update in updates]

    async def _send_message(self, life: "Life", params: Json) -> Json:
        payload = SendText(_peer_of(params), RichText(_visible(params)), choices=_choices_of(params))
        receipt = await self._account.send(life, payload)
        assert receipt.message_id is not None
        return {"message_id": int(receipt.message_id), "date": 0, "chat": {"id": params["chat_id"], "type": "private"}}

    async def _edit_message(self, life: "Life", params: Json) -> bool:
        """An edit that changes nothing is refused, as the platform does it."""
        message_id = str(params["message_id"])
        known = self._account.shown.get(message_id)
        peer = Peer("dm", "-") if known is None else known.peer
        payload = EditText(peer, RichText(_visible(params)), 0, message_id, _choices_of(params))
        if known is not None and (known.texts[-1], known.choices) == (payload.body.text, payload.choices):
            await self._take(life, params)
            raise SendRejected(NOT_MODIFIED)
        await self._account.send(life, payload)
        return True


_WORDS: Final = {
    NOT_MODIFIED: "Bad Request: message is not modified",
    "there is no such message in this chat": "Bad Request: message to edit not found",
}


async def _next_request(stream: trio.StapledStream[Any, Any], received: bytearray) -> tuple[str, Json] | None:
    """The method and parameters of the next call; None when the client has closed the connection."""
    while b"\r\n\r\n" not in received:
        if not (data := await stream.receive_some(65536)):
            return None
        received += data
    head, _, rest = bytes(received).partition(b"\r\n\r\n")
    request_line, *headers = head.decode("latin-1").split("\r\n")
    length = next(int(line.split(":")[1]) for line in headers if line.lower().startswith("content-length:"))
    while len(rest) < length:
        if not (data := await stream.receive_some(65536)):
            return None
        rest += data
    received[:] = rest[length:]
    return request_line.split()[1].rpartition("/")[2], msgspec.json.decode(rest[:length])


def _ok(result: object) -> _Reply:
    return _Reply(200, msgspec.json.encode({"ok": True, "result": result}))


def _refusal(code: int, description: str, parameters: Json | None = None) -> _Reply:
    body = {"ok": False, "error_code": code, "description": description} | ({"parameters": parameters} if parameters else {})
    return _Reply(code, msgspec.json.encode(body))


def _visible(params: Json) -> str:
    """What people see of a text with its markup."""
    text = str(params["text"])
    return unescape(sub(r"<[^>]*>", "", text)) if params.get("parse_mode") == "HTML" else text


def _peer_of(params: Json) -> Peer:
    chat, thread = int(params["chat_id"]), params.get("message_thread_id")
    return Peer("dm" if chat > 0 else "group", str(chat), None if thread is None else str(thread))


def _choices_of(params: Json) -> tuple[tuple[Choice, ...], ...]:
    rows = params.get("reply_markup", {}).get("inline_keyboard", [])
    return tuple(tuple(Choice(button["text"], button["callback_data"]) for button in row) for row in rows)


def _json_of(update: Update) -> Json:
    """An Update object."""
    message = {"message_id": int(update.message_id or 0), "date": int(update.at), **_place_in(update.peer)}
    person = {"id": int(update.sender.id), "is_bot": False, "first_name": f"P{update.sender.id}"}
    if update.kind == "button":
        query = {"id": update.press, "from": person, "message": message, "data": update.text}
        return {"update_id": update.number, "callback_query": query}
    kind = "message" if update.kind == "message" else "edited_message"
    return {"update_id": update.number, kind: {**message, "from": person, **_content(update)}}


def _place_in(peer: Peer) -> Json:
    chat: Json = {"id": int(peer.id), "type": "private" if peer.kind == "dm" else "supergroup"}
    return {"chat": chat} | ({} if peer.thread is None else {"message_thread_id": int(peer.thread), "is_topic_message": True})


def _content(update: Update) -> Json:
    mark = update.mark
    content: Json = {"text": update.text}
    if mark.caption:
        content = {"caption": update.text, "photo": [{"file_id": f"f{update.number}", "width": 9, "height": 9}]}
    if mark.forwarded is not None:
        origin = {"type": "hidden_user", "date": int(update.at), "sender_user_name": mark.forwarded.name}
        content["forward_origin"] = origin
    if mark.via_bot is not None:
        content["via_bot"] = {"id": 7, "is_bot": True, "first_name": "B", "username": mark.via_bot}
    return content
