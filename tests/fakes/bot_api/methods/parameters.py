"""The Bot API's own parameter list of every method the fake knows, and the check of each request against it.

Source: core.telegram.org/bots/api, Bot API 10.3 (August 2026), one entry per method, the types in that page's words.
``tests/fakes/test_bot_api_processes.py`` compares this table with the one in a real client library.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from tests.fakes.bot_api.body import Arguments
from tests.fakes.bot_api.errors import Json
from tests.fakes.bot_api.methods.keyboards import violations_in

ParameterType = Literal[
    "Integer", "String", "Boolean", "Array", "Object", "Integer or String", "InputFile", "InputFile or String"
]


class Method(Struct):
    """Parameters by name. Nothing else may be sent."""

    required: dict[str, ParameterType]
    optional: dict[str, ParameterType]

    def type_of(self, name: str) -> ParameterType | None:
        return self.required.get(name) or self.optional.get(name)


_SENDING: dict[str, ParameterType] = {
    "business_connection_id": "String",
    "message_thread_id": "Integer",
    "direct_messages_topic_id": "Integer",
    "disable_notification": "Boolean",
    "protect_content": "Boolean",
    "allow_paid_broadcast": "Boolean",
    "message_effect_id": "String",
    "suggested_post_parameters": "Object",
    "reply_parameters": "Object",
    "reply_markup": "Object",
    "ephemeral_message_parameters": "Object",
}
_CAPTION: dict[str, ParameterType] = {"caption": "String", "parse_mode": "String", "caption_entities": "Array"}
_THUMBNAIL: dict[str, ParameterType] = {"thumbnail": "InputFile"}
_TEXT: dict[str, ParameterType] = {"parse_mode": "String", "entities": "Array", "link_preview_options": "Object"}
_CHAT: dict[str, ParameterType] = {"chat_id": "Integer or String"}
_SCOPE: dict[str, ParameterType] = {"scope": "Object", "language_code": "String"}

METHODS: dict[str, Method] = {
    "getMe": Method({}, {}),
    "logOut": Method({}, {}),
    "close": Method({}, {}),
    "getUpdates": Method({}, {"offset": "Integer", "limit": "Integer", "timeout": "Integer", "allowed_updates": "Array"}),
    "setWebhook": Method(
        {"url": "String"},
        {
            "certificate": "InputFile",
            "ip_address": "String",
            "max_connections": "Integer",
            "allowed_updates": "Array",
            "drop_pending_updates": "Boolean",
            "secret_token": "String",
        },
    ),
    "deleteWebhook": Method({}, {"drop_pending_updates": "Boolean"}),
    "getWebhookInfo": Method({}, {}),
    "sendMessage": Method({**_CHAT, "text": "String"}, {**_TEXT, **_SENDING}),
    "sendPhoto": Method(
        {**_CHAT, "photo": "InputFile or String"},
        {**_CAPTION, **_SENDING, "show_caption_above_media": "Boolean", "has_spoiler": "Boolean"},
    ),
    "sendDocument": Method(
        {**_CHAT, "document": "InputFile or String"},
        {**_CAPTION, **_SENDING, **_THUMBNAIL, "disable_content_type_detection": "Boolean"},
    ),
    "sendVoice": Method({**_CHAT, "voice": "InputFile or String"}, {**_CAPTION, **_SENDING, "duration": "Integer"}),
    "sendMessageDraft": Method(
        {"chat_id": "Integer", "draft_id": "Integer"},
        {
            "message_thread_id": "Integer",
            "text": "String",
            "parse_mode": "String",
            "entities": "Array",
            "can_stop": "Boolean",
            "keep_on_stop": "Boolean",
        },
    ),
    "sendChatAction": Method({**_CHAT, "action": "String"}, {"business_connection_id": "String", "message_thread_id": "Integer"}),
    "setMessageReaction": Method({**_CHAT, "message_id": "Integer"}, {"reaction": "Array", "is_big": "Boolean"}),
    "editMessageText": Method(
        {},
        {
            **_CHAT,
            **_TEXT,
            "text": "String",
            "rich_message": "Object",
            "business_connection_id": "String",
            "message_id": "Integer",
            "inline_message_id": "String",
            "reply_markup": "Object",
        },
    ),
    "editMessageReplyMarkup": Method(
        {},
        {
            **_CHAT,
            "business_connection_id": "String",
            "message_id": "Integer",
            "inline_message_id": "String",
            "reply_markup": "Object",
        },
    ),
    "deleteMessage": Method({**_CHAT, "message_id": "Integer"}, {}),
    "answerCallbackQuery": Method(
        {"callback_query_id": "String"},
        {"text": "String", "show_alert": "Boolean", "url": "String", "cache_time": "Integer"},
    ),
    "getFile": Method({"file_id": "String"}, {}),
    "getChat": Method(_CHAT, {}),
    "leaveChat": Method(_CHAT, {}),
    "setMyCommands": Method({"commands": "Array"}, _SCOPE),
    "getMyCommands": Method({}, _SCOPE),
    "deleteMyCommands": Method({}, _SCOPE),
}
CANONICAL_NAMES = {name.lower(): name for name in METHODS}
"""Method names are case-insensitive (core.telegram.org/bots/api#making-requests)."""


class _Mismatch(Exception):
    pass


def check_arguments(method: str, arguments: Arguments) -> tuple[Json, list[str]]:
    """The parameters as Python values, and every violation of the method's parameter list in words.

    A parameter that is unknown or of the wrong type is left out, as the real server overlooks it.
    """
    described = METHODS[method]
    values: Json = {}
    violations = [f"{method}: {name} is missing" for name in described.required if not _has(arguments, name)]
    for name, raw in arguments.values.items():
        kind = described.type_of(name)
        if kind is None:
            violations.append(f"{method}: {name} is not a parameter of this method")
            continue
        try:
            values[name] = _typed(kind, raw) if arguments.typed else _untyped(kind, raw)
        except _Mismatch:
            violations.append(f"{method}: {name} is not {kind}: {raw!r:.80}")
    violations += [f"{method}: {violation}" for violation in violations_in(values.get("reply_markup", {}))]
    for name, upload in arguments.uploads.items():
        kind = described.type_of(name)
        if kind is None or not kind.startswith("InputFile"):
            violations.append(f"{method}: {name} is not a file parameter of this method")
        else:
            values[name] = upload
    return values, violations


def _has(arguments: Arguments, name: str) -> bool:
    return name in arguments.values or name in arguments.uploads


def _typed(kind: ParameterType, raw: Any) -> Any:
    """A value from a JSON body. Array and Object may be JSON-serialized once more, as in a form."""
    match kind, raw:
        case ("Boolean", bool()) | ("String" | "Integer or String" | "InputFile or String", str()):
            return raw
        case ("Integer" | "Integer or String", int()) if not isinstance(raw, bool):
            return raw
        case ("Array", list()) | ("Object", dict()):
            return raw
        case ("Array" | "Object", str()):
            return _untyped(kind, raw)
        case _:
            raise _Mismatch


def _untyped(kind: ParameterType, raw: str) -> Any:
    """A value from a form, where everything is text."""
    match kind:
        case "Integer":
            return _integer(raw)
        case "Boolean":
            if raw.strip().lower() not in {"true", "false", "yes", "no", "1", "0"}:
                raise _Mismatch
            return raw.strip().lower() in {"true", "yes", "1"}
        case "Integer or String":
            return raw if raw.startswith("@") else _integer(raw)
        case "Array":
            return _json(raw, list)
        case "Object":
            return _json(raw, dict)
        case "InputFile":
            raise _Mismatch
        case _:
            return raw


def _integer(raw: str) -> int:
    try:
        return int(raw)
    except ValueError:
        raise _Mismatch from None


def _json(raw: str, kind: type) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise _Mismatch from None
