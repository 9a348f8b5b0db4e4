"""Authentication: bearer tokens with a role and scopes, and the limit on wrong credentials.

A token travels in the ``Authorization`` header only (RFC 6750 section 2.1). In a query it would end up in logs and histories.
Only the SHA-256 digest of a token is kept. Tokens are looked up by digest, so the timing of a response tells nothing about them.
"""

import base64
import hmac
import math
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import msgspec
from msgspec import Struct
from msgspec.structs import replace
from quart import request

from gatewayd.hub.audit import AuditLog
from gatewayd.model.config import SCOPES_OF_ROLE, AuthSection, Role, Scope, TokenConfig
from gatewayd.model.errors import StoreRefused
from gatewayd.model.ids import AccountId
from gatewayd.ports.store import TokenRow, Tokens
from gatewayd.web.access.tokens import NAME as LOCAL
from gatewayd.web.access.tokens import digest_of, ensure_token
from gatewayd.web.http.addresses import TrustedProxies, network_of
from gatewayd.web.http.errors import HttpError

__all__ = ["Auth", "FailureLimiter", "Identity", "StreamAuthorization", "ensure_token"]

FAILURES_PER_WINDOW: Final = 10
FAILURES_RECORDED: Final = 3
"""Failures of one address and window that the audit log records."""
ALL_FAILURES_RECORDED: Final = 60
"""The same for all addresses together: an owner of many addresses must not fill the disk with entries that are never deleted."""
WINDOW_SECONDS: Final = 60.0
UNGUESSABLE_CHARS: Final = 32
"""A token of this length cannot be guessed, even when it is hexadecimal (128 bits). It is looked up whatever other failures its
address has. The tokens that gatewayd makes have 43 characters."""
LOOK_AGAIN_SECONDS: Final = 15.0
"""How long an open stream may outlive its token."""
_ADDRESSES: Final = 4096
_VERIFIED: Final = 1024


class Identity(Struct, frozen=True):
    """The owner of a token. ``accounts`` (CHANNEL/NAME) are those that it may deliver messages for; None: all."""

    name: str
    role: Role
    scopes: frozenset[Scope]
    accounts: frozenset[str] | None = None

    def may(self, scope: Scope) -> bool:
        """``admin`` includes the other scopes, and no scope goes beyond the role."""
        return scope in SCOPES_OF_ROLE[self.role] and not self.scopes.isdisjoint((scope, "admin"))

    def require(self, *scopes: Scope) -> None:
        """:raises HttpError: forbidden: a scope is missing."""
        for scope in scopes:
            if not self.may(scope):
                raise HttpError("forbidden", f"this token lacks the scope {scope!r}: use one that has it")

    def may_deliver_for(self, channel: str, account: str) -> bool:
        return self.accounts is None or str(AccountId(channel, account)) in self.accounts

    @property
    def label(self) -> str:
        """The signature of decisions in the store and in events."""
        return f"{self.role}:{self.name}"


class StreamAuthorization:
    """Tells whether the client of an open stream is still authorized. Its token may expire or be revoked meanwhile."""

    def __init__(self, holds: Callable[[], Awaitable[bool]]) -> None:
        self._holds = holds
        self._due = anyio.current_time() + LOOK_AGAIN_SECONDS

    async def has_ended(self) -> bool:
        """Call it before each block. It checks once in ``LOOK_AGAIN_SECONDS``. If the store cannot be read, the stream ends."""
        if anyio.current_time() < self._due:
            return False
        self._due = anyio.current_time() + LOOK_AGAIN_SECONDS
        try:
            return not await self._holds()
        except StoreRefused:
            return True


class FailureLimiter:
    """Counts wrong credentials for each client address, in windows of a minute. IPv6 clients count by their /64.

    The table is bounded: a full table drops its oldest window.
    """

    def __init__(self, now: Callable[[], float], *, allowed: int = FAILURES_PER_WINDOW, addresses: int = _ADDRESSES) -> None:
        self._now = now
        self._allowed = allowed
        self._addresses = addresses
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def retry_after(self, address: str) -> int | None:
        """Seconds until this address may try again, or None when it may now."""
        began, count = self._windows.get(network_of(address), (0.0, 0))
        left = began + WINDOW_SECONDS - self._now()
        if count < self._allowed or left <= 0:
            return None
        # A clock that was set back must lock nobody out for longer than the window.
        return math.ceil(min(left, WINDOW_SECONDS))

    def failed(self, address: str) -> int:
        """Count one wrong credential. Returns their number in the present window."""
        network, now = network_of(address), self._now()
        began, count = self._windows.pop(network, (now, 0))
        if not 0 <= now - began < WINDOW_SECONDS:
            began, count = now, 0
        self._windows[network] = (began, count + 1)
        if len(self._windows) > self._addresses:
            self._windows.popitem(last=False)
        return count + 1


