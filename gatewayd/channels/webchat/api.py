"""The JSON of operators, who make links and end logins; gatewayctl reads and writes it, too."""

from typing import Annotated

from msgspec import Meta, Struct

from gatewayd.model.config import Name
from gatewayd.model.operator_api import LoginLink, Request


class MakeLink(Request, frozen=True):
    name: Name = "owner"


class Link(LoginLink, frozen=True):
    """``code`` is the one in ``url``, for people who type it."""

    code: str


class Session(Struct, frozen=True):
    """A login that has not ended, without its secret: ``id`` is the beginning of the stored digest. Times are Unix seconds.
    ``pages`` is the number of open pages."""

    id: str
    name: str
    created_at: float
    expires_at: float
    pages: int = 0


class Sessions(Struct, frozen=True):
    """Logins, and the number of unused links: all of them, or those that a revocation has ended."""

    sessions: tuple[Session, ...]
    links: int


class Revoke(Request, frozen=True):
    """One login by its ``id``, or all logins of a ``name`` with the links that were made for it."""

    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{12}\Z")] | None = None
    name: Name | None = None
