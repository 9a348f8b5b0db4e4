"""Driving the fake from another process: ``POST /control/<method of FakeSlack>`` with the arguments as a JSON object.

``where`` (a JSON object that must be part of the arguments of a call) stands for ``when``. The answer is ``{"result": …}`` or,
with status 400, ``{"error": "…"}``. What a method returns that is no plain value, such as a Delivery, is left out.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from tests.fakes.bot_api.http_server import Request, Response
from tests.fakes.slack_platform.errors import Json, SlackError
from tests.fakes.slack_platform.faults import When
from tests.fakes.slack_platform.platform import FakeSlack

DOABLE = frozenset(
    {
        "add_user",
        "add_stranger",
        "add_bot",
        "add_channel",
        "dm",
        "group_dm",
        "archive",
        "join",
        "remove",
        "say",
        "file",
        "edit",
        "delete",
        "touch",
        "replied",
        "event",
        "assistant_thread",
        "press",
        "shortcut",
        "command",
        "messages",
        "texts",
        "ephemeral",
        "answers",
        "status",
        "calls",
        "clear_calls",
        "wait_call",
        "wait_texts",
        "wait_text",
        "wait_answers",
        "wait_delivered",
        "set_request_urls",
        "sign_with",
        "verify_request_url",
        "set_scopes",
        "remove_scope",
        "set_token_state",
        "small_pages",
        "end_stream",
        "stop_stream",
        "react",
        "integration_says",
        "fault",
        "refuse",
        "rate_limit",
        "allow",
        "unseen_file",
        "break_with",
        "delay",
        "redirect",
        "clear_faults",
        "foreign_connections",
        "disconnect",
        "refresh",
        "linger",
        "payload",
        "cut",
        "silence",
        "deafen",
        "send_garbage",
        "refuse_sockets",
        "link",
        "drop_events",
        "retry_events",
        "outcomes",
    }
)
PLAIN = (str, int, float, bool, list, dict, type(None))


def control_of(slack: FakeSlack) -> Callable[[Request], Awaitable[Response]]:
    """The HTTP handler for ``/control/…``."""

    async def control(request: Request) -> Response:
        name = request.path.removeprefix("/control/")
        try:
            result = await _do(slack, name, msgspec.json.decode(request.body or b"{}", type=Json))
            return Response(200, msgspec.json.encode({"result": result if isinstance(result, PLAIN) else None}))
        except (msgspec.DecodeError, TypeError, LookupError, ValueError, OSError, SlackError) as error:
            return Response(400, msgspec.json.encode({"error": f"{name}: {error!r}"}))

    return control


async def _do(slack: FakeSlack, name: str, arguments: Json) -> Any:
    if name == "violations":
        return slack.violations
    if name == "wait_connections":
        return len(await slack.wait_connections(**arguments))
    if name not in DOABLE:
        raise ValueError("not something the fake can do")
    if name == "file" and "content" in arguments:
        arguments["content"] = arguments["content"].encode()
    if "where" in arguments:
        arguments["when"] = _includes(arguments.pop("where"))
    if name == "group_dm":
        return slack.group_dm(*arguments["users"])
    result = getattr(slack, name)(**arguments)
    return await result if inspect.isawaitable(result) else result


def _includes(wanted: Json) -> When:
    return lambda params: all(params.get(key) == value for key, value in wanted.items())
