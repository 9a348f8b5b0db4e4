"""What each error answer of the Bot API means for us: one table, read from top to bottom. Pure.

An unsuccessful answer has an error_code, a description for people and perhaps ResponseParameters
(core.telegram.org/bots/api#making-requests, #responseparameters). The codes and words are those of the platform's own
server (tdlib/telegram-bot-api, Client.cpp: fail_query_with_error, check_chat_access, get_closing_error); its documentation
warns that descriptions may change, so every code has a last row that takes any.
"""

from typing import Literal

from msgspec import Struct

from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, Scope, SendRejected, TryAgain

Purpose = Literal["send", "own", "fetch"]
"""Sending to a chat; the account's own life (getMe, getUpdates, webhooks); fetching a file."""

Fallback = Literal["markup", "topic", "reply", "buttons", "length"]
"""The part that a message is sent again without, where the error is about that part and not about the message."""

ErrorKind = Literal["try again", "look again", "needs operator", "rejected", "unknown"]
"""``look again`` is for the operator, too, but may end without them: Telegram itself says such things for minutes at a time."""


class ApiError(Exception):
    """One unsuccessful answer; :func:`gateway_error` says what it means. Never leaves the driver.

    ``by_telegram`` is False when the answer was not the Bot API's JSON, but the page of a proxy, for example.
    """

    def __init__(
        self,
        method: str,
        code: int,
        description: str = "",
        *,
        retry_after_seconds: float | None = None,
        migrate_to_chat_id: int | None = None,
        by_telegram: bool = True,
    ) -> None:
        super().__init__(f"{method}: {code} {description}")
        self.method = method
        self.code = code
        self.description = description
        self.retry_after_seconds = retry_after_seconds
        self.migrate_to_chat_id = migrate_to_chat_id
        self.by_telegram = by_telegram


class Row(Struct, frozen=True):
    """One line of the table. ``phrase`` must be in the description, whatever its case; "" is in every description.

    ``fallback`` is the part that the message is sent again without before ``kind`` applies.
    """

    codes: range
    phrase: str
    purposes: tuple[Purpose, ...]
    kind: ErrorKind
    name: str
    fallback: Fallback | None = None


def _row(code: int | range, phrase: str, purposes: str, kind: ErrorKind, name: str, fallback: Fallback | None = None) -> Row:
    known: tuple[Purpose, ...] = ("send", "own", "fetch")
    codes = code if isinstance(code, range) else range(code, code + 1)
    return Row(codes, phrase, tuple(purpose for purpose in known if purpose in purposes), kind, name, fallback)


_ANY = "send own fetch"

