"""The HTTP client of one server, and the errors that its answers mean. The requests themselves are in the dialects."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Final, TypeVar
from urllib.parse import quote

import httpx2
import msgspec
from msgspec import Struct

from gatewayd.agents.opencode.server.wire import TooLarge, check_values, decode, one_line
from gatewayd.kit import json
from gatewayd.kit.http import AnswerTooLarge, HttpReply, exchange
from gatewayd.model.errors import AgentFailed, NeedsOperator, OutcomeUnknown, TryAgain
from gatewayd.model.secret import Secret

CALL_SECONDS: Final = 20.0
"""For a whole request. The first one in a directory makes OpenCode start its services there, which takes seconds."""
HEALTH_SECONDS: Final = 3.0
"""OpenCode accepts connections before it is ready, and never answers on those: ask again soon, on a new connection."""
BODY_MAX: Final = 1024 * 1024
"""Bytes of any answer but a page of messages."""
MESSAGES_MAX: Final = 4 * 1024 * 1024
"""Bytes of a page of messages, which hold whole outputs of tools, and pictures."""

T = TypeVar("T")


class NotFoundOnServer(AgentFailed):
    """404: the server knows no such session, request or message."""


class NoSuchSession(NotFoundOnServer):
    """The server does not have the session any more. What was said in it is lost to the agent."""

    def __init__(self) -> None:
        super().__init__(
            "the agent's server does not know the session of this chat (any more): its data was deleted, or it is another "
            "server. Write /new in the chat to begin a new session"
        )


class _Health(Struct):
    healthy: bool
    version: str


class _OpencodeErrorData(Struct):
    message: str = ""


class _AnyError(Struct):
    """OpenCode's {"name", "data": {"message"}}, or {"_tag", "message"}; OpenAgentic's {"error"}."""

    name: str = ""
    message: str = ""
    error: str = ""
    data: _OpencodeErrorData = msgspec.field(default_factory=_OpencodeErrorData)


def basic(username: str, password: Secret) -> dict[str, str]:
    """The header for OPENCODE_SERVER_USERNAME and _PASSWORD (RFC 7617)."""
    return {"authorization": "Basic " + b64encode(f"{username}:{password.reveal()}".encode()).decode()}


class Client:
    """One server. ``headers`` go with each request: they hold the credentials, if the server wants some."""

    def __init__(self, http: httpx2.AsyncClient, url: str, headers: Mapping[str, str]) -> None:
        self.http = http
        self.url = url.rstrip("/")
        self.headers = headers

    async def health(self, *, timeout_seconds: float = HEALTH_SECONDS) -> str:
        """The server's version. :raises TryAgain: it does not answer. :raises NeedsOperator: it is another, or refuses us."""
        what = "the server's health"
        try:
            raw = await self.call("GET", "/global/health", what=what, timeout_seconds=timeout_seconds)
            return decode(raw, _Health, what=what).version
        except AgentFailed:
            raise NeedsOperator(
                "at this address is a server, but neither OpenCode's nor OpenAgentic's: /global/health is not theirs"
            ) from None

    async def ask(self, path: str, type: type[T], *, what: str, directory: str | None = None, at_most_bytes: int = BODY_MAX) -> T:
        """The decoded answer to a GET. :raises Malformed: see ``decode``. Else as ``call``."""
        body = await self.call("GET", path, what=what, directory=directory, at_most_bytes=at_most_bytes)
        check_values(body, what=what)
        return decode(body, type, what=what)

    async def call(
        self,
        method: str,
        path: str,
        *,
        what: str,
        body: Struct | None = None,
        directory: str | None = None,
        repeatable: bool = True,
        timeout_seconds: float = CALL_SECONDS,
        at_most_bytes: int = BODY_MAX,
    ) -> bytes:
        """One request; the body of its answer.

        :raises TryAgain: an outage; nothing happened, or ``repeatable``. :raises OutcomeUnknown: an outage in the middle.
        :raises NeedsOperator: wrong credentials. :raises NotFoundOnServer: 404. :raises TooLarge: a longer answer.
        :raises AgentFailed: any other error, with the server's own text.
        """
        try:
            reply = await exchange(
                self.http,
                method,
                self.url + path + _query(path, directory),
                what=what,
                timeout_seconds=timeout_seconds,
                at_most_bytes=at_most_bytes,
                repeatable=repeatable,
                content=None if body is None else msgspec.json.encode(body),
                headers=self.headers if method == "GET" else {"content-type": "application/json", **self.headers},
            )
        except AnswerTooLarge as error:
            raise TooLarge(error.reason) from None
        if reply.status >= 300:
            raise _error_of_reply(reply, what, repeatable=repeatable)
        return reply.body


def credentials_refused(what: str, status: int) -> NeedsOperator:
    return NeedsOperator(
        f"{what}: the server refuses the credentials ({status}): set username and password, or token", retries_slowly=True
    )


def _query(path: str, directory: str | None) -> str:
    """OpenCode keeps states and requests per directory. It takes the directory in a header, too, but with unclear escaping."""
    if directory is None:
        return ""
    return f"{'&' if '?' in path else '?'}directory={quote(directory, safe='')}"


def _error_of_reply(reply: HttpReply, what: str, *, repeatable: bool) -> Exception:
    status = reply.status
    if status in (401, 403):
        return credentials_refused(what, status)
    why = f"{what}: the server answers {status}{_words(reply.body)}"
    if status == 404:
        return NotFoundOnServer(why)
    if status == 429:
        return TryAgain(why, after_seconds=reply.retry_after_seconds)
    if status in (502, 503, 504) or (status >= 500 and repeatable):
        return TryAgain(why) if repeatable else OutcomeUnknown(why)
    return AgentFailed(why)


def _words(body: bytes) -> str:
    """What an error's body says, as far as it says anything."""
    try:
        error = json.decode(body[:100_000], _AnyError, lenient=True)
    except json.Malformed:
        return ""
    words = error.data.message or error.message or error.error or error.name
    return f": {one_line(words, 200)}" if words else ""
