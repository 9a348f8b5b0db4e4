"""Routes of a plug-in's own: a page, a login, the target of an OAuth redirect, a stream.

The manifest lists the routes and names a ``ServesHttp``. The HTTP front checks Host, Origin, the token and the body, sets limits,
and calls it. A plug-in needs nothing of the front: it gets plain data and a desk, and returns plain data.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final, Protocol, get_args, runtime_checkable

from msgspec import Struct

from gatewayd.model.config import Role
from gatewayd.model.message.envelope import Peer
from gatewayd.model.records.event import EventValue
from gatewayd.ports.channel.channel import Channel
from gatewayd.ports.channel.manifest import ChannelPlugin
from gatewayd.ports.channel.services import AccountConfig
from gatewayd.ports.store import OutboundRow, TokenRow, TranscriptRow

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

RESERVED: Final = frozenset(
    {"agents", "approvals", "audit", "channels", "chat", "console", "dead-letters", "events", "gateway", "messages", "pairing"}
    | {"webhooks", *get_args(Role)}
)
"""Ids that a channel with routes cannot have: the first parts of the paths of gatewayd itself, and the roles of tokens."""

_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PART: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+|<[a-z_]+>"
_PATH: Final = re.compile(rf"|(?:{_PART})(?:/(?:{_PART}))*")


class HttpProblem(Exception):
    """The request is answered with this error, as JSON: ``{"error": {"code": …, "message": …}}``.

    ``status`` is 400 to 599. ``code`` is a word for programs (a-z and _), ``message`` a sentence for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class HttpRequest(Struct, frozen=True):
    """One request. ``path`` is below the path of the plug-in, decoded; ``query`` is as it was sent. Header names are lower case,
    and repeated headers are joined. ``method`` is GET for a HEAD, too.

    ``client`` is the address of the client, also behind a trusted proxy. ``base_url`` is scheme://host[:port] by which people
    reach gatewayd, for links. ``secure``: the client came by HTTPS. ``operator``: who asks, on a route with a scope.

    ``body`` can be read once: piece by piece on a route that ``streams``, else as one piece, or none. Its errors (too large, too
    slow, the wrong media type) are HttpProblems, which the plug-in lets pass.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    client: str
    base_url: str
    secure: bool
    operator: str | None
    body: AsyncIterator[bytes]


class HttpReply(Struct, frozen=True):
    """The answer. A ``body`` that is an iterator is a stream: each piece is sent at once. It is closed when the client leaves,
    when the account closes, and when gatewayd stops. Without a piece for two minutes it is taken for dead.
    """

    body: bytes | AsyncIterator[bytes] = b""
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    headers: Sequence[tuple[str, str]] = ()


class Logins(Protocol):
    """The logins of an account's people: one-time codes (``login_code``) and sessions (``web_session``), by the digests of their
    secrets. Those of other accounts and of operators are not among them. ``role`` of a row is filled in.

    The operations are those of ``gatewayd.ports.store.Tokens``.
    """

    async def put_token(self, row: TokenRow) -> None: ...

    async def get_token(self, digest: str) -> TokenRow | None: ...

    async def exchange_token(self, digest: str, row: TokenRow) -> bool: ...

    async def list_tokens(self, kind: str) -> list[TokenRow]: ...

    async def delete_token(self, digest: str) -> None: ...


class HttpDesk(Protocol):
    """The hub, as the routes of one account may use it. All of it is about this account."""

    @property
    def account(self) -> AccountConfig:
        """As it is configured now, open or not."""

    @property
    def channel(self) -> Channel | None:
        """The open channel; None while there is none."""

    @property
    def log(self) -> "FilteringBoundLogger": ...

    @property
    def logins(self) -> Logins: ...

    def now(self) -> float:
        """Unix seconds."""

    def require_channel(self) -> Channel:
        """The open channel. :raises HttpProblem: unavailable (503): there is none."""

    def require_room(self) -> None:
        """Before a message is taken: ``deliver`` would wait for long. :raises HttpProblem: draining or overloaded (503)."""

    async def transcript(self, peer: Peer, *, limit: int) -> list[TranscriptRow]:
        """The newest rows of a conversation, oldest first; ``gatewayd.kit.transcript`` makes lines of them.

        :raises StoreRefused: they cannot be read.
        """

    async def find_message(self, event_key: str) -> int | None:
        """The number of a journaled message; None: there is none. It is the id of its line. :raises StoreRefused:"""

    async def find_reply(self, number: int) -> OutboundRow | None:
        """A reply by the id of its line. :raises StoreRefused:"""

    def emit(self, kind: str, **data: EventValue) -> None:
        """Add the event ``channels.{channel}.{kind}`` to the log of events. No secrets, no texts of people."""

    def order(self, request: HttpRequest, action: str, subject: str) -> AbstractAsyncContextManager[None]:
        """Around what an operator orders: it is in the audit log before the body runs. :raises StoreRefused: it could not be."""

    async def wrong_code(self, request: HttpRequest, message: str) -> HttpProblem:
        """Count a wrong code or password of this client. Returns the error to raise: unauthorized (401), or too_many_requests."""


@runtime_checkable
class ServesHttp(Protocol):
    """What answers the routes of a plug-in. One object for all of its accounts; it holds nothing of a request."""

    async def serve(self, request: HttpRequest, desk: HttpDesk) -> HttpReply:
        """Called at the same time for many requests, whether or not the account is open. It has a minute.

        :raises HttpProblem: the answer is this error. :raises GatewayError: NotFound is a 404, Conflict a 409, others a 503. Any
            other error is a bug: it is logged, and answered 500.
        """


@runtime_checkable
class GreetsOperators(Protocol):
    """A ServesHttp that tells the operator at the start how people get in."""

    async def greeting(self, desk: HttpDesk, base_url: str, *, private: bool) -> str:
        """One or two lines for the standard output. ``private``: it is a terminal, so a secret may be in them."""


def unusable_routes(plugin: ChannelPlugin) -> str | None:
    """Why the routes of this manifest cannot be served; None: they can, or there are none. Pure."""
    if plugin.http is None:
        return "it has routes, and http names nothing that serves them" if plugin.routes or plugin.front_page else None
    if plugin.id in RESERVED:
        return (
            f"a channel with routes of its own cannot have the id {plugin.id!r}, which gatewayd itself uses: choose another one"
        )
    if _ID.fullmatch(plugin.id) is None:
        return "the id of a channel with routes of its own is a-z, 0-9, _ and -"
    wrong = [route.path for route in plugin.routes if not _is_path(route.path)]
    if wrong:
        return f"the path {wrong[0]!r} of a route is none: write it as files/<name>, without a slash at either end"
    if len({(route.method, route.path) for route in plugin.routes}) < len(plugin.routes):
        return "two of its routes have the same method and path"
    if plugin.front_page and not (plugin.one_account and any((it.method, it.path) == ("GET", "") for it in plugin.routes)):
        return 'a front page needs one_account and a route GET ""'
    return None


def _is_path(path: str) -> bool:
    names = re.findall("<[a-z_]+>", path)
    return _PATH.fullmatch(path) is not None and len(set(names)) == len(names)
