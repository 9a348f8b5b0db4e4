"""Who is asking: bearer tokens with a role and scopes, and the limit on wrong ones.

A token travels in the ``Authorization`` header only (RFC 6750 section 2.1), never in the query, where it would end up in
logs and histories. Of every token only the SHA-256 digest is kept; look-up is by digest, so timing tells nothing about it.
"""

import base64
import hmac
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Literal, get_args

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

Kind = Literal["token", "basic", "webchat login code", "console code"]
"""What can be guessed. Each is counted apart: who guesses one locks nobody out of another."""

FAILURES_PER_WINDOW: Final = 10
FAILURES_RECORDED: Final = 3
"""Of one address and window, in the audit log."""
ALL_FAILURES_RECORDED: Final = 60
"""Of all addresses, per window: who owns many addresses cannot fill the disk with entries that are never deleted."""
WINDOW_SECONDS: Final = 60.0
UNGUESSABLE_CHARS: Final = 32
"""A token of so many characters is looked at whoever has guessed before from the same address: to guess one takes longer than
anybody has, even when it is hexadecimal (128 bits). Those that gatewayd makes have 43."""
LOOK_AGAIN_SECONDS: Final = 15.0
"""So long may a stream go on whose token is good no more."""
_ADDRESSES: Final = 4096
_VERIFIED: Final = 1024


class Identity(Struct, frozen=True):
    """Who a token belongs to. ``accounts`` are those that it may bring messages for, CHANNEL/NAME; None: all."""

    name: str
    role: Role
    scopes: frozenset[Scope]
    accounts: frozenset[str] | None = None

    def may(self, scope: Scope) -> bool:
        """``admin`` includes the other scopes, and no scope goes beyond the role."""
        return scope in SCOPES_OF_ROLE[self.role] and not self.scopes.isdisjoint((scope, "admin"))

    def may_deliver_for(self, channel: str, account: str) -> bool:
        """Whether it may act for this account by the messages that it brings."""
        return self.accounts is None or str(AccountId(channel, account)) in self.accounts

    @property
    def label(self) -> str:
        """How decisions are signed in the store and in events."""
        return f"{self.role}:{self.name}"


class StreamAuthorization:
    """Whether whoever opened a stream would still be let in: a token may be taken away, or expire, while it is open."""

    def __init__(self, holds: Callable[[], Awaitable[bool]]) -> None:
        self._holds = holds
        self._due = anyio.current_time() + LOOK_AGAIN_SECONDS

    async def has_ended(self) -> bool:
        """Ask it before each piece. It looks once in ``LOOK_AGAIN_SECONDS``; a store that cannot be read lets nobody in."""
        if anyio.current_time() < self._due:
            return False
        self._due = anyio.current_time() + LOOK_AGAIN_SECONDS
        try:
            return not await self._holds()
        except StoreRefused:
            return True


