"""``GET /v1/messages/ID``: the trace of one message, by any of its ids. It needs the scope ``read`` and the role
operator.
"""

from typing import Final

from msgspec import Struct
from quart import Blueprint, Response

from gatewayd.hub.gateway import Gateway
from gatewayd.web.access.auth import Auth
from gatewayd.web.http.bodies import json_response, read_query
from gatewayd.web.http.errors import HttpError

LONGEST_ID: Final = 1000


class NoQuery(Struct, frozen=True):
    """No parameters."""


def blueprint(gateway: Gateway, auth: Auth) -> Blueprint:
    routes = Blueprint("messages", __name__)

    @routes.get("/v1/messages/<path:message_id>")
    async def tell(message_id: str) -> Response:
        await auth.require_operator("read")
        read_query(NoQuery)
        if len(message_id) > LONGEST_ID:
            raise HttpError("bad_request", f"this id is longer than {LONGEST_ID} characters, which no id is")
        return json_response(await gateway.tracer.trace(message_id))

    return routes
