"""Calls of Discord's REST API ("Reference", "Rate Limits"). The token is in a header, and in no text."""

import re
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import httpx2
import msgspec
from msgspec import Raw, Struct

from gatewayd import __version__
from gatewayd.channels.discord.errors import DiscordError, Purpose, fields_of, gateway_error, kind_of
from gatewayd.channels.discord.limits import invalid_requests_of
from gatewayd.channels.discord.settings import PUBLIC_API, DiscordSettings
from gatewayd.channels.discord.wire.answers import ErrorBody, RateLimited
from gatewayd.kit.http import AnswerTooLarge, HttpReply, exchange
from gatewayd.kit.json import Malformed, decode
from gatewayd.kit.network.rate import RateLimits, limits_in
from gatewayd.kit.repeat import repeat
from gatewayd.model.errors import GatewayError, OutcomeUnknown, SendRejected, TryAgain

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
SLOWEST_BYTES_PER_SECOND: Final = 1024 * 1024
"""A file has the time for its bytes at this speed, besides that of any call."""
PATIENCE_SECONDS: Final = 10.0
"""A call waits so long for its bucket. When it has to wait longer, its caller is told, so that it can be seen who waits."""
LONGEST_PAUSE_SECONDS: Final = 3600.0
"""After this time Discord is asked again, whatever it wanted."""
AT_ONCE: Final = 20
PER_SECOND: Final = 28
"""Calls of one bot: so many at once, and then so many in a second. In any second there are at most the sum of both; Discord takes
50 ("Rate Limits", "Global Rate Limit")."""

T = TypeVar("T")

_AGENT: Final = f"DiscordBot (https://github.com/gatewayd/gatewayd, {__version__})"
"""Discord wants this form, and blocks what has none ("Reference", "User Agent")."""
_CDN: Final = ("cdn.discordapp.com", "media.discordapp.net")
"""Where attachments are ("Reference", "CDN Formatting"; "Signed Attachment CDN URLs")."""
_UNLIMITED: Final = ("/interactions/", "/webhooks/")
"""Not bound to the global limit of the bot ("Rate Limits", "Global Rate Limit")."""
_MAJOR: Final = ("channel_id", "guild_id", "webhook_id")


class Route(Struct, frozen=True):
    """One endpoint with its ids. ``template`` has their names in braces, as Discord's documentation writes it. Limits are for a
    method, a template, and the top-level resource among the ids ("Rate Limits", "top-level resources")."""

    method: str
    template: str
    ids: Mapping[str, str] = {}

    @property
    def path(self) -> str:
        """With the ids, escaped."""
        return self.template.format(**{name: quote(value, safe="@") for name, value in self.ids.items()})

    @property
    def name(self) -> str:
        """Without ids, for limits, logs and errors."""
        return f"{self.method} {self.template}"

    @property
    def resource(self) -> str:
        """What Discord counts apart."""
        return next((f"{self.ids[name]}{self.ids.get('token', '')}" for name in _MAJOR if name in self.ids), "")


def route(template: str, **ids: str) -> Route:
    """``route("POST /channels/{channel_id}/messages", channel_id="…")``."""
    method, _, path = template.partition(" ")
    return Route(method, path, ids)


class Upload(Struct, frozen=True):
    """A file in a request ("Reference", "Uploading Files"). ``pieces`` can be read anew, and are ``size`` bytes."""

    name: str
    mime: str
    pieces: AsyncIterable[bytes]
    size: int


