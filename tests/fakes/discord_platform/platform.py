"""What a test holds: Discord with one application, driven from the people's side."""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self

import httpx2
import trio
from msgspec import Struct

from tests.fakes.bot_api.http_server import Handler, listen, port_of, serve_http
from tests.fakes.discord_platform.errors import ApiError, Json
from tests.fakes.discord_platform.faults import Fault, When
from tests.fakes.discord_platform.gateway.server import Gateway
from tests.fakes.discord_platform.gateway.starts import SessionStarts
from tests.fakes.discord_platform.gateway.state import GatewayState
from tests.fakes.discord_platform.http_sender import HttpSender
from tests.fakes.discord_platform.model.cdn import Cdn
from tests.fakes.discord_platform.model.interactions import Interactions
from tests.fakes.discord_platform.model.messages import Messages
from tests.fakes.discord_platform.model.snowflakes import Snowflakes
from tests.fakes.discord_platform.model.world import World
from tests.fakes.discord_platform.people import People
from tests.fakes.discord_platform.rest.address import Address, Invalid
from tests.fakes.discord_platform.rest.answers import AnswerRoutes
from tests.fakes.discord_platform.rest.apps import ApplicationRoutes
from tests.fakes.discord_platform.rest.limits import Limits
from tests.fakes.discord_platform.rest.messages import MessageRoutes
from tests.fakes.discord_platform.rest.places import PlaceRoutes
from tests.fakes.discord_platform.rest.routing import Call
from tests.fakes.discord_platform.rest.server import BASE, RestServer

BOT_NAME = "gatewayd"
CREATE_MESSAGE = "POST /channels/{channel_id}/messages"


class Host(Struct):
    """What the bots of one fake share: the port of REST, the clock, ids, and where their servers run."""

    nursery: trio.Nursery
    client: httpx2.AsyncClient
    now: Callable[[], float]
    snowflakes: Snowflakes
    address: Address
    url: str


class Parts:
    """What one bot's side of the fake is made of."""

    def __init__(self, host: Host, name: str, gateway_url: str, resume_url: str) -> None:
        self.world = World(host.now, host.snowflakes, name)
        self.cdn = Cdn(host.now, host.snowflakes, host.url)
        self.messages = Messages(self.world, self.cdn)
        self.interactions = Interactions(self.world, self.messages)
        self.starts = SessionStarts()
        self.gateway = Gateway(GatewayState(self.world, self.starts, resume_url))
        self.message_routes = MessageRoutes(self.world, self.messages)
        self.rest = RestServer(
            self.world,
            self.cdn,
            {
                **ApplicationRoutes(self.world, self.starts, gateway_url).endpoints(),
                **PlaceRoutes(self.world).endpoints(),
                **self.message_routes.endpoints(),
                **AnswerRoutes(self.world, self.messages, self.interactions).endpoints(),
            },
        )
        self.gateway_url = gateway_url


