"""``GET /v1/audit``: the audit log with its hash chain.

It needs the scope ``approvals``: the people who decide what agents do may see the decisions of the others. The reader checks the
chain (gatewayd/model/records/audit.py), because a compromised server could claim anything.
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
        # The head is read first: an entry that is added between the two reads then comes after it, and none is missing before it.
        head = await gateway.audit.head()
        return json_response(AuditPage(tuple(await gateway.audit.after(query.after, limit=query.limit)), head))

    return routes
