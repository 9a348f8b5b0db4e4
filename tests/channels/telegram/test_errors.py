"""Every row of the table, with what the platform really says."""

import pytest

from gatewayd.channels.telegram.errors import TABLE, ApiError, Purpose, find_row, gateway_error
from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain

SAID: list[tuple[Purpose, int, str, type[GatewayError], str]] = [
    ("send", 429, "Too Many Requests: retry after 7", TryAgain, "rate limit"),
    ("own", 429, "Too Many Requests: retry after 7", TryAgain, "rate limit"),
    ("send", 401, "Unauthorized", NeedsOperator, "Telegram does not accept the token"),
    ("own", 401, "Unauthorized: invalid token specified", NeedsOperator, "Telegram does not accept the token"),
    ("own", 404, "Not Found", NeedsOperator, "Telegram knows no such bot"),
    ("fetch", 404, "Not Found", SendRejected, "gone"),
    ("own", 421, "Misdirected Request: unallowed token specified", NeedsOperator, "this Bot API server does not serve"),
    ("own", 301, "", NeedsOperator, "api_base redirects elsewhere"),
    (
        "own",
        409,
        "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
        TryAgain,
        "another program has set a webhook",
    ),
    (
        "own",
        409,
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
        TryAgain,
        "another program polls with this token",
    ),
    ("own", 409, "Conflict: something new", TryAgain, "conflict"),
    ("send", 403, "Forbidden: bot was blocked by the user", SendRejected, "blocked"),
    ("send", 403, "Forbidden: user is deactivated", SendRejected, "deactivated"),
    ("send", 403, "Forbidden: bot was kicked from the supergroup chat", SendRejected, "kicked"),
    ("send", 403, "Forbidden: bot is not a member of the channel chat", SendRejected, "not a member"),
    ("send", 403, "Forbidden: the group chat was deleted", SendRejected, "chat deleted"),
    ("send", 403, "Forbidden: bot can't initiate conversation with a user", SendRejected, "not started"),
    ("send", 403, "Forbidden: bot can't send messages to bots", SendRejected, "peer is a bot"),
    ("send", 403, "Forbidden: a new reason", SendRejected, "forbidden"),
    ("own", 403, "Forbidden: a new reason", NeedsOperator, "forbidden"),
    ("send", 400, "Bad Request: can't parse entities: Unclosed start tag at byte offset 3", SendRejected, "markup"),
    ("send", 400, "Bad Request: ENTITY_BOUNDS_INVALID", SendRejected, "markup"),
    ("send", 400, "Bad Request: entity URL '/x' is invalid: URL host is empty", SendRejected, "markup"),
    ("send", 400, "Bad Request: unsupported parse_mode", SendRejected, "markup"),
    ("send", 400, "Bad Request: Wrong HTTP URL specified", SendRejected, "markup"),
    ("send", 400, "Bad Request: message is too long", SendRejected, "too long"),
    ("send", 400, "Bad Request: MESSAGE_TOO_LONG", SendRejected, "too long"),
    ("send", 400, "Bad Request: BUTTON_DATA_INVALID", SendRejected, "buttons"),
    ("send", 400, "Bad Request: object expected as reply markup", SendRejected, "buttons"),
    ("send", 400, "Bad Request: REPLY_MARKUP_INVALID", SendRejected, "buttons"),
    ("send", 400, "Bad Request: can't parse reply keyboard markup JSON object", SendRejected, "buttons"),
    ("send", 400, "Bad Request: message to be replied not found", SendRejected, "reply gone"),
    ("send", 400, "Bad Request: reply message not found", SendRejected, "reply gone"),
    ("send", 400, "Bad Request: REPLY_MESSAGE_ID_INVALID", SendRejected, "reply gone"),
    ("send", 400, "Bad Request: message text is empty", SendRejected, "empty"),
    ("send", 400, "Bad Request: text must be non-empty", SendRejected, "empty"),
    ("send", 400, "Bad Request: group chat was upgraded to a supergroup chat", SendRejected, "migrated"),
    ("send", 400, "Bad Request: chat not found", SendRejected, "chat not found"),
    ("send", 400, "Bad Request: message to edit not found", SendRejected, "message gone"),
    ("send", 400, "Bad Request: MESSAGE_ID_INVALID", SendRejected, "message gone"),
    ("send", 400, "Bad Request: message can't be edited", SendRejected, "not editable"),
    ("send", 400, "Bad Request: reply markup is too long", SendRejected, "too long"),
    ("send", 400, "Bad Request: message thread not found", SendRejected, "topic gone"),
    ("send", 400, "Bad Request: TOPIC_CLOSED", SendRejected, "topic gone"),
    ("send", 400, "Bad Request: not enough rights to send text messages to the chat", SendRejected, "no right to write"),
    ("send", 400, "Bad Request: CHAT_WRITE_FORBIDDEN", SendRejected, "no right to write"),
    ("send", 400, "Bad Request: a new reason", SendRejected, "bad request"),
    (
        "own",
        400,
        "Bad Request: bad webhook: Failed to resolve host: Name or service not known",
        TryAgain,
        "Telegram cannot resolve",
    ),
    ("own", 400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook", NeedsOperator, "bad request"),
    ("fetch", 400, "Bad Request: file is too big", SendRejected, "too large"),
    ("fetch", 400, "Bad Request: wrong file_id or the file is temporarily unavailable", SendRejected, "gone"),
    ("send", 413, "Request Entity Too Large", SendRejected, "too long"),
    ("send", 500, "Internal Server Error: restart", OutcomeUnknown, "the Bot API server stopped"),
    ("send", 500, "Internal Server Error", TryAgain, "Telegram failed"),
    ("own", 500, "Internal Server Error: restart", TryAgain, "Telegram failed"),
    ("send", 503, "Service Unavailable", TryAgain, "Telegram is not available"),
    ("send", 502, "Bad Gateway", OutcomeUnknown, "a proxy got no answer"),
    ("send", 504, "Gateway Timeout", OutcomeUnknown, "a proxy got no answer"),
    ("own", 502, "Bad Gateway", TryAgain, "a proxy got no answer"),
    ("send", 418, "", SendRejected, "refused"),
    ("own", 418, "", NeedsOperator, "refused"),
    ("send", 200, "", OutcomeUnknown, "not an answer of the Bot API"),
    ("own", 200, "", TryAgain, "not an answer of the Bot API"),
]


@pytest.mark.parametrize(("purpose", "code", "description", "kind", "name"), SAID)
def test_each_error_answer_has_its_kind(
    purpose: Purpose, code: int, description: str, kind: type[GatewayError], name: str
) -> None:
    error = gateway_error(ApiError("someMethod", code, description), purpose)
    assert type(error) is kind
    assert error.reason.startswith(name)
    assert f"someMethod answered {code} {description}".rstrip() in error.reason


def test_what_telegram_may_say_for_minutes_is_looked_at_again_and_a_wrong_setting_is_not() -> None:
    def looks_again(code: int, words: str) -> bool:
        error = gateway_error(ApiError("getMe", code, words), "own")
        return isinstance(error, NeedsOperator) and error.retries_slowly

    assert all(looks_again(code, "Logged out") for code in (400, 401, 403, 404, 421))
    assert not looks_again(301, "")


def test_every_row_of_the_table_is_reached() -> None:
    reached = {find_row(ApiError("m", code, description), purpose) for purpose, code, description, _, _ in SAID}
    assert reached == set(TABLE)


PURPOSES: tuple[Purpose, ...] = ("send", "own", "fetch")


@pytest.mark.parametrize(
    ("purpose", "allowed"),
    [
        ("send", (TryAgain, NeedsOperator, SendRejected, OutcomeUnknown)),
        ("own", (TryAgain, NeedsOperator)),
        ("fetch", (TryAgain, NeedsOperator, SendRejected)),
    ],
)
def test_any_code_has_a_cure_that_fits_its_purpose(purpose: Purpose, allowed: tuple[type[GatewayError], ...]) -> None:
    for code in range(1000):
        for by_telegram in (True, False):
            assert isinstance(gateway_error(ApiError("m", code, "new words", by_telegram=by_telegram), purpose), allowed)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 407])
def test_a_page_of_somebody_in_between_parks_and_kills_nothing(code: int) -> None:
    for purpose in PURPOSES:
        error = gateway_error(ApiError("m", code, by_telegram=False), purpose)
        assert type(error) is TryAgain
        assert error.reason.startswith("something between us and the Bot API refused")


def test_a_rate_limit_is_honoured() -> None:
    error = ApiError("sendMessage", 429, "Too Many Requests: retry after 149", retry_after_seconds=149.0)
    send, own = gateway_error(error, "send"), gateway_error(error, "own")
    assert isinstance(send, TryAgain)
    assert isinstance(own, TryAgain)
    assert (send.after_seconds, send.scope) == (149.0, "conversation")
    assert (own.after_seconds, own.scope) == (149.0, "account")


@pytest.mark.parametrize("code", [409, 429, 500, 503])
def test_what_is_said_of_one_message_holds_up_one_conversation(code: int) -> None:
    for purpose, scope in (("send", "conversation"), ("own", "account"), ("fetch", "account")):
        error = gateway_error(ApiError("m", code), purpose)  # type: ignore[arg-type]
        assert isinstance(error, TryAgain)
        assert error.scope == scope
