"""The operator's proxy: clients of OpenCode (and OpenAgentic) attach to the server of an agent through us.

It exists so that looking on and answering need no second way in, and so that no answer counts twice: a permission or question
that a turn of ours waits for is answered at our desk, as the operator whose token it is, and the turn hands the answer to the
server. Whatever else runs there belongs to the client; what is allowed there is recorded before it is passed on.
"""

import secrets
from typing import Final

import msgspec
from msgspec import Struct
from quart import Blueprint, Response, request

from gatewayd.hub.approvals import hash_of
from gatewayd.hub.gateway import Gateway
from gatewayd.hub.policy import judge
from gatewayd.model.approval import Approval, ApprovalState, ToolRequest
from gatewayd.model.errors import Conflict, NotFound
from gatewayd.ports.agent import AgentCore, HasSurface, Surface
from gatewayd.web import surface as rules
from gatewayd.web.auth import Auth, Identity
from gatewayd.web.exchange import answer, refuse_unless_ready
from gatewayd.web.refusal import RETRY_SECONDS, Refusal
from gatewayd.web.relay import A_RUN, A_STREAM, ORDINARY, Relay
from gatewayd.web.surface import Operation
from gatewayd.web.upstream import DEEPEST, Listed, Upstream
from gatewayd.web.waits import Waits

AGENT_HEADER: Final = "X-Gatewayd-Agent"
SHELL_TOOL: Final = "bash"
"""What OpenCode calls the tool that runs the command a client gives it."""
_PATIENCE: Final = {"run": A_RUN, "stream": A_STREAM}
_PASSED_HEADERS: Final = ("Accept", "X-Opencode-Directory", "Last-Event-Id")


class Asked(Struct, frozen=True):
    """One request of a client, as far as it is decided what becomes of it."""

    operation: Operation
    identity: Identity
    agent: str
    core: HasSurface
    surface: Surface
    query: bytes
    headers: dict[str, str]
    body: bytes

    @property
    def target(self) -> bytes:
        path = self.operation.path.encode("ascii")
        return path + b"?" + self.query if self.query else path


def blueprint(gateway: Gateway, auth: Auth, waits: Waits) -> Blueprint:
    """The routes of agents' servers; everything needs the scopes approvals and write, by Bearer or Basic."""
    routes, proxy = Blueprint("proxy", __name__), Proxy(gateway, auth, Relay(gateway.agents.http, waits))
    for path, methods in rules.ROUTES.items():
        routes.add_url_rule(path, view_func=proxy.serve, methods=methods)
    return routes