class Auth:
    """Checks bearer tokens: those of the configuration, and those in the store (kind ``token``).

    Wrong credentials are counted for each client address and kind (``token``, ``basic``, ``console code``, the codes of a
    channel): guesses of one kind lock nobody out of another. The login routes report wrong codes by :meth:`count_failure`.
    ``audit`` records the first few of an address.

    A correct credential is accepted whatever other failures its address has: the codes and tokens that gatewayd makes (80 bits
    and more) and other long tokens cannot be guessed, so their limit only keeps the log short. The exception is a configured
    token of fewer than ``UNGUESSABLE_CHARS`` characters, which a person may have invented. From an address with too many failures
    such a token is answered 429 without a look-up, to slow a guesser down, unless it was correct before, since the start.
    """

    def __init__(
        self,
        store: Tokens,
        config: AuthSection,
        *,
        now: Callable[[], float],
        audit: AuditLog | None = None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        self._store = store
        self._now = now
        self._audit = audit
        self._failures: defaultdict[str, FailureLimiter] = defaultdict(lambda: FailureLimiter(now))
        self._recorded = FailureLimiter(now, allowed=ALL_FAILURES_RECORDED, addresses=1)
        self._verified: OrderedDict[str, None] = OrderedDict()
        self._configured: dict[str, Identity] = {}
        self._replaced_at: dict[str, float] = {}
        self._local: tuple[str, Identity] | None = None
        self.proxies = proxies or TrustedProxies(())
        self.reconfigure(config)

    def reconfigure(self, config: AuthSection) -> None:
        """Use these tokens from the next request on. Open streams notice the change by themselves (``StreamAuthorization``)."""
        before = {identity.name: digest for digest, identity in self._configured.items()}
        self._configured = {
            digest_of(token.token.reveal()): _identity_of_config(name, token) for name, token in config.tokens.items()
        }
        for digest, identity in self._configured.items():
            if before.get(identity.name, digest) != digest:
                self._replaced_at[identity.name] = self._now()

    def trust(self, proxies: TrustedProxies) -> None:
        """Trust these proxies from the next request on."""
        self.proxies = proxies

    async def require(self, scope: Scope) -> Identity:
        """The identity of the present request, if it has ``scope``.

        :raises HttpError: unauthorized, too_many_requests, or forbidden when the token lacks the scope.
        """
        identity = await self.identify_sender()
        identity.require(scope)
        return identity

    async def require_operator(self, scope: Scope) -> Identity:
        """As :meth:`require`, for what people wrote in any chat: a program that carries the messages of one network, or that
        measures, must not read the chats of the others.

        :raises HttpError: as ``require``; forbidden for any other role.
        """
        identity = await self.require(scope)
        if identity.role != "operator":
            raise HttpError(
                "forbidden",
                f"this shows who talks with the agents; this token has the role {identity.role}: use one of an operator",
            )
        return identity

    async def require_client(self, *scopes: Scope) -> tuple[Identity, str | None]:
        """As :meth:`require`, for clients of agent servers, which know HTTP Basic only (RFC 7617): the password is the token.
        Returns the user name, too; None when a bearer token was sent.

        A browser adds Basic credentials to any request, also to one that a page of another site makes. So the pages of other
        sites are refused.

        :raises HttpError: as ``require``; bad_origin.
        """
        authorization, user = request.headers.get("Authorization", ""), None
        kind: str = "token"
        if authorization.strip().lower().startswith("basic"):
            _require_same_origin()
            user, authorization = _bearer_of_basic(authorization)
            kind = "basic"
        try:
            identity = await self.identify(authorization, self.client_address(), kind)
        except HttpError as error:
            if error.code == "unauthorized":
                # Without this header a client of HTTP Basic does not ask its user, and does not send the credentials it has.
                error.headers["WWW-Authenticate"] = 'Basic realm="gatewayd", charset="UTF-8"'
            raise
        identity.require(*scopes)
        return identity, user

    def stream_authorization(self, *scopes: Scope) -> "StreamAuthorization":
        """For a stream that answers the present request, which was authorized with these scopes."""
        authorization = request.headers.get("Authorization", "")
        if authorization.strip().lower().startswith("basic"):
            _, authorization = _bearer_of_basic(authorization)
        digest = digest_of(_token_of(authorization))

        async def holds() -> bool:
            identity = await self._look_up(digest)
            return identity is not None and all(identity.may(scope) for scope in scopes)

        return StreamAuthorization(holds)

    async def count_failure(self, kind: str, error: HttpError, address: str | None = None) -> HttpError:
        """Count a wrong credential of an address (by default that of the present request), and record it in the audit log.
        Returns the error to answer with: ``error``, or too_many_requests."""
        address = address or self.client_address()
        limiter = self._failures[kind]
        retry_after = limiter.retry_after(address)
        await self._record(kind, address, limiter.failed(address))
        return error if retry_after is None else _too_many(kind, retry_after)

    async def _record(self, kind: str, address: str, count: int) -> None:
        if self._audit is None or count > FAILURES_RECORDED or self._recorded.retry_after("") is not None:
            return
        in_all = self._recorded.failed("")
        last = count == FAILURES_RECORDED or in_all == ALL_FAILURES_RECORDED
        await self._audit.record_failure(address, kind, last=last)

    def client_address(self) -> str:
        """The client address of the present request."""
        client = request.scope.get("client")
        return self.proxies.client_of(client[0] if client else None, request.scope["headers"])

    async def identify_sender(self) -> Identity:
        """The identity of the present request. :raises HttpError: as ``identify``."""
        return await self.identify(request.headers.get("Authorization"), self.client_address())

    async def optional(self, scope: Scope) -> Identity | None:
        """As :meth:`require` when a token was sent; None without a token, or when it lacks the scope.

        :raises HttpError: unauthorized or too_many_requests for a wrong token.
        """
        if request.headers.get("Authorization") is None:
            return None
        identity = await self.identify_sender()
        return identity if identity.may(scope) else None

    async def identify(self, authorization: str | None, address: str, kind: str = "token") -> Identity:
        """The identity behind an ``Authorization`` header.

        :raises HttpError: unauthorized, or too_many_requests after too many failures from ``address``.
        """
        token = _token_of(authorization or "")
        if not token:
            raise _unauthorized("this request has no bearer token: send the header Authorization: Bearer TOKEN")
        digest = digest_of(token)
        if len(token) < UNGUESSABLE_CHARS and digest not in self._verified:
            retry_after = self._failures[kind].retry_after(address)
            if retry_after is not None:
                raise _too_many(kind, retry_after)
        identity = await self._look_up(digest)
        if identity is None:
            self._verified.pop(digest, None)
            unknown = _unauthorized("this token is unknown or has expired: use another one", error="invalid_token")
            raise await self.count_failure(kind, unknown, address)
        self._note_verified(digest)
        return identity

    async def _look_up(self, digest: str) -> Identity | None:
        for known, identity in self._configured.items():
            if hmac.compare_digest(known, digest):
                return identity
        try:
            row = await self._store.get_token(digest)
        except StoreRefused:
            # An operator needs access most while the store fails. The token in the file is valid until a restart.
            if self._local is not None and hmac.compare_digest(self._local[0], digest):
                return self._local[1]
            raise
        if row is None or row.kind != "token" or not hmac.compare_digest(row.digest, digest):
            return None
        if row.expires_at is not None and row.expires_at <= self._now():
            return None
        found = _identity_of(row)
        if found is not None and row.expires_at is None and row.name == LOCAL:
            self._local = digest, found
        return found if found is None or row.expires_at is None else self._of_login(row, found)

    def _of_login(self, row: TokenRow, identity: Identity) -> Identity | None:
        """A login of the console may do what the token that made its link may do now, and ends with that token."""
        maker = next((known for known in self._configured.values() if known.name == row.name), None)
        if maker is None:
            return identity if row.name == LOCAL else None  # web/access/tokens.py ends those of the token in the file
        if row.created_at <= self._replaced_at.get(row.name, -math.inf):
            return None
        scopes = frozenset(scope for scope in identity.scopes if maker.may(scope))
        return replace(identity, scopes=scopes, accounts=maker.accounts)

    def _note_verified(self, digest: str) -> None:
        self._verified[digest] = None
        self._verified.move_to_end(digest)
        if len(self._verified) > _VERIFIED:
            self._verified.popitem(last=False)


def _require_same_origin() -> None:
    """Refuse the requests of other sites' pages, as the browser reports them (Fetch Metadata, W3C). "same-site" is refused, too:
    it includes other ports of the same machine."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise HttpError("bad_origin", "a page of another site sent these credentials: open this address itself")


def _token_of(authorization: str) -> str:
    """The bearer token of a header; empty without one."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _bearer_of_basic(authorization: str) -> tuple[str, str]:
    """The user name, and the password as the header of a bearer token; both empty when it cannot be read."""
    encoded = authorization.strip()[len("basic") :].strip()
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:  # base64, UTF-8, or not even ASCII
        return "", ""
    return user, f"Bearer {password}"


def _identity_of_config(name: str, token: TokenConfig) -> Identity:
    accounts = None if token.accounts is None else frozenset(token.accounts)
    return Identity(name=name, role=token.role, scopes=frozenset(token.scopes), accounts=accounts)


def _identity_of(row: TokenRow) -> Identity | None:
    try:
        return msgspec.convert({"name": row.name, "role": row.role, "scopes": row.scopes}, Identity)
    except msgspec.ValidationError:
        # A role or scope of another release: it grants nothing here.
        return None


def _unauthorized(message: str, *, error: str | None = None) -> HttpError:
    challenge = 'Bearer realm="gatewayd"' + (f', error="{error}"' if error else "")
    return HttpError("unauthorized", message, headers={"WWW-Authenticate": challenge})


def _too_many(kind: str, retry_after: int) -> HttpError:
    what = "tokens" if kind in ("token", "basic") else "codes"
    return HttpError(
        "too_many_requests",
        f"too many wrong {what} came from this address: try again after the time in Retry-After",
        retry_after=retry_after,
    )
