"""``GET /v1/audit``: the log of what operators did, with the hashes that chain it.

The scope is ``approvals``: who may decide what agents do may see who decided what. The chain is for the reader to check
(gatewayd/model/records/audit.py): a server that was broken into could claim anything.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct
from quart import Blueprint, Response

from gatewayd.hub.gateway import Gateway
from gatewayd.model.operator_api import AuditPage
from gatewayd.web.access.auth import Auth
from gatewayd.web.http.bodies import json_response, read_query

MOST_ENTRIES: Final = 1000


class AuditQuery(Struct, frozen=True, forbid_unknown_fields=True):
    after: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    limit: Annotated[int, Meta(ge=1, le=MOST_ENTRIES)] = 100


def blueprint(gateway: Gateway, auth: Auth) -> Blueprint:
    routes = Blueprint("audit", __name__)

    @routes.get("/v1/audit")
    async def read() -> Response:
        await auth.require("approvals")
        query = read_query(AuditQuery)
        # The head first: entries that come between the two reads are then after it, and never missing before it.
        head = await gateway.audit.head()
        return json_response(AuditPage(tuple(await gateway.audit.after(query.after, limit=query.limit)), head))

    return routes
