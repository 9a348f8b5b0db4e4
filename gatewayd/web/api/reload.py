"""``POST /v1/gateway/reload``: read the configuration again and apply the changes."""

from collections.abc import Awaitable, Callable

from quart import Blueprint, Response

from gatewayd.model.errors import ConfigError
from gatewayd.model.operator_api import ConfigErrorBody, ErrorDetail, Request
from gatewayd.model.reload import ReloadReport
from gatewayd.web.access.auth import Auth
from gatewayd.web.http.bodies import json_response, read_optional_body
from gatewayd.web.http.errors import STATUS, Code

Reload = Callable[[str], Awaitable[ReloadReport]]
"""Reads the configuration and applies it in the name of this operator. Raises as ``hub.reload.Reloader.reload`` does."""

_CODE: Code = "invalid_config"


def blueprint(auth: Auth, reload_configuration: Reload) -> Blueprint:
    routes = Blueprint("reload", __name__)

    @routes.post("/v1/gateway/reload")
    async def reload() -> Response:
        identity = await auth.require("admin")
        await read_optional_body(Request)
        try:
            return json_response(await reload_configuration(identity.label))
        except ConfigError as error:
            message = "the new configuration has errors, and the old one is still in force: correct it and reload again"
            return json_response(ConfigErrorBody(ErrorDetail(_CODE, message), error.problems), STATUS[_CODE])

    return routes
