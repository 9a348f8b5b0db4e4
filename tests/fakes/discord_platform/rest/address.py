"""One address: the port, the bots behind it, and the ban of clients that make too many invalid requests."""

from collections import deque

import trio

from tests.fakes.bot_api.http_server import Handler, Request, Response
from tests.fakes.discord_platform.rest.server import RestServer

INVALID_LIMIT = 10_000
INVALID_SECONDS = 600.0
CLOUDFLARE_PAGE = (
    b"<!doctype html><html><head><title>Access denied | discord.com used Cloudflare to restrict access</title></head>"
    b"<body><h1>Error 1015</h1><h2>You are being rate limited</h2></body></html>"
)


class Invalid:
    """Requests of a client's address that ended with 401, 403 or 429, but for those of scope ``shared`` ("Rate Limits", Invalid
    Request Limit). ``refused`` counts what came during a ban."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self.limit = INVALID_LIMIT
        self.refused = 0

    def add(self) -> None:
        self._times.append(trio.current_time())

    @property
    def count(self) -> int:
        """Those of the last ten minutes."""
        while self._times and trio.current_time() - self._times[0] >= INVALID_SECONDS:
            self._times.popleft()
        return len(self._times)


class Address:
    """Finds the bot of a request, and counts what all of them do wrong together. The first of ``servers`` answers all else."""

    def __init__(self) -> None:
        self.invalid = Invalid()
        self.servers: list[RestServer] = []
        self.control: Handler | None = None

    async def handle(self, request: Request) -> Response | None:
        """The HTTP handler of the port."""
        if request.path.startswith("/control/") and self.control is not None:
            return await self.control(request)
        server = next((one for one in self.servers if one.knows(request)), self.servers[0])
        if server.is_down:
            return None
        if self.invalid.count >= self.invalid.limit and not request.path.startswith("/attachments/"):
            self.invalid.refused += 1
            return Response(429, CLOUDFLARE_PAGE, "text/html; charset=UTF-8", (("Retry-After", "600"), ("Server", "cloudflare")))
        response = await server.handle(request)
        if (
            response is not None
            and response.status in {401, 403, 429}
            and ("X-RateLimit-Scope", "shared") not in response.headers
        ):
            self.invalid.add()
        return response
