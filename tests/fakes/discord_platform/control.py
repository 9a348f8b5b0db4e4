"""Driving the fake from another process: ``POST /control/<method of FakeDiscord>`` with the arguments as a JSON object.

``gateway.<method>`` is a method of its gateway, ``get.<name>`` reads a property (``get.token``, ``get.gateway.identify_count``),
and ``set.<name>`` changes one (``set.limits.is_on``) to ``value``.
``where`` (a JSON object that must be part of the body) stands for ``when``. The answer is ``{"result": …}`` or, with status 400,
``{"error": "…"}``.
"""

import inspect
from base64 import b64decode
from collections.abc import Awaitable, Callable
from functools import reduce
from typing import Any

import msgspec

from tests.fakes.bot_api.http_server import Request, Response
from tests.fakes.discord_platform.errors import ApiError, Json
from tests.fakes.discord_platform.faults import When
from tests.fakes.discord_platform.platform import FakeDiscord

READABLE = frozenset(
    {
        "token",
        "application_id",
        "bot_id",
        "verify_key",
        "api_url",
        "gateway_url",
        "violations",
        "typing",
        "gateway.identify_count",
        "gateway.resume_count",
        "invalid.count",
        "invalid.refused",
        "session_starts.remaining",
    }
)
SETTABLE = frozenset(
    {
        "cdn.life_seconds",
        "gateway.state.needs_shards",
        "gateway.state.replay_overlap",
        "gateway.state.sessions.life_seconds",
        "limits.global_per_second",
        "invalid.limit",
        "limits.is_on",
        "session_starts.max_concurrency",
        "session_starts.total",
    }
)
HIDDEN = frozenset({"add_bot", "serve", "serve_control", "watch", "wait_until", "interaction", "hold_next"})


def control_of(discord: FakeDiscord) -> Callable[[Request], Awaitable[Response]]:
    """The HTTP handler for ``/control/…``."""

    async def control(request: Request) -> Response:
        name = request.path.removeprefix("/control/")
        try:
            arguments = msgspec.json.decode(request.body or b"{}", type=Json)
            return Response(200, msgspec.json.encode({"result": await _do(discord, name, arguments)}))
        except (msgspec.DecodeError, TypeError, LookupError, ValueError, ApiError) as error:
            return Response(400, msgspec.json.encode({"error": f"{name}: {error!r}"}))

    return control


async def _do(discord: FakeDiscord, name: str, arguments: Json) -> Any:
    if name.startswith("get."):
        path = name.removeprefix("get.")
        if path not in READABLE:
            raise ValueError("not something that can be read")
        return reduce(getattr, path.split("."), discord)
    if name.startswith("set."):
        path = name.removeprefix("set.")
        if path not in SETTABLE:
            raise ValueError("not something that can be set")
        *owners, last = path.split(".")
        setattr(reduce(getattr, owners, discord), last, arguments["value"])
        return None
    target: Any = discord
    method = name
    if name.startswith("gateway."):
        target, method = discord.gateway, name.removeprefix("gateway.")
    if method.startswith("_") or method in HIDDEN or not inspect.isroutine(getattr(target, method, None)):
        raise ValueError("not something the fake can do")
    if "where" in arguments:
        arguments["when"] = _includes(arguments.pop("where"))
    if "files" in arguments:
        arguments["files"] = [(filename, b64decode(content)) for filename, content in arguments["files"]]
    positional = arguments.pop("args", [])
    result = getattr(target, method)(*positional, **arguments)
    if inspect.isawaitable(result):
        result = await result
    return None if method == "wait_connected" else result


def _includes(wanted: Json) -> When:
    return lambda call: all(call.body.value.get(key) == value for key, value in wanted.items())
