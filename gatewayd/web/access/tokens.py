"""Stored bearer tokens: their digests, and the operator token that is made when none is configured."""

import os
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

from gatewayd.kit.private_file import write_private
from gatewayd.model.config import AuthSection
from gatewayd.model.errors import NeedsOperator, StoreRefused
from gatewayd.ports.store import TokenRow, Tokens

NAME: Final = "local"
FILE_NAME: Final = "token"
_MIN_CHARS: Final = 16
_MAX_BYTES: Final = 4096


def digest_of(token: str) -> str:
    """The form in which a token is kept: SHA-256, hex."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


async def ensure_token(
    store: Tokens, config: AuthSection, state_dir: Path, *, now: Callable[[], float] = time.time
) -> Path | None:
    """Make ``<state_dir>/token`` (mode 0600, one line) when no token is configured and the file does not exist.

    The token in the file is valid, with all scopes. To get a new one, delete the file and restart. Returns the path, or None
    when there is no file because tokens are configured.

    :raises NeedsOperator: the file holds no token.
    :raises StoreRefused: the file cannot be read or written, or the store cannot be written.
    """
    path = state_dir / FILE_NAME
    try:
        token = _read(path)
        if token is None and not config.tokens:
            token = secrets.token_urlsafe(32)
            write_private(path, f"{token}\n".encode())
    except OSError as error:
        raise StoreRefused.of_os(error, f"the token file {path} cannot be used") from error
    digest = None if token is None else digest_of(token)
    own = [row for row in await store.list_tokens("token") if row.name == NAME and row.digest != digest]
    if any(row.expires_at is None for row in own):  # the file had another token, whose logins end with it
        for row in own:
            await store.delete_token(row.digest)
    if digest is None:
        return None
    if await store.get_token(digest) is None:
        await store.put_token(_row(digest, now()))
    return path


def _row(digest: str, now: float) -> TokenRow:
    return TokenRow(digest=digest, kind="token", name=NAME, role="operator", scopes=("admin",), created_at=now, expires_at=None)


def _read(path: Path) -> str | None:
    """The token in the file, None without a file. Group and others lose access to it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if os.fstat(fd).st_mode & 0o077:
            os.fchmod(fd, 0o600)
        token = os.read(fd, _MAX_BYTES).decode("utf-8-sig", "replace").strip()
    finally:
        os.close(fd)
    if len(token) < _MIN_CHARS or not token.isprintable() or " " in token:
        raise NeedsOperator(f"{path} holds no token; delete it, and the next start makes a new one")
    return token
