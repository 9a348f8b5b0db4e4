"""What each error of the REST API means for us, and what helps: one table. Pure.

An error has an HTTP status and, in its body, a code of Discord's own ("Opcodes and Status Codes", "JSON Error Codes"). A code
that is not known counts by its status.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from gatewayd.kit.text import sanitise
from gatewayd.model.errors import AnswerExpired, GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain

Purpose = Literal["send", "own", "fetch"]
"""Sending to a conversation; the account's own life (its application, the address of the gateway); reading something that may
not be there (a history, a channel, a message)."""

ErrorKind = Literal["operator", "rejected", "again", "perhaps", "expired"]
"""``operator``: the account cannot go on; it is parked, and tried slowly. ``rejected``: this call is refused for good.
``again``: surely not done, and may be done later. ``perhaps``: it may have been done. ``expired``: the token of an interaction is
over."""

_BUG: Final = "the request of gatewayd is not as Discord wants it: please report it"
_PERMISSION: Final = "give the bot's role the permission in this channel (docs/channels/discord.md lists them)"
_COPY: Final = 'copy a new token from the page "Bot" of the app (Reset Token)'

NO_HISTORY: Final = f"a permission is missing: {_PERMISSION} (Read Message History)"
"""What helps where a history looks empty and is not."""

UNAUTHORIZED: Final = 0
"""The code of an answer with the status 401 that has no code of its own."""

CODES: Final[dict[int, tuple[ErrorKind, str]]] = {
    # Who we are
    20001: ("operator", "bots may not do this: is it the token of a bot?"),
    20002: ("operator", "only bots may do this: token must be that of a bot"),
    20012: ("operator", "application_id is that of another app than the token"),
    20026: ("rejected", "Discord has flagged the bot for spam: appeal under the app's settings"),
    40001: ("operator", f"Discord does not accept the token: {_COPY}"),
    40002: ("operator", "the account of the bot needs to be verified first: open the developer portal"),
    40333: ("operator", "what is between us and Discord has changed the request, or its User-Agent"),
    # A place
    10003: ("rejected", "there is no such channel: it was deleted, or the bot is not in its server"),
    10004: ("rejected", "there is no such server, or the bot is not in it"),
    10008: ("rejected", "there is no such message: it was deleted"),
    10013: ("rejected", "there is no such user"),
    50001: ("rejected", f"the bot may not see this channel: {_PERMISSION} (View Channel)"),
    50008: ("rejected", "nobody can write in a channel of this kind"),
    50013: ("rejected", f"a permission is missing: {_PERMISSION} (Send Messages, Send Messages in Threads, Attach Files)"),
    50024: ("rejected", "this cannot be done in a channel of this kind"),
    50083: ("rejected", "the thread is archived and locked: unlock it, or give the bot's role Manage Threads"),
    160002: ("rejected", "the bot may not read what was said, so it cannot reply to it: give it Read Message History"),
    160005: ("rejected", "the thread is locked"),
    # A person
    40003: ("again", "direct messages are opened too fast"),
    50007: (
        "rejected",
        "this person takes no direct messages from the bot: they blocked it, switched them off, or share no server with it",
    ),
    50278: ("rejected", "this person shares no server with the bot, so it may not write to them"),
    # A message
    20009: ("rejected", "Discord takes no explicit content in this channel"),
    20016: ("again", "the channel is in slow mode"),
    20022: ("again", "this message was edited too often in a short time"),
    20028: ("again", "too much is written in this channel"),
    20029: ("again", "too much is written in this server"),
    20031: ("rejected", "the text has words that this server forbids"),
    30046: ("again", "a message that is older than an hour was edited too often"),
    40004: ("again", "sending messages has been switched off for a while"),
    40005: ("rejected", "the file is too large for this server"),
    50005: ("rejected", "the message is not one of the bot's"),
    50006: ("rejected", "there is nothing in the message that Discord shows"),
    50035: ("rejected", _BUG),
    50109: ("rejected", _BUG),
    200000: ("rejected", "AutoMod of this server has blocked the text"),
    200001: ("rejected", "AutoMod of this server has blocked the title"),
    240000: ("rejected", "Discord's filter of harmful links has blocked the text"),
    # An interaction
    10015: ("expired", "the interaction is over: its token is good for 15 minutes"),
    10062: ("expired", "the interaction is over: it had to be answered within three seconds"),
    40060: ("rejected", "the interaction was answered already"),
    50027: ("expired", "the interaction is over: its token is good for 15 minutes"),
    # Commands
    30032: ("rejected", "the app has more than 100 slash commands"),
    30034: ("again", "more than 200 slash commands were made today"),
    # Discord itself
    20017: ("rejected", _BUG),
    40062: ("again", "Discord takes no more calls of this service now"),
    110000: ("again", "the server is on fire, says Discord: it is not available"),
    130000: ("again", "Discord has too much to do"),
    131000: ("again", "Discord has too much to do"),
}


class DiscordError(Exception):
    """One answer that is no success; :func:`gateway_error` says what it means. Never leaves the driver.

    ``call`` is the method and the route without ids. ``code`` is Discord's; None when something else than the REST API answered.
    ``fields`` are what a 50035 says of the fields of the request, as ``content: BASE_TYPE_MAX_LENGTH``.
    """

    def __init__(
        self,
        call: str,
        status: int,
        code: int | None,
        *,
        retry_after_seconds: float | None = None,
        fields: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{call}: {status if code is None else code}")
        self.call = call
        self.status = status
        self.code = code
        self.retry_after_seconds = retry_after_seconds
        self.fields = fields


def kind_of(error: DiscordError) -> ErrorKind:
    """What is known of whether it was done."""
    if error.code is not None and error.code in CODES:
        return CODES[error.code][0]
    match error.status:
        case 401:
            return "operator" if error.code is not None else "again"
        case status if 300 <= status < 400:
            return "operator"
        case 408:
            return "perhaps"
        case 413 | 414 | 431:
            return "rejected"
        case status if 400 <= status < 500:
            # Without a code, something in between has refused it, and Discord was not reached.
            return "rejected" if error.code is not None else "again"
    return "perhaps"


def gateway_error(error: DiscordError, purpose: Purpose) -> GatewayError:
    """The error to raise for ``error``. Its reason names the call, the code, and what helps."""
    reason = reason_of(error)
    match kind_of(error):
        case "rejected" if purpose == "own":
            return NeedsOperator(reason, retries_slowly=True)
        case "rejected":
            return SendRejected(reason)
        case "expired":
            return AnswerExpired(reason) if purpose == "send" else SendRejected(reason)
        case "operator":
            return NeedsOperator(reason, retries_slowly=True)
        case "again":
            return TryAgain(reason, after_seconds=error.retry_after_seconds, scope="conversation")
        case "perhaps" if purpose == "send":
            return OutcomeUnknown(reason)
    return TryAgain(reason, after_seconds=error.retry_after_seconds, scope="conversation")


def reason_of(error: DiscordError) -> str:
    """In words, without a secret."""
    what = f"Discord {error.call}"
    if error.code is None:
        match error.status:
            case status if 300 <= status < 400:
                return f"{what}: api_base redirects elsewhere; set it to the final address"
            case 413 | 414 | 431:
                return f"{what}: too large, says the status {error.status}"
        return f"{what}: answered by something else than the REST API, with the status {error.status}"
    if error.code in CODES:
        text = f"{what} answered {error.code}: {CODES[error.code][1]}"
    elif error.status == 401:
        text = f"{what} answered 401: Discord does not accept the token: {_COPY}"
    else:
        text = f"{what} answered {error.status} with the code {error.code}, which gatewayd does not know"
    return "; ".join([text, *error.fields])


MOST_FIELDS: Final = 5
_DEPTH: Final = 12
_NAME_MAX: Final = 40


def fields_of(errors: Any) -> tuple[str, ...]:
    """The ``errors`` of a 50035 ("Reference", "Error Messages"), which nest as the request does, in one line each: the path of
    the field, and the name of what is wrong. At most ``MOST_FIELDS``."""
    found: list[str] = []
    waiting: list[tuple[str, Any]] = [("", errors)]
    while waiting and len(found) < MOST_FIELDS:
        path, value = waiting.pop()
        if not isinstance(value, Mapping):
            continue
        for name, inner in reversed(list(value.items())[:50]):
            if name == "_errors" and isinstance(inner, list):
                codes = [_word(it.get("code")) for it in inner[:MOST_FIELDS] if isinstance(it, Mapping)]
                found.append(f"{path or 'the body'}: {', '.join(filter(None, codes)) or 'wrong'}")
            elif path.count(".") < _DEPTH:
                waiting.append((f"{path}.{_word(name)}" if path else _word(name), inner))
    return tuple(found[:MOST_FIELDS])


def _word(text: object) -> str:
    """Words of the request's fields and of the errors' names. Whatever else is there is shortened and harmless."""
    return sanitise(str(text))[:_NAME_MAX] if isinstance(text, str | int) else ""