TABLE: tuple[Row, ...] = (
    _row(429, "", _ANY, "try again", "rate limit"),
    _row(401, "", _ANY, "look again", "Telegram does not accept the token (revoked or mistyped?)"),
    _row(404, "", "send own", "look again", "Telegram knows no such bot (check token and api_base)"),
    _row(404, "", "fetch", "rejected", "gone"),
    _row(421, "", _ANY, "look again", "this Bot API server does not serve this token"),
    _row(range(300, 400), "", _ANY, "needs operator", "api_base redirects elsewhere: set it to the final address"),
    _row(409, "webhook", "own", "try again", "another program has set a webhook for this bot"),
    _row(409, "getupdates", "own", "try again", "another program polls with this token"),
    _row(409, "", _ANY, "try again", "conflict"),
    _row(403, "blocked by the user", "send", "rejected", "blocked"),
    _row(403, "user is deactivated", "send", "rejected", "deactivated"),
    _row(403, "was kicked", "send", "rejected", "kicked"),
    _row(403, "not a member", "send", "rejected", "not a member"),
    _row(403, "was deleted", "send", "rejected", "chat deleted"),
    _row(403, "initiate conversation", "send", "rejected", "not started"),
    _row(403, "to bots", "send", "rejected", "peer is a bot"),
    _row(403, "", "send fetch", "rejected", "forbidden"),
    _row(403, "", "own", "look again", "forbidden"),
    _row(400, "reply markup is too long", "send", "rejected", "too long", "buttons"),
    _row(400, "reply markup", "send", "rejected", "buttons", "buttons"),
    _row(400, "reply_markup", "send", "rejected", "buttons", "buttons"),
    _row(400, "keyboard", "send", "rejected", "buttons", "buttons"),
    _row(400, "button", "send", "rejected", "buttons", "buttons"),
    _row(400, "replied", "send", "rejected", "reply gone", "reply"),
    _row(400, "reply message", "send", "rejected", "reply gone", "reply"),
    _row(400, "reply_", "send", "rejected", "reply gone", "reply"),
    # Of servers of several years: can't parse entities, ENTITY_BOUNDS_INVALID, ENTITIES_TOO_LONG, entity URL '…' is invalid: URL
    # host is empty, Wrong message entity: Wrong URL host, Wrong HTTP URL specified.
    _row(400, "entit", "send", "rejected", "markup", "markup"),
    _row(400, "parse", "send", "rejected", "markup", "markup"),
    _row(400, "url", "send", "rejected", "markup", "markup"),
    _row(400, "too long", "send", "rejected", "too long", "length"),
    _row(400, "too_long", "send", "rejected", "too long", "length"),
    _row(400, "text is empty", "send", "rejected", "empty"),
    _row(400, "must be non-empty", "send", "rejected", "empty"),
    _row(400, "upgraded to a supergroup", "send", "rejected", "migrated"),
    _row(400, "chat not found", "send", "rejected", "chat not found"),
    _row(400, "to edit not found", "send", "rejected", "message gone"),
    _row(400, "message_id_invalid", "send", "rejected", "message gone", "reply"),
    _row(400, "can't be edited", "send", "rejected", "not editable"),
    _row(400, "thread", "send", "rejected", "topic gone", "topic"),
    _row(400, "topic", "send", "rejected", "topic gone", "topic"),
    _row(400, "rights", "send", "rejected", "no right to write"),
    _row(400, "chat_write_forbidden", "send", "rejected", "no right to write"),
    # In words that are new: perhaps the markup, and if not, nothing is lost by asking.
    _row(400, "", "send", "rejected", "bad request", "markup"),
    _row(400, "resolve host", "own", "try again", "Telegram cannot resolve the name in gateway.public_url"),
    _row(400, "", "own", "look again", "bad request"),
    _row(400, "too big", "fetch", "rejected", "too large"),
    _row(400, "", "fetch", "rejected", "gone"),
    _row(413, "", "send fetch", "rejected", "too long"),
    # The server says that it failed, or that it did not begin. "restart" is said of what was under way when it stopped.
    _row(500, "restart", "send", "unknown", "the Bot API server stopped"),
    _row(500, "", _ANY, "try again", "Telegram failed"),
    _row(503, "", _ANY, "try again", "Telegram is not available"),
    # Said by a proxy in front of a server that may have carried it out.
    _row(range(501, 600), "", "send", "unknown", "a proxy got no answer from Telegram"),
    _row(range(501, 600), "", "own fetch", "try again", "a proxy got no answer from Telegram"),
    _row(range(400, 500), "", "send fetch", "rejected", "refused"),
    _row(range(400, 500), "", "own", "look again", "refused"),
    _row(range(1000), "", "send", "unknown", "not an answer of the Bot API"),
    _row(range(1000), "", "own fetch", "try again", "not an answer of the Bot API"),
)


def gateway_error(error: ApiError, purpose: Purpose) -> GatewayError:
    """The error to raise for ``error``. Its reason begins with the name from the table."""
    row = find_row(error, purpose)
    reason = f"{row.name}: {error.method} answered {error.code} {error.description}".rstrip()
    match row.kind:
        case "try again":
            # What is said of one message holds up its conversation; whether the account is well, its own calls tell.
            scope: Scope = "conversation" if purpose == "send" else "account"
            return TryAgain(reason, after_seconds=error.retry_after_seconds, scope=scope)
        case "look again":
            return NeedsOperator(reason, retries_slowly=True)
        case "needs operator":
            return NeedsOperator(reason)
        case "rejected":
            return SendRejected(reason)
        case "unknown":
            return OutcomeUnknown(reason)


class Limits:
    """Whose rate limit a 429 of a send is.

    Telegram limits what goes to one chat and what one bot sends, and a 429 does not say which of them was reached
    (https://core.telegram.org/bots/faq, "My bot is hitting limits"). What it says of two chats at the same time is no limit of a
    chat. ``now`` is any clock of seconds.
    """

    def __init__(self) -> None:
        self._chat: int | str = ""
        self._until = 0.0

    def scope_of(self, chat: int | str, seconds: float, *, now: float) -> Scope:
        """Who has to wait, now that a send to ``chat`` is limited for so long."""
        several = now < self._until and chat != self._chat
        self._chat, self._until = chat, now + seconds
        return "sends" if several else "conversation"


def fallback_of(error: ApiError) -> Fallback | None:
    """The part that a message with this error should be sent again without."""
    return find_row(error, "send").fallback


def find_row(error: ApiError, purpose: Purpose) -> Row:
    """The row for ``error``: the first that fits."""
    if not error.by_telegram and 400 <= error.code < 500 and error.code != 429:
        return _NOT_REACHED
    description = error.description.lower()
    return next(row for row in TABLE if error.code in row.codes and row.phrase in description and purpose in row.purposes)


# A page of somebody in between says nothing of the token or of the chat, but it says that Telegram was not reached.
_NOT_REACHED = _row(range(400, 500), "", _ANY, "try again", "something between us and the Bot API refused")