class DiscordApi:
    """Holds nothing open; the client belongs to the opener."""

    def __init__(self, http: httpx2.AsyncClient, settings: DiscordSettings, *, boundary: str) -> None:
        """``boundary`` parts the parts of a request with a file: what nobody else can guess."""
        self._http = http
        self._base = httpx2.URL(settings.api_base.rstrip("/"))
        self._token = settings.token
        self._timeout_seconds = settings.request_timeout_seconds
        self._is_public = settings.api_base.rstrip("/") == PUBLIC_API
        self._boundary = boundary
        self._limits = RateLimits(burst=AT_ONCE, per_second=PER_SECOND)
        self._apart = RateLimits(burst=AT_ONCE, per_second=PER_SECOND)
        self._invalid = invalid_requests_of(http)

    @property
    def is_encrypted(self) -> bool:
        """Whether the API is asked by https. Then the token goes nowhere in plain text."""
        return self._base.scheme == "https"

    def seconds_until(self, to: Route) -> float:
        """How long a call would have to wait now, as far as it is known; 0 for not at all."""
        return self._limits_of(to).seconds_until(to.name, to.resource)

    async def call(
        self,
        to: Route,
        *,
        body: Any = None,
        query: Mapping[str, str | int] | None = None,
        repeatable: bool,
        file: Upload | None = None,
        timeout_seconds: float | None = None,
    ) -> Raw:
        """The whole answer, undecoded; empty where Discord answers 204. ``repeatable``: calling twice is as good as once.
        ``body`` becomes JSON; with ``file`` it is ``payload_json``. Waits for some seconds where calls would be too fast.

        :raises DiscordError: Discord, or something before it, did not do it.
        :raises TryAgain: surely not done: not sent, or too many calls; or an outage of something repeatable.
        :raises OutcomeUnknown: perhaps carried out.
        """
        try:
            return Raw((await self._call(to, body, query or {}, repeatable, file, timeout_seconds)).body)
        except TryAgain as error:
            if error.scope != "account":
                raise
            # One call that was cut says little of the gateway's connection, by which the account lives.
            raise TryAgain(error.reason, after_seconds=error.after_seconds, scope="conversation") from None

    async def ask(
        self, to: Route, kind: type[T], *, purpose: Purpose, body: Any = None, query: Mapping[str, str | int] | None = None
    ) -> T:
        """The answer of a call that changes nothing, or nothing the second time, as ``kind``.

        :raises TryAgain: an outage, or too many calls. :raises NeedsOperator: the account cannot go on. :raises SendRejected: not
            to be had; only for the purposes fetch and send.
        """
        return await repeat(lambda: self._ask(to, kind, purpose, body, query or {}))

    async def download(self, url: str, *, at_most_bytes: int) -> HttpReply:
        """A file at Discord's CDN, without the token, whatever the status.

        :raises SendRejected: longer than ``at_most_bytes``, or not at Discord. :raises TryAgain: an outage.
        """
        address = self._cdn_url(url)
        if address is None:
            raise SendRejected("the file is on another host than Discord's")
        try:
            return await exchange(
                self._http,
                "GET",
                address,
                what="Discord file download",
                timeout_seconds=self._timeout_seconds + at_most_bytes / SLOWEST_BYTES_PER_SECOND,
                at_most_bytes=at_most_bytes,
                repeatable=True,
                headers={"user-agent": _AGENT},
            )
        except AnswerTooLarge as error:
            raise SendRejected(f"too large: {error.reason}") from None

    async def _ask(self, to: Route, kind: type[T], purpose: Purpose, body: Any, query: Mapping[str, str | int]) -> T:
        """One attempt of ``ask``."""
        error: GatewayError
        try:
            return decode((await self._call(to, body, query, True, None, None)).body, kind)
        except DiscordError as refused:
            error = gateway_error(refused, purpose)
        except Malformed as malformed:
            error = TryAgain(
                f"Discord {to.name}: the answer is not what the REST API promises: {malformed}", scope="conversation"
            )
        raise error

    async def _call(
        self,
        to: Route,
        body: Any,
        query: Mapping[str, str | int],
        repeatable: bool,
        file: Upload | None,
        timeout_seconds: float | None,
    ) -> HttpReply:
        seconds = self.seconds_until(to)
        if seconds > PATIENCE_SECONDS:
            raise TryAgain(f"Discord {to.name}: too many calls", after_seconds=seconds, scope="conversation")
        limits = self._limits_of(to)
        async with AsyncExitStack() as stack:
            permit = await stack.enter_async_context(limits.permit(to.name, to.resource))
            self._invalid.begin()
            is_invalid = False
            try:
                reply = await self._exchange(to, body, query, repeatable, file, timeout_seconds)
                scope = reply.headers.get("x-ratelimit-scope", "")
                is_invalid = reply.status in (401, 403) or (reply.status == 429 and scope != "shared")
            finally:
                self._invalid.end(is_invalid=is_invalid)
            is_refused = reply.status == 429
            told = limits_in(reply.headers, refused=is_refused)
            if is_refused:
                limited = _limited(reply)
                told = msgspec.structs.replace(told, pause_seconds=limited.retry_after, for_all=told.for_all or limited.is_global)
            permit.settle(told)
        if 200 <= reply.status < 300:
            return reply
        if is_refused:
            raise TryAgain(
                f"Discord {to.name}: too many calls, says Discord",
                after_seconds=told.pause_seconds,
                scope="sends" if told.for_all else "conversation",
            )
        error = self._error(to, reply)
        if kind_of(error) == "perhaps":
            raise gateway_error(error, "fetch" if repeatable else "send")
        raise error

    async def _exchange(
        self,
        to: Route,
        body: Any,
        query: Mapping[str, str | int],
        repeatable: bool,
        file: Upload | None,
        timeout_seconds: float | None,
    ) -> HttpReply:
        headers = {"user-agent": _AGENT}
        if not to.template.startswith("/interactions/") and "token" not in to.ids:
            headers["authorization"] = f"Bot {self._token.reveal()}"
        content: bytes | AsyncIterable[bytes] | None = None
        limit_seconds = timeout_seconds or self._timeout_seconds
        if file is not None:
            form = _Form(body, file, self._boundary)
            content = form
            headers["content-type"] = f"multipart/form-data; boundary={self._boundary}"
            headers["content-length"] = str(form.size)
            limit_seconds += file.size / SLOWEST_BYTES_PER_SECOND
        elif body is not None:
            content = msgspec.json.encode(body)
            headers["content-type"] = "application/json"
        path = self._base.raw_path.rstrip(b"/") + to.path.encode() + (b"?" + urlencode(query).encode() if query else b"")
        try:
            return await exchange(
                self._http,
                to.method,
                str(self._base.copy_with(raw_path=path)),
                what=f"Discord {to.name}",
                timeout_seconds=limit_seconds,
                at_most_bytes=MAX_ANSWER_BYTES,
                repeatable=repeatable,
                content=content,
                headers=headers,
            )
        except AnswerTooLarge as error:
            raise (TryAgain if repeatable else OutcomeUnknown)(error.reason) from None

    def _limits_of(self, to: Route) -> RateLimits:
        return self._apart if to.template.startswith(_UNLIMITED) else self._limits

    def _error(self, to: Route, reply: HttpReply) -> DiscordError:
        """What the answer says, as far as it has the form of it."""
        try:
            body = decode(reply.body, ErrorBody, lenient=True)
        except Malformed:
            body = ErrorBody()
        code = 0 if body.code is None and reply.status == 401 and reply.body.lstrip().startswith(b"{") else body.code
        return DiscordError(
            to.name, reply.status, code, retry_after_seconds=reply.retry_after_seconds, fields=fields_of(body.errors)
        )

    def _cdn_url(self, url: str) -> str | None:
        """The address, when it is at Discord's CDN; with another ``api_base``, at the host of that one."""
        try:
            found = httpx2.URL(url)
        except (httpx2.InvalidURL, ValueError):
            return None
        if found.userinfo:
            return None
        if not self._is_public:
            same = (found.scheme, found.host, found.port) == (self._base.scheme, self._base.host, self._base.port)
            return str(found) if same else None
        return str(found) if (found.scheme, found.port) == ("https", None) and found.host in _CDN else None


