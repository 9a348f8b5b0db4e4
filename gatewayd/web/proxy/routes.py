"""The operator's proxy: clients attach to the server of an agent through gatewayd.

The proxy of the agent's kind of core (ports/proxy.py) names the paths and decides what is forwarded. These routes authenticate
the client, choose the agent and forward the request.
"""

from collections.abc import Mapping

from quart import Blueprint, Response, request

from gatewayd.hub.gateway import Gateway
from gatewayd.ports.agent import AgentCore
from gatewayd.ports.proxy import AGENT_PARAMETER, AgentProxy, Forward, Operation, ProxyError, ProxyReply, ProxyRequest
from gatewayd.web.access.auth import Auth, Identity
from gatewayd.web.http.bodies import read_json_bytes, require_ready
from gatewayd.web.http.errors import HttpError
from gatewayd.web.http.waits import Waits
from gatewayd.web.proxy.desk import Desk
from gatewayd.web.proxy.forward import Forwarder

AGENT_HEADER = "X-Gatewayd-Agent"


def blueprint(gateway: Gateway, auth: Auth, waits: Waits, proxies: Mapping[str, AgentProxy]) -> Blueprint:
    """The routes of agent servers; all need the scopes approvals and write, by Bearer or Basic.

    ``proxies`` are by the kind of core that offers them. Of two with the same path, the first one gets its requests.
    """
    routes, forwarder = Blueprint("proxy", __name__), Forwarder(gateway.agents.http, waits)
    for number, proxy in enumerate(dict.fromkeys(proxies.values())):
        kinds = frozenset(kind for kind, offered in proxies.items() if offered is proxy)
        mounted = _Mounted(gateway, auth, forwarder, proxy, kinds)
        for path, methods in proxy.routes.items():
            routes.add_url_rule(path, f"{number}:{path}", mounted.serve, methods=methods)
    return routes


class _Mounted:
    """The handler of one proxy's routes, for the agents whose core is of these kinds."""

    def __init__(self, gateway: Gateway, auth: Auth, forwarder: Forwarder, proxy: AgentProxy, kinds: frozenset[str]) -> None:
        self._gateway = gateway
        self._auth = auth
        self._forwarder = forwarder
        self._proxy = proxy
        self._kinds = kinds

    async def serve(self, **_: str) -> Response:
        identity, user = await self._auth.require_client("approvals", "write")
        try:
            return await self._answer(identity, user)
        except ProxyError as error:
            raise HttpError(error.code, error.message) from None

    async def _answer(self, identity: Identity, user: str | None) -> Response:
        operation = self._proxy.find(request.method, request.scope["raw_path"])
        if operation.admin:
            identity.require("admin")
        outcome = await self._decide(operation, identity, user)
        if isinstance(outcome, ProxyReply):
            return Response(outcome.body, status=outcome.status, content_type="application/json")
        authorization = self._auth.stream_authorization("approvals", "write")
        return await self._forwarder.forward(self._proxy, request.method, outcome, authorization=authorization)

    async def _decide(self, operation: Operation, identity: Identity, user: str | None) -> Forward | ProxyReply:
        agent = self._choose(user)
        core = self._core_of(agent)
        headers = {name: request.headers[name] for name in self._proxy.request_headers if name in request.headers}
        asked = ProxyRequest(request.method, request.query_string, headers, await self._body())
        return await operation.decide(asked, Desk(self._gateway, identity, agent, core))

    async def _body(self) -> bytes:
        if request.method == "GET":
            return b""
        require_ready(self._gateway)
        return await read_json_bytes()

    def _choose(self, user: str | None) -> str:
        """The named agent (header, query, or user name of Basic), else the only one that has a server.

        :raises HttpError: not_found, conflict when there are several.
        """
        kinds = {status.agent: status.core for status in self._gateway.agents.snapshot()}
        named = request.headers.get(AGENT_HEADER) or request.args.get(AGENT_PARAMETER) or (user if user in kinds else None)
        if named is None:
            return self._only([agent for agent, kind in kinds.items() if kind in self._kinds])
        if named not in kinds:
            raise HttpError("not_found", f"there is no agent {named[:100]!r}: name one of {', '.join(kinds)}")
        if kinds[named] not in self._kinds:
            raise HttpError("conflict", f"agent {named} has no server of the {self._proxy.protocol} protocol: name another agent")
        return named

    def _only(self, possible: list[str]) -> str:
        """An agent that is not open counts: a client must not get another agent while its own restarts."""
        if not possible:
            raise HttpError("not_found", f"no agent has a server of the {self._proxy.protocol} protocol: see gatewayctl agents")
        if len(possible) > 1:
            several = ", ".join(possible)
            raise HttpError(
                "conflict", f"several agents have a server: name one ({several}) by {AGENT_HEADER}, ?agent= or as user"
            )
        return possible[0]

    def _core_of(self, agent: str) -> AgentCore:
        core = self._gateway.agents.open_core(agent)
        if core is None:
            reason = self._gateway.agents.status(agent).reason
            why = f": {reason}" if reason else ""
            raise HttpError("unavailable", f"agent {agent} is not open{why}: try again later")
        return core
