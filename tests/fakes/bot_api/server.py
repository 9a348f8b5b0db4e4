"""The server: one port, any number of bots, each request checked, recorded, perhaps spoiled, and answered."""

from collections.abc import Callable

import msgspec
import trio

from tests.fakes.bot_api.body import read_arguments
from tests.fakes.bot_api.bot import Bot, Call, Dropped
from tests.fakes.bot_api.errors import ApiError, Json
from tests.fakes.bot_api.faults import Fault
from tests.fakes.bot_api.http_server import Handler, Request, Response
from tests.fakes.bot_api.methods.parameters import CANONICAL_NAMES, check_arguments
from tests.fakes.bot_api.methods.table import HANDLERS
from tests.fakes.bot_api.webhook_sender import WebhookSender


class Server:
    """Routes requests to bots by their token. ``violations`` collects what no correct client does, in words."""

    def __init__(self, nursery: trio.Nursery, now: Callable[[], float]) -> None:
        self._nursery = nursery
        self._now = now
        self.url = ""
        self.bots: dict[str, Bot] = {}
        self.senders: dict[str, WebhookSender] = {}
        self.violations: list[str] = []
        self.webhook_routes: dict[str, str] = {}
        self.control: Handler | None = None

    def add_bot(self, token: str, username: str) -> Bot:
        """A further bot. A token is the bot's id, a colon and a secret (core.telegram.org/bots/api#authorizing-your-bot)."""
        if token in self.bots:
            return self.bots[token]
        bot = self.bots[token] = Bot(token, username, self._now)
        sender = self.senders[token] = WebhookSender(bot, self.resolve)
        self._nursery.start_soon(sender.run)
        return bot

    def resolve(self, url: str) -> str:
        """The address really connected to for a public webhook URL."""
        for public, real in self.webhook_routes.items():
            if url.startswith(public):
                return real + url.removeprefix(public)
        return url

    async def handle(self, request: Request) -> Response | None:
        """The HTTP handler of the whole port."""
        if request.path.startswith("/bot"):
            return await self._call(request)
        if request.path.startswith("/file/bot"):
            return self._download(request.path.removeprefix("/file/bot"))
        if request.path.startswith("/control/") and self.control is not None:
            return await self.control(request)
        return _failure(ApiError(404, "Not Found"))

    async def _call(self, request: Request) -> Response | None:
        token, slash, name = request.path.removeprefix("/bot").partition("/")
        bot = self.bots.get(token)
        if not slash:
            return _failure(ApiError(404, "Not Found"))
        if bot is None or bot.revoked:
            shaped = token.partition(":")[0].isdigit() and ":" in token
            return _failure(ApiError(401, "Unauthorized" if shaped else "Unauthorized: invalid token specified"))
        if request.method not in {"GET", "POST"}:
            self.violations.append(f"{name}: the Bot API takes GET and POST, not {request.method}")
        method = CANONICAL_NAMES.get(name.lower())
        if method is None:
            self.violations.append(f"{name}: not a method, or none that the fake knows")
            return _failure(ApiError(404, "Not Found: method not found"))
        return await self._run(bot, method, request)

    async def _run(self, bot: Bot, method: str, request: Request) -> Response | None:
        at = trio.current_time()
        try:
            values, violations = check_arguments(method, read_arguments(request))
        except ApiError as error:
            self.violations.append(f"{method}: {error.description}")
            return _failure(error)
        self.violations += violations
        call = Call(method, values, at)
        bot.record(call)
        fault = bot.faults.take(method, values)
        response = await _answer(bot, method, values) if fault is None else await _spoil(fault, bot, method, values)
        bot.answered(call, response.status if response is not None else 0)
        return response

    def _download(self, rest: str) -> Response:
        """``/file/bot<token>/<file_path>`` (core.telegram.org/bots/api#getfile)."""
        token, _, path = rest.partition("/")
        bot = self.bots.get(token)
        for stored in bot.files.values() if bot else []:
            if stored.file["file_path"] == path:
                return Response(200, stored.content, "application/octet-stream")
        return _failure(ApiError(404 if bot else 401, "Not Found" if bot else "Unauthorized"))


async def _answer(bot: Bot, method: str, values: Json) -> Response | None:
    try:
        result = await HANDLERS[method](bot, values)
    except Dropped:
        return None
    except ApiError as error:
        return _failure(error)
    answer: Json = {"ok": True, "result": result.result}
    if result.description is not None:
        answer["description"] = result.description
    return Response(200, msgspec.json.encode(answer))


async def _spoil(fault: Fault, bot: Bot, method: str, values: Json) -> Response | None:
    if fault.kind == "hang":
        await trio.sleep_forever()
    match fault.kind:
        case "error":
            assert fault.error is not None
            return _failure(fault.error)
        case "drop_before":
            return None
        case "drop_after":
            await _answer(bot, method, values)
            return None
        case "delay":
            await trio.sleep(fault.seconds)
            return await _answer(bot, method, values)
        case "hold":
            assert fault.released is not None
            await fault.released.wait()
            return await _answer(bot, method, values)
        case _:
            return Response(fault.status, fault.body, "text/html")


def _failure(error: ApiError) -> Response:
    answer: Json = {"ok": False, "error_code": error.error_code, "description": error.description}
    headers: tuple[tuple[str, str], ...] = ()
    if error.parameters is not None:
        answer["parameters"] = error.parameters
        if "retry_after" in error.parameters:
            headers = (("Retry-After", str(error.parameters["retry_after"])),)
    return Response(error.error_code, msgspec.json.encode(answer), headers=headers)