class _Form:
    """A body of multipart/form-data (RFC 7578) with ``payload_json`` and one file ("Reference", "Uploading Files")."""

    def __init__(self, body: Any, file: Upload, boundary: str) -> None:
        name = re.sub(r'["\\\r\n]', "_", file.name).encode("utf-8", "replace")
        mark = b"--" + boundary.encode()
        head = b'%b\r\nContent-Disposition: form-data; name="payload_json"\r\nContent-Type: application/json\r\n\r\n%b\r\n'
        self._head = head % (mark, msgspec.json.encode(body)) + (
            b'%b\r\nContent-Disposition: form-data; name="files[0]"; filename="%b"\r\nContent-Type: %b\r\n\r\n'
            % (mark, name, file.mime.encode("ascii", "replace"))
        )
        self._tail = b"\r\n%b--\r\n" % mark
        self._file = file

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self._head) + self._file.size + len(self._tail)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._head
        async for piece in self._file.pieces:
            yield piece
        yield self._tail


def _limited(reply: HttpReply) -> RateLimited:
    """What a 429 says. Its body is more exact than Retry-After; a 429 of what is before Discord has only that."""
    try:
        found = decode(reply.body, RateLimited, lenient=True)
    except Malformed:
        found = RateLimited(1.0 if reply.retry_after_seconds is None else reply.retry_after_seconds)
    seconds = max(found.retry_after, reply.retry_after_seconds or 0.0) if found.retry_after > 0 else 1.0
    return RateLimited(min(seconds, LONGEST_PAUSE_SECONDS), found.is_global)