class FailureLimiter:
    """Counts wrong credentials per client address, in windows of a minute. IPv6 clients count by their /64.

    The table is bounded: when it is full, the oldest window gives way.
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
        # A clock that was set back must not lock anybody out for longer than the window.
        return math.ceil(min(left, WINDOW_SECONDS))

    def failed(self, address: str) -> int:
        """Note one wrong credential. Returns how many there are in the present window."""
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

    Wrong credentials are counted per client address and kind, also those of other places where something secret can be guessed
    (the login codes), by :meth:`count_failure`. They are told to ``audit``, up to a few per address.

    What is right is let in, whoever else has guessed from the same address: of what gatewayd makes (codes of 80 bits and more,
    tokens of 256) and of long tokens nothing can be guessed, so that their limit keeps the log short and nothing else. The
    exception are configured tokens of fewer than ``UNGUESSABLE_CHARS`` characters, which people may have made up: from an address
    that has sent too many wrong ones they are answered 429 without a look, or the limit would not slow a guesser down; but not
    one that was right before, from any address, since the start.
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
        self._failures = {kind: FailureLimiter(now) for kind in get_args(Kind)}
        self._recorded = FailureLimiter(now, allowed=ALL_FAILURES_RECORDED, addresses=1)
        self._verified: OrderedDict[str, None] = OrderedDict()
        self._configured: dict[str, Identity] = {}
        self._replaced_at: dict[str, float] = {}
        self._local: tuple[str, Identity] | None = None
        self.proxies = proxies or TrustedProxies(())
        self.reconfigure(config)

    def reconfigure(self, config: AuthSection) -> None:
        """Use these tokens from the next request on. Open streams notice it by themselves, see ``StreamAuthorization``."""
        before = {identity.name: digest for digest, identity in self._configured.items()}
        self._configured = {
            digest_of(token.token.reveal()): _identity_of_config(name, token) for name, token in config.tokens.items()
        }
        for digest, identity in self._configured.items():
            if before.get(identity.name, digest) != digest:
                self._replaced_at[identity.name] = self._now()

    def trust(self, proxies: TrustedProxies) -> None:
        """Believe these about who sends, from the next request on."""
        self.proxies = proxies

    async def require(self, scope: Scope) -> Identity:
        """The identity behind the present request, if it has ``scope``.

        :raises HttpError: unauthorized, too_many_requests, or forbidden when the token lacks the scope.
        """
        identity = await self.identify_sender()
        if not identity.may(scope):
            raise HttpError("forbidden", f"this token lacks the scope {scope!r}")
        return identity

    async def require_operator(self, scope: Scope) -> Identity:
        """As :meth:`require`, for what people wrote in whatever chat: a program that carries messages of one network, or that
        measures, does not look into the others.

        :raises HttpError: as ``require``; forbidden to any other role.
        """
        identity = await self.require(scope)
        if identity.role != "operator":
            raise HttpError(
                "forbidden",
                f"who talks with the agents is shown to the role operator only, and this token has the role {identity.role}",
            )
        return identity

    async def require_client(self, *scopes: Scope) -> tuple[Identity, str | None]:
        """As :meth:`require`, for clients of agent servers, which know HTTP Basic only (RFC 7617): the password is the token.
        Returns the user name, too, which means nothing here; None when a bearer token was sent.

        A browser sends Basic credentials by itself, whoever's page makes it ask, so no page of another site may.

        :raises HttpError: as ``require``; bad_origin.
        """
        authorization, user = request.headers.get("Authorization", ""), None
        kind: Kind = "token"
        if authorization.strip().lower().startswith("basic"):
            _require_same_origin()
            user, authorization = _bearer_of_basic(authorization)
            kind = "basic"
        try:
            identity = await self.identify(authorization, self.client_address(), kind)
        except HttpError as error:
            if error.code == "unauthorized":
                # Without this a client that knows Basic never asks its user, or uses what it was given.
                error.headers["WWW-Authenticate"] = 'Basic realm="gatewayd", charset="UTF-8"'
            raise
        for scope in scopes:
            if not identity.may(scope):
                raise HttpError("forbidden", f"this token lacks the scope {scope!r}")
        return identity, user

    def stream_authorization(self, *scopes: Scope) -> "StreamAuthorization":
        """For an answer that goes on after the present request was let in with these scopes."""
        authorization = request.headers.get("Authorization", "")
        if authorization.strip().lower().startswith("basic"):
            _, authorization = _bearer_of_basic(authorization)
        digest = digest_of(_token_of(authorization))

        async def holds() -> bool:
            identity = await self._look_up(digest)
            return identity is not None and all(identity.may(scope) for scope in scopes)

        return StreamAuthorization(holds)

    async def count_failure(self, kind: Kind, error: HttpError, address: str | None = None) -> HttpError:
        """Count a wrong credential from an address (that of the present request), and record it unless there were too many.
        Returns what answers it: ``error``, or too_many_requests."""
        address = address or self.client_address()
        limiter = self._failures[kind]
        retry_after = limiter.retry_after(address)
        await self._record(kind, address, limiter.failed(address))
        return error if retry_after is None else _too_many(kind, retry_after)

    async def _record(self, kind: Kind, address: str, count: int) -> None:
        if self._audit is None or count > FAILURES_RECORDED or self._recorded.retry_after("") is not None:
            return
        in_all = self._recorded.failed("")
        last = count == FAILURES_RECORDED or in_all == ALL_FAILURES_RECORDED
        await self._audit.record_failure(address, kind, last=last)

    def client_address(self) -> str:
        """The address that the present request counts for."""
        client = request.scope.get("client")
        return self.proxies.client_of(client[0] if client else None, request.scope["headers"])

    async def identify_sender(self) -> Identity:
        """Who sent the present request, by a bearer token. :raises HttpError: as ``identify``."""
        return await self.identify(request.headers.get("Authorization"), self.client_address())

    async def optional(self, scope: Scope) -> Identity | None:
        """As :meth:`require` when a token was sent; None when none was sent or it lacks the scope.

        :raises HttpError: unauthorized or too_many_requests for a wrong token.
        """
        if request.headers.get("Authorization") is None:
            return None
        identity = await self.identify_sender()
        return identity if identity.may(scope) else None

    async def identify(self, authorization: str | None, address: str, kind: Kind = "token") -> Identity:
        """The identity behind an ``Authorization`` header.

        :raises HttpError: unauthorized, or too_many_requests after too many failures from ``address``.
        """
        token = _token_of(authorization or "")
        if not token:
            raise _unauthorized("a bearer token is needed: Authorization: Bearer …")
        digest = digest_of(token)
        if len(token) < UNGUESSABLE_CHARS and digest not in self._verified:
            retry_after = self._failures[kind].retry_after(address)
            if retry_after is not None:
                raise _too_many(kind, retry_after)
        identity = await self._look_up(digest)
        if identity is None:
            self._verified.pop(digest, None)
            unknown = _unauthorized("this token is not known, or it has expired", error="invalid_token")
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
            # An operator looks now of all times. Only a restart ends the token in the file.
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
        """A login of the console may do no more than the token that it was asked for with may do now, and ends with that one."""
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
    """Where a browser says where a request comes from (Fetch Metadata, W3C), it is from one of our pages or from nobody's.
    Another port of the same machine is "same-site", so that is not enough."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise HttpError("bad_origin", "pages of other sites may not use these credentials")


def _token_of(authorization: str) -> str:
    """The bearer token in a header; empty where there is none."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _bearer_of_basic(authorization: str) -> tuple[str, str]:
    """The user name, and the password as a bearer token's header; an empty one for what cannot be read."""
    encoded = authorization.strip()[len("basic") :].strip()
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:  # of base64, of UTF-8, or of what is not even ASCII
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


def _too_many(kind: Kind, retry_after: int) -> HttpError:
    what = "tokens" if kind in ("token", "basic") else "codes"
    return HttpError("too_many_requests", f"too many wrong {what} from this address", retry_after=retry_after)
