"""Driving the fake from another process: ``POST /control/<method of FakeBotApi>`` with the arguments as a JSON object.

``{"token": "…"}`` among the arguments picks a bot, else it is the first. ``where`` (a JSON object that must be part of the
parameters) stands for ``when``. The answer is ``{"result": …}`` or, with status 400, ``{"error": "…"}``.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from tests.fakes.bot_api.api import FakeBotApi
from tests.fakes.bot_api.errors import Json
from tests.fakes.bot_api.faults import When
from tests.fakes.bot_api.http_server import Request, Response

DOABLE = frozenset(
    {
        "add_bot",
        "add_chat",
        "add_update",
        "redeliver",
        "user_sends",
        "user_edits",
        "user_sends_photo",
        "user_presses",
        "user_presses_button",
        "channel_posts",
        "member_changes",
        "group_upgrades",
        "unknown_update",
        "fail_next",
        "drop_next",
        "delay_next",
        "hang_next",
        "garble_next",
        "behave",
        "calls",
        "wait_call",
        "clear_calls",
        "texts",
        "wait_texts",
        "wait_text",
        "buttons",
        "wait_buttons",
        "answer_to",
        "wait_answer",
        "wait_delivered",
        "wait_webhook",
        "route_webhooks",
        "revoke_token",
        "post_update",
    }
)


def control_of(api: FakeBotApi) -> Callable[[Request], Awaitable[Response]]:
    """The HTTP handler for ``/control/…``."""

    async def control(request: Request) -> Response:
        name = request.path.removeprefix("/control/")
        try:
            arguments = msgspec.json.decode(request.body or b"{}", type=Json)
            result = await _do(api, name, arguments)
            return Response(200, msgspec.json.encode({"result": result}))
        except (msgspec.DecodeError, TypeError, KeyError, ValueError, ConnectionError) as error:
            return Response(400, msgspec.json.encode({"error": f"{name}: {error!r}"}))

    return control


async def _do(api: FakeBotApi, name: str, arguments: Json) -> Any:
    if name == "violations":
        return api.violations
    if name not in DOABLE:
        raise ValueError("not something the fake can do")
    if name == "add_bot":
        return api.add_bot(**arguments).token
    if "token" in arguments:
        api = api.add_bot(arguments.pop("token"))
    if "where" in arguments:
        arguments["when"] = _includes(arguments.pop("where"))
    result = getattr(api, name)(**arguments)
    if inspect.isawaitable(result):
        result = await result
    return result if name != "add_chat" else None


def _includes(wanted: Json) -> When:
    return lambda params: all(params.get(key) == value for key, value in wanted.items())
