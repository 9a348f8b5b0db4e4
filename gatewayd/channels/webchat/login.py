"""Who may open the web chat: one-time codes in links, and the sessions they are exchanged for.

The store holds SHA-256 digests only; codes and session tokens have enough entropy (80 and 256 bits) to need no salt.
"""

import secrets
from base64 import b32encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Literal

import msgspec
from msgspec import Struct

from gatewayd.channels.webchat.api import Link, Session, Sessions
from gatewayd.ports.channel import Logins
from gatewayd.ports.store import TokenRow

CODE_SECONDS: Final = 15 * 60.0
DAY_SECONDS: Final = 86_400.0
_CODE_BYTES: Final = 10
_CODE_GROUP: Final = 4
_ID_CHARS: Final = 12
_ROLE: Final = "webchat"


class Login(Struct, frozen=True):
    """A session. ``token`` is the cookie's value, only known to the browser; ``name`` is the peer's id in the chat."""

    token: str
    name: str
    expires_at: float

    @property
    def id(self) -> str:
        """What it is called where others read it; see :class:`Session`."""
        return _id_of(_digest(self.token))


async def new_login_link(store: Logins, base_url: str, name: str, now: float) -> Link:
    """Make a link that logs in as ``name``, once, within 15 minutes. ``base_url`` is scheme://host[:port], no path.

    The code is in the fragment, which browsers send to nobody: it is in no access log and no Referer.
    """
    code = _new_code()
    expires_at = now + CODE_SECONDS
    await store.put_token(_row("login_code", _code_digest(code), name, now, expires_at))
    return Link(url=f"{base_url.rstrip('/')}/#code={code}", code=code, expires_at=expires_at)


async def log_in(store: Logins, code: str, now: float, *, session_days: int) -> Login | None:
    """Use up a code. None: there is no such code (any more). Case, spaces and dashes do not matter: people type codes."""
    digest = _code_digest(code)
    known = await store.get_token(digest)
    if known is None or known.kind != "login_code" or _expired(known, now):
        return None
    token = secrets.token_urlsafe(32)
    expires_at = now + session_days * DAY_SECONDS
    # In one: who ends all logins of a name at this moment ends the code or the session.
    if not await store.exchange_token(digest, _row("web_session", _digest(token), known.name, now, expires_at)):
        return None
    return Login(token=token, name=known.name, expires_at=expires_at)


async def find_login(store: Logins, token: str, now: float) -> Login | None:
    """The login of a session cookie, or None if it has ended."""
    row = await store.get_token(_digest(token))
    if row is None or row.kind != "web_session" or row.expires_at is None or _expired(row, now):
        return None
    return Login(token=token, name=row.name, expires_at=row.expires_at)


async def prolong(store: Logins, login: Login, now: float, *, session_days: int) -> Login:
    """Let a session that is in use end later. Writes at most once a day; returns ``login`` unchanged otherwise."""
    expires_at = now + session_days * DAY_SECONDS
    if expires_at - login.expires_at < DAY_SECONDS:
        return login
    row = await store.get_token(_digest(login.token))
    if row is None:
        return login
    if not await store.exchange_token(row.digest, msgspec.structs.replace(row, expires_at=expires_at)):
        return login  # it was ended meanwhile, and stays so
    return msgspec.structs.replace(login, expires_at=expires_at)


async def log_out(store: Logins, token: str) -> None:
    """End a session; one that has ended already is no error."""
    row = await store.get_token(_digest(token))
    if row is not None and row.kind == "web_session":
        await store.delete_token(row.digest)


async def list_sessions(store: Logins, now: float) -> list[Session]:
    """Every login that has not ended, the oldest first."""
    return [_session(row) for row in await store.list_tokens("web_session") if not _expired(row, now)]


async def count_links(store: Logins, now: float) -> int:
    """How many links wait to be used."""
    return len(await _links(store, now))


async def end_session(store: Logins, id: str, now: float) -> Sessions:
    """End one login. None of that id: nothing is ended."""
    return await _end(store, [row for row in await store.list_tokens("web_session") if _id_of(row.digest) == id], now)


async def end_person(store: Logins, name: str, now: float) -> Sessions:
    """End every login of one name, and the links that were made for it: each of them is a way in."""
    rows = [*await store.list_tokens("web_session"), *await _links(store, now)]
    return await _end(store, [row for row in rows if row.name == name], now)


async def _end(store: Logins, rows: Sequence[TokenRow], now: float) -> Sessions:
    for row in rows:
        await store.delete_token(row.digest)
    over = [row for row in rows if not _expired(row, now)]
    return Sessions(
        tuple(_session(row) for row in over if row.kind == "web_session"), sum(row.kind == "login_code" for row in over)
    )


async def _links(store: Logins, now: float) -> list[TokenRow]:
    """The console's links are of the same kind, but of an operator's role."""
    return [row for row in await store.list_tokens("login_code") if row.role == _ROLE and not _expired(row, now)]


def _session(row: TokenRow) -> Session:
    return Session(_id_of(row.digest), row.name, row.created_at, row.expires_at or 0.0)


def _id_of(digest: str) -> str:
    return digest[:_ID_CHARS]


def _new_code() -> str:
    letters = b32encode(secrets.token_bytes(_CODE_BYTES)).decode().lower()
    return "-".join(letters[at : at + _CODE_GROUP] for at in range(0, len(letters), _CODE_GROUP))


def _code_digest(code: str) -> str:
    return _digest("".join(letter for letter in code.lower() if letter.isalnum()))


def _digest(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _expired(row: TokenRow, now: float) -> bool:
    return row.expires_at is not None and row.expires_at <= now


def _row(kind: Literal["login_code", "web_session"], digest: str, name: str, now: float, expires_at: float) -> TokenRow:
    return TokenRow(digest=digest, kind=kind, name=name, role=_ROLE, scopes=(), created_at=now, expires_at=expires_at)