class Proxy:
    """The handler of every route. It keeps nothing but which kinds of cores have no server behind them."""

    def __init__(self, gateway: Gateway, auth: Auth, relay: Relay) -> None:
        self._gateway = gateway
        self._auth = auth
        self._relay = relay
        self._without_server: set[str] = set()

    async def serve(self, **_: str) -> Response:
        identity, user = await self._auth.require_client("approvals", "write")
        operation = rules.find_operation(request.method, request.scope["raw_path"])
        if operation.admin and not identity.may("admin"):
            raise Refusal("forbidden", "this token lacks the scope 'admin'")
        asked = await self._read(operation, identity, user)
        match operation.kind:
            case "permission":
                return await self._answer_permission(asked)
            case "question":
                return await self._answer_question(asked)
            case "read" | "stream":
                return await self._pass_on(asked, b"")
        return await self._write(asked)

    async def _read(self, operation: Operation, identity: Identity, user: str | None) -> Asked:
        """What is asked, of which agent. :raises Refusal: it cannot be passed on to that one."""
        agent, core = self._choose(user)
        passed = rules.pass_query(request.query_string)
        headers = {name: request.headers[name] for name in _PASSED_HEADERS if name in request.headers}
        body = b""
        if request.method != "GET":
            refuse_unless_ready(self._gateway)
            body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
            if body and request.mimetype != "application/json":
                raise Refusal("unsupported_media_type", "the body must be JSON, with Content-Type: application/json")
            headers["Content-Type"] = "application/json"
        surface = core.surface()
        asked = Asked(operation, identity, agent, core, surface, passed.query, headers, body)
        named = {*passed.directories, *rules.directory_of_header(request.headers.get("X-Opencode-Directory"))}
        # Elsewhere other settings may hold, and other files are read: that is for who may do everything.
        if named and not identity.may("admin") and named != {await self._upstream(asked).directory()}:
            raise Refusal("forbidden", "another directory than the agent's own needs the scope 'admin'")
        return asked

    def _choose(self, user: str | None) -> tuple[str, HasSurface]:
        """The agent that is named (header, query, or user name of Basic), else the only one that has a server.

        :raises Refusal: not_found, conflict when there are several, unavailable while its core is not open.
        """
        kinds = {status.agent: status.core for status in self._gateway.agents.snapshot()}
        cores = {name: self._gateway.agents.open_core(name) for name in kinds}
        self._without_server |= {
            kinds[name] for name, core in cores.items() if core is not None and not isinstance(core, HasSurface)
        }
        # One that is not open counts: or a client would be handed to another agent, while its own restarts.
        possible = [name for name, kind in kinds.items() if kind not in self._without_server]
        named = request.headers.get(AGENT_HEADER) or request.args.get(rules.AGENT_PARAMETER)
        chosen = named or (user if user in kinds else None) or (possible[0] if len(possible) == 1 else None)
        if chosen is None and not possible:
            raise Refusal("not_found", "no agent here has a server of the OpenCode protocol")
        if chosen is None:
            several = ", ".join(possible)
            raise Refusal("conflict", f"several agents have a server: name one ({several}) by {AGENT_HEADER}, ?agent= or as user")
        if chosen not in kinds:
            raise Refusal("not_found", f"there is no agent {chosen[:100]!r}; there are: {', '.join(kinds)}")
        return chosen, _server_of(chosen, cores[chosen], self._gateway.agents.status(chosen).reason)

    async def _write(self, asked: Asked) -> Response:
        operation = asked.operation
        body = rules.check_body(asked.body)
        guarded = operation.kind in ("run", "change")
        if guarded:
            await self._refuse_during_turn(asked, operation.session)
        if operation.name == "shell":
            await self._record(asked, secrets.token_hex(8), ToolRequest(SHELL_TOOL, body.decode()), allows=True, note=None)
        action = f"proxy.{request.method.lower()}"
        await self._gateway.audit.record(asked.identity.label, action, asked.agent + operation.path, bytes=len(body))
        if guarded and operation.session is not None and asked.core.turn_of(operation.session) is not None:
            raise _turn_runs()  # it has begun meanwhile
        return await self._pass_on(asked, body)

    async def _answer_permission(self, asked: Asked) -> Response:
        desk, request_id = self._gateway.approvals, asked.operation.request
        assert request_id is not None
        reply = rules.read_reply(asked.body)
        ours = desk.find_pending(ref=request_id)
        if ours is not None:
            try:
                await desk.decide(ours.id, allow=reply.allows, by=asked.identity.label, note=reply.message)
            except (Conflict, NotFound):
                return _gone("Permission", request_id)
            return answer(True)
        listed = await self._find_theirs(asked, "/permission", request_id)
        if listed is None or not await self._record(asked, request_id, listed.asked, allows=reply.allows, note=reply.message):
            return _gone("Permission", request_id)
        return await self._pass_on(asked, rules.encode_reply(reply))

    async def _answer_question(self, asked: Asked) -> Response:
        desk, request_id = self._gateway.questions, asked.operation.request
        assert request_id is not None
        rejects = asked.operation.name == "reject"
        answers = () if rejects else rules.read_answers(asked.body)
        for number in range(rules.MOST_QUESTIONS):
            ours = desk.find_pending(ref=f"{request_id}:{number}")
            if ours is None:
                continue
            if len(answers) > 1 or number > 0:
                raise Refusal("conflict", "these questions are asked one after the other in a chat: answer them there")
            said = None if rejects or not answers else answers[0]
            if not await desk.decide(ours.id, said or None, by=asked.identity.label):
                return _gone("Question", request_id)
            return answer(True)
        if await self._find_theirs(asked, "/question", request_id) is None:
            return _gone("Question", request_id)
        await self._gateway.audit.record(asked.identity.label, "proxy.post", asked.agent + asked.operation.path)
        return await self._pass_on(asked, b"" if rejects else rules.check_body(asked.body))

    async def _find_theirs(self, asked: Asked, path: str, request_id: str) -> Listed | None:
        """The request, if it waits at the server and belongs to the client. :raises Refusal: a turn of ours has asked it."""
        listed = await self._upstream(asked).find_request(path, request_id)
        if listed is not None:
            await self._refuse_during_turn(asked, listed.session)
        return listed

    async def _refuse_during_turn(self, asked: Asked, session: str | None) -> None:
        """:raises Refusal: a turn of ours runs in that session, or above it; or somewhere, if the session is not known."""
        if self._gateway.agents.status(asked.agent).running == 0:
            return
        upstream = self._upstream(asked)
        for _ in range(DEEPEST):
            if session is None or asked.core.turn_of(session) is not None:
                raise _turn_runs()
            parent = await upstream.parent(session)
            if parent is None:
                return
            session = parent
        raise _turn_runs()

    async def _record(self, asked: Asked, key: str, tool: ToolRequest, *, allows: bool, note: str | None) -> bool:
        """Keep what this operator decides as a row that is used up. False: it was denied before. Allowed before is no
        obstacle: the server takes one answer, and that may not have reached it.

        :raises Refusal: forbidden: the agent's policy denies it, or wants more people than one.
        """
        policy = self._gateway.approvals.policy_of(asked.agent)
        if allows and (policy.quorum > 1 or judge(policy.rules, tool)[0] == "deny"):
            raise Refusal("forbidden", f"the policy of agent {asked.agent} does not let one person allow this")
        now = self._gateway.now()
        state: ApprovalState = "allowed" if allows else "denied"
        row = Approval(
            id="ap_" + secrets.token_hex(5),
            agent=asked.agent,
            session_key=f"proxy:{asked.agent}",
            turn_id=f"proxy:{asked.agent}:{key}",
            ordinal=0,
            tool=tool.tool,
            input=tool.input,
            input_hash=hash_of(tool),
            state=state,
            created_at=now,
            expires_at=now,
            origin="proxy",
            decided_at=now,
            decided_by=asked.identity.label,
            note=note,
            consumed_at=now if allows else None,
            session_id=asked.operation.session or "",
            asked_by=asked.identity.label,
            ref=tool.ref,
        )
        kept = await self._gateway.approvals.record(row)
        return kept.state == "allowed" or not allows

    async def _pass_on(self, asked: Asked, body: bytes) -> Response:
        patience = _PATIENCE.get(asked.operation.kind, ORDINARY)
        return await self._relay.forward(
            asked.surface, request.method, asked.target, headers=asked.headers, body=body, patience=patience
        )

    def _upstream(self, asked: Asked) -> Upstream:
        return Upstream(self._gateway.agents.http, asked.surface, asked.query, asked.headers)


def _server_of(agent: str, core: AgentCore | None, reason: str | None) -> HasSurface:
    if core is None:
        why = f": {reason}" if reason else ""
        raise Refusal("unavailable", f"agent {agent} is not open{why}", retry_after=RETRY_SECONDS)
    if not isinstance(core, HasSurface):
        raise Refusal("conflict", f"agent {agent} has no server of the OpenCode protocol")
    return core


def _turn_runs() -> Refusal:
    return Refusal(
        "conflict",
        "a turn of gatewayd runs in this session: wait for its end; its requests are answered with gatewayctl approvals",
    )


def _gone(kind: str, request_id: str) -> Response:
    """What OpenCode says of a request that does not wait (any more); OpenAgentic's clients look at the status."""
    message = f"{kind} request not found: {request_id}"
    body = {"_tag": f"{kind}NotFoundError", "requestID": request_id, "message": message}
    return Response(msgspec.json.encode(body), status=404, content_type="application/json")
