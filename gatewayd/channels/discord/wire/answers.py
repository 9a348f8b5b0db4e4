"""The answers of the REST API, as far as they are read. Pure."""

from typing import Any

from msgspec import Raw, Struct


class ErrorBody(Struct, frozen=True):
    """ "Reference", "Error Messages"."""

    code: int | None = None
    errors: Any = None


class RateLimited(Struct, frozen=True, rename={"is_global": "global"}):
    """The body of a 429 ("Rate Limits"). ``retry_after`` is in seconds."""

    retry_after: float = 1.0
    is_global: bool = False


class User(Struct, frozen=True):
    """ "User Resource"."""

    id: str
    username: str = ""
    global_name: str | None = None
    bot: bool = False
    system: bool = False


class Application(Struct, frozen=True):
    """GET /applications/@me ("Application Resource"). ``bot`` is its user."""

    id: str
    name: str = ""
    bot: User | None = None
    flags: int = 0
    interactions_endpoint_url: str | None = None
    verify_key: str = ""


class StartLimit(Struct, frozen=True):
    """How many sessions may be begun until ``reset_after`` milliseconds are over ("Gateway", "Session Start Limit")."""

    total: int = 1000
    remaining: int = 1000
    reset_after: int = 0
    max_concurrency: int = 1


class GatewayBot(Struct, frozen=True):
    """GET /gateway/bot."""

    url: str
    shards: int = 1
    session_start_limit: StartLimit = StartLimit()


class Channel(Struct, frozen=True):
    """A channel, a thread or a direct message ("Channel Resource"), as far as it is used."""

    id: str
    type: int = 0
    guild_id: str | None = None
    parent_id: str | None = None
    name: str | None = None
    last_message_id: str | None = None


class Posted(Struct, frozen=True):
    """A message that was made or changed."""

    id: str
    channel_id: str = ""


class Threads(Struct, frozen=True):
    """A list of threads ("Channel Resource", "List Public Archived Threads"; "Guild Resource", "List Active Guild Threads")."""

    threads: tuple[Channel, ...] = ()
    has_more: bool = False


Messages = list[Raw]
"""GET /channels/{channel_id}/messages: the newest first."""
