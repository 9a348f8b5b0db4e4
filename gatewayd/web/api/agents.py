"""``/v1/agents``: the agent cores, looked at and restarted."""

from quart import Blueprint, Response

from gatewayd.hub.gateway import Gateway
from gatewayd.model.operator_api import AgentList, AgentReport
from gatewayd.web.access.auth import Auth
from gatewayd.web.access.redaction import may_see_people, redacted_agent
from gatewayd.web.http.bodies import json_response, require_ready


def blueprint(gateway: Gateway, auth: Auth) -> Blueprint:
    routes = Blueprint("agents", __name__)
    agents = gateway.agents

    @routes.get("/v1/agents")
    async def list_agents() -> Response:
        identity = await auth.require("read")
        shown = agents.snapshot()
        return json_response(AgentList(shown if may_see_people(identity) else tuple(map(redacted_agent, shown))))

    @routes.get("/v1/agents/<agent_id>")
    async def show(agent_id: str) -> Response:
        # admin: what a process writes when it fails can be anything, also what people have written to the agent.
        await auth.require("admin")
        return json_response(AgentReport(agents.status(agent_id), agents.output(agent_id)))

    @routes.post("/v1/agents/<agent_id>/restart")
    async def restart(agent_id: str) -> Response:
        identity = await auth.require("admin")
        require_ready(gateway)
        async with gateway.audit.doing(identity.label, "agents.restart", agent_id):
            return json_response(await agents.restart(agent_id))

    return routes
