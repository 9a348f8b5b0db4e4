"""``/v1/approvals``: the tool requests that wait for an operator. All of it needs the scope ``approvals``, reading too: a request
shows the exact input of the tool."""

from typing import Annotated, Literal

from msgspec import Meta, Struct
from quart import Blueprint, Response

from gatewayd.hub.gateway import Gateway
from gatewayd.model.lifecycle import ApprovalState
from gatewayd.model.operator_api import ApprovalList, DecideApproval
from gatewayd.web.access.auth import Auth
from gatewayd.web.http.bodies import json_response, read_body, read_query
from gatewayd.web.http.waits import Waits


class ListQuery(Struct, frozen=True, forbid_unknown_fields=True):
    state: ApprovalState | Literal["all"] = "pending"
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class WaitQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``wait``: how many seconds to wait for the decision."""

    wait: Annotated[float, Meta(ge=0, le=120)] = 0


def blueprint(gateway: Gateway, auth: Auth, waits: Waits) -> Blueprint:
    routes = Blueprint("approvals", __name__)
    desk = gateway.approvals

    @routes.get("/v1/approvals")
    async def list_approvals() -> Response:
        await auth.require("approvals")
        query = read_query(ListQuery)
        state = None if query.state == "all" else query.state
        return json_response(ApprovalList(tuple(await desk.list(state, limit=query.limit))))

    @routes.get("/v1/approvals/<approval_id>")
    async def show(approval_id: str) -> Response:
        await auth.require("approvals")
        seconds = read_query(WaitQuery).wait
        approval = await desk.get(approval_id)
        if seconds and approval.state == "pending":
            with waits.of_request(seconds):
                approval = await desk.wait_decided(approval.id)
        return json_response(approval)

    @routes.post("/v1/approvals/<approval_id>")
    async def decide(approval_id: str) -> Response:
        identity = await auth.require("approvals")
        body = await read_body(DecideApproval)
        allow = body.decision == "allow"
        decided = await desk.decide(approval_id, allow=allow, by=identity.label, note=body.note, scope=body.scope)
        return json_response(decided)

    return routes