class FakeDiscord(People):
    """Discord as people and operators see it. Ids are strings, as on the wire."""

    def __init__(self, host: Host, parts: Parts) -> None:
        super().__init__(parts.world, parts.messages, parts.interactions)
        self._host = host
        self._parts = parts
        self.gateway = parts.gateway
        self.http_interactions = HttpSender(parts.world, parts.interactions, host.nursery, host.client)

    @classmethod
    @asynccontextmanager
    async def serve(cls, *, port: int = 0, now: Callable[[], float] | None = None) -> AsyncIterator[Self]:
        """Serve on 127.0.0.1 in the caller's Trio loop. ``now`` (Unix seconds) follows Trio's clock by default.

        :raises AssertionError: at the end, when a client did what no correct client does (see ``violations``).
        """
        listener = await listen(port)
        started = time.time() - trio.current_time()
        clock = now or (lambda: started + trio.current_time())
        address = Address()
        async with trio.open_nursery() as nursery, httpx2.AsyncClient(timeout=None) as client:
            host = Host(nursery, client, clock, Snowflakes(clock), address, f"http://127.0.0.1:{port_of(listener)}")
            discord = await cls._serve_bot(host, BOT_NAME)
            nursery.start_soon(serve_http, listener, address.handle)
            yield discord
            nursery.cancel_scope.cancel()
        violations = [violation for server in address.servers for violation in server.violations]
        assert not violations, "\n".join(violations)

    @classmethod
    async def _serve_bot(cls, host: Host, name: str) -> Self:
        gateway, resume = await listen(0), await listen(0)
        parts = Parts(host, name, f"ws://127.0.0.1:{port_of(gateway)}", f"ws://127.0.0.1:{port_of(resume)}")
        host.address.servers.append(parts.rest)
        for listener, is_resume_url in ((gateway, False), (resume, True)):
            host.nursery.start_soon(partial(parts.gateway.serve, listener, is_resume_url=is_resume_url))
        return cls(host, parts)

    async def add_bot(self, name: str) -> Self:
        """A further application behind the same address, with a token, limits, guilds and people of its own. Invalid requests are
        counted for all of them together."""
        return await self._serve_bot(self._host, name)

    @property
    def url(self) -> str:
        """Scheme, host and port of REST and CDN."""
        return self._host.url

    @property
    def api_url(self) -> str:
        """The base of REST: ``http://127.0.0.1:…/api/v10``."""
        return self._host.url + BASE

    @property
    def gateway_url(self) -> str:
        """What GET /gateway tells."""
        return self._parts.gateway_url

    @property
    def token(self) -> str:
        """The bot's token now, without "Bot "."""
        return self._world.application.token

    @property
    def application_id(self) -> str:
        return self._world.application.id

    @property
    def bot_id(self) -> str:
        return self._world.bot_id

    @property
    def verify_key(self) -> str:
        """The public key of HTTP interactions, in hex."""
        return self._world.application.verify_key

    @property
    def cdn(self) -> Cdn:
        return self._parts.cdn

    @property
    def limits(self) -> Limits:
        return self._parts.rest.limits

    @property
    def invalid(self) -> Invalid:
        """The invalid requests that this address counts."""
        return self._host.address.invalid

    @property
    def violations(self) -> list[str]:
        """What clients did that no correct client does. Clear it where a test provokes some."""
        return self._parts.rest.violations

    @property
    def session_starts(self) -> SessionStarts:
        return self._parts.starts

    def serve_control(self, control: Handler) -> None:
        """Answer ``/control/…`` with this handler."""
        self._host.address.control = control

    # The portal

    def set_intents(self, *names: str) -> None:
        """Which privileged intents are switched on: "message_content", "members", "presences"."""
        self._world.application.privileged = set(names)

    def reset_token(self) -> str:
        """A new token; the old one is 401, and sessions are closed with 4004."""
        return self._parts.gateway.state.reset_token()

    def set_endpoint(self, url: str | None) -> None:
        """interactions_endpoint_url, unchecked; see ``http_interactions.save_endpoint`` for the portal's checks."""
        self._world.application.interactions_endpoint_url = url

    def commands(self, guild: str = "") -> list[Json]:
        """What is registered, globally or in a guild."""
        return self._world.application.commands.get(guild, [])

    def register(self, name: str, *, kind: int = 1, options: list[Json] | None = None, guild: str = "") -> None:
        """Register a command without a request."""
        command: Json = {"name": name, "type": kind, "description": name if kind == 1 else "", "options": options or []}
        known = self._world.application.commands.setdefault(guild, [])
        known.append({**command, "id": self._world.snowflakes.make(), "application_id": self.application_id})

    # What was asked for

    @property
    def log(self) -> list[Call]:
        """Every request that named a route, in order of receipt."""
        return self._parts.rest.calls

    def calls(self, route: str) -> list[Json]:
        """The bodies of every request for a route (a name as "POST /channels/{channel_id}/messages"), whatever became of it."""
        return [call.body.value for call in self.log if call.route == route]

    def statuses(self, route: str) -> list[int | None]:
        """What became of them: HTTP statuses, 0 for a cut connection, None for one that is not answered yet."""
        return [call.status for call in self.log if call.route == route]

    async def wait_call(self, route: str, *, count: int = 1, when: When | None = None) -> Json:
        """Wait until ``count`` requests for a route (that fulfil ``when``) were answered; the body of the last."""

        def found() -> list[Call]:
            return [c for c in self.log if c.route == route and c.status is not None and (when is None or when(c))]

        await self.wait_until(lambda: len(found()) >= count)
        value: Json = found()[count - 1].body.value
        return value

    def clear_calls(self) -> None:
        self.log.clear()

    def watch(self, seen: Callable[[Call], None]) -> None:
        """Call ``seen`` for every request from now on, as soon as its answer is known (and before it is sent)."""
        self._parts.rest.watchers.append(seen)

    @property
    def typing(self) -> list[tuple[float, str]]:
        """When (Unix seconds) and in which channel the bot typed."""
        return self._parts.message_routes.typing

    # Faults of REST

    def fail_next(
        self, route: str, status: int, code: int = 0, message: str = "", *, times: int | None = 1, when: When | None = None
    ) -> None:
        """Discord's JSON error instead of an answer."""
        error = ApiError(status, code, message or f"{status}: refused on demand")
        self._fault("error", route, times=times, when=when, error=error)

    def fail_with_page(self, route: str, status: int = 502, *, times: int | None = 1, body: str | None = None) -> None:
        """An HTML page instead of an answer, as proxies give it."""
        self._fault("page", route, times=times, status=status, **({} if body is None else {"body": body.encode()}))

    def garble_next(self, route: str, body: bytes = b'{"id": ', *, status: int = 200) -> None:
        """A body that is no JSON, or other JSON than expected, where JSON is announced."""
        self._fault("page", route, status=status, body=body, content_type="application/json")

    def limit_next(self, route: str, seconds: float, *, scope: str = "user", when: When | None = None) -> None:
        """The next request is a 429 for ``seconds``: of its bucket ("user"), of all requests ("global"), both of which hold until
        then; or of the resource ("shared"), which the headers do not show."""
        if scope == "shared":
            self._fault("shared", route, times=None, until=trio.current_time() + seconds, when=when)
        else:
            self._fault("limit" if scope == "user" else "global", route, seconds=seconds, when=when)

    def cut_next(self, route: str, *, after_effect: bool = False, times: int = 1, when: When | None = None) -> None:
        """The connection breaks instead of an answer, before or after the effect."""
        self._fault("cut_after" if after_effect else "cut_before", route, times=times, when=when)

    def delay_next(self, route: str, seconds: float, *, times: int = 1) -> None:
        self._fault("delay", route, times=times, seconds=seconds)

    def hold_next(self, route: str) -> trio.Event:
        """The answer waits until the event is set."""
        released = trio.Event()
        self._fault("hold", route, released=released)
        return released

    def hang_next(self, route: str, *, times: int | None = 1) -> None:
        """No answer, for ever."""
        self._fault("hang", route, times=times)

    def behave(self) -> None:
        """No fault of REST is left, asked for and not yet met."""
        self._parts.rest.faults.clear()
        self._parts.rest.is_down = False

    def _fault(self, kind: Any, route: str, **settings: Any) -> Fault:
        return self._parts.rest.faults.add(kind, route, **settings)

    # Outages

    def go_down(self) -> None:
        """Everything is reset: REST, CDN, the gateway, and connections that are open. Sessions stay."""
        self._parts.rest.is_down = True
        self.gateway.behave(refuses=True)
        self.gateway.reset_all()

    def come_up(self) -> None:
        self._parts.rest.is_down = False
        self.gateway.behave(refuses=False)

    def lose_events(self, names: Iterable[str] | None) -> None:
        """A gap: events of these names reach no session, now or by a resume. None ends it."""
        lost = set(names or ())
        self.gateway.state.sessions.holds_back = lambda event: event.name in lost
