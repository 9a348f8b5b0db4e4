"""The operator's proxy: clients of OpenCode (and OpenAgentic) attach to the server of an agent through us.

It exists so that looking on and answering need no second way in, and so that no answer counts twice: a permission or question
that a turn of ours waits for is answered at our desk, as the operator whose token it is, and the turn hands the answer to the
server. Whatever else runs there belongs to the client; what is allowed there is recorded before it is passed on.
"""

from typing import Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace
from quart import Blueprint, Response, request

from gatewayd.hub.gateway import Gateway
from gatewayd.model.approval import ToolRequest
from gatewayd.ports.agent import AgentCore, HasSurface
from gatewayd.web import surface as rules
from gatewayd.web.answers import Answers, Asked, has_surface, surface_of, turn_in, turn_runs
from gatewayd.web.auth import Auth, Identity
from gatewayd.web.exchange import refuse_unless_ready
from gatewayd.web.refusal import RETRY_SECONDS, Refusal
from gatewayd.web.relay import A_RUN, A_STREAM, ORDINARY, Relay
from gatewayd.web.surface import Operation
from gatewayd.web.waits import Waits

AGENT_HEADER: Final = "X-Gatewayd-Agent"
SHELL_TOOL: Final = "bash"
"""What OpenCode calls the tool that runs the command a client gives it."""
_SLASH_COMMANDS: Final = frozenset(("command", "init"))
"""Verbs that fill in a template of the project's, and run the shell commands in it and in its arguments, unasked."""
_PATIENCE: Final = {"run": A_RUN, "stream": A_STREAM}
_PASSED_HEADERS: Final = ("Accept", "X-Opencode-Directory", "Last-Event-Id")


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
        self._answers = Answers(gateway)
        self._without_server: set[str] = set()

    async def serve(self, **_: str) -> Response:
        identity, user = await self._auth.require_client("approvals", "write")
        operation = rules.find_operation(request.method, request.scope["raw_path"])
        if operation.admin and not identity.may("admin"):
            raise Refusal("forbidden", "this token lacks the scope 'admin'")
        asked = await self._read(operation, identity, user)
        match operation.kind:
            case "permission":
                outcome = await self._answers.permission(asked)
            case "question":
                outcome = await self._answers.question(asked)
            case "read" | "stream":
                outcome = b""
            case _:
                outcome = await self._check_write(asked)
        return outcome if isinstance(outcome, Response) else await self._pass_on(asked, outcome)

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
        asked = Asked(operation, identity, agent, core, surface_of(core), passed.query, headers, body)
        named = {*passed.directories, *rules.directory_of_header(request.headers.get("X-Opencode-Directory"))}
        own = asked.surface.directory
        if not named:
            return asked if own is None else replace(asked, query=rules.with_directory(passed.query, own))
        # Elsewhere other settings may hold, and other files are read: that is for who may do everything.
        if not identity.may("admin") and not named <= {own, await self._answers.upstream(asked).directory()}:
            raise Refusal("forbidden", "another directory than the agent's own needs the scope 'admin'")
        return asked

    def _choose(self, user: str | None) -> tuple[str, HasSurface]:
        """The agent that is named (header, query, or user name of Basic), else the only one that has a server.

        :raises Refusal: not_found, conflict when there are several, unavailable while its core is not open.
        """
        kinds = {status.agent: status.core for status in self._gateway.agents.snapshot()}
        cores = {name: self._gateway.agents.open_core(name) for name in kinds}
        self._without_server |= {kinds[name] for name, core in cores.items() if core is not None and not has_surface(core)}
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

    async def _check_write(self, asked: Asked) -> bytes:
        """The body to pass on, after it was recorded. :raises Refusal: it allows something, or a turn of ours runs there."""
        operation = asked.operation
        body = rules.check_body(asked.body, admin=asked.identity.may("admin"))
        guarded = operation.kind in ("run", "change")
        if operation.kind == "run":
            self._answers.refuse_second_run(asked)
        if guarded:
            await self._answers.refuse_during_turn(asked, operation.session)
        if operation.kind == "run" and operation.admin:
            whole = operation.name not in _SLASH_COMMANDS
            await self._answers.record(asked, _unasked(operation.name, body), allows=True, whole=whole)
        action = f"proxy.{request.method.lower()}"
        await self._gateway.audit.record(asked.identity.label, action, asked.agent + operation.path, bytes=len(body))
        if guarded and operation.session is not None and turn_in(asked.core, operation.session) is not None:
            raise turn_runs()  # it has begun meanwhile
        if operation.kind == "run":
            self._answers.refuse_second_run(asked)
        return body

    async def _pass_on(self, asked: Asked, body: bytes) -> Response:
        patience = _PATIENCE.get(asked.operation.kind, ORDINARY)
        return await self._relay.forward(
            asked.surface,
            request.method,
            asked.target,
            headers=asked.headers,
            body=body,
            patience=patience,
            admission=self._auth.admission("approvals", "write"),
        )


def _unasked(verb: str, body: bytes) -> ToolRequest:
    """What a run of the client's own does without asking, as the tool that does it. What is in a slash command's template is
    not known, so nothing in its body is taken for the tool's input."""
    if verb not in _SLASH_COMMANDS:
        return ToolRequest(SHELL_TOOL, body.decode())
    shown = {"slash_command": {"command": verb} if verb == "init" else Raw(body or b"{}")}
    return ToolRequest(SHELL_TOOL, msgspec.json.encode(shown).decode())


def _server_of(agent: str, core: AgentCore | None, reason: str | None) -> HasSurface:
    if core is None:
        why = f": {reason}" if reason else ""
        raise Refusal("unavailable", f"agent {agent} is not open{why}", retry_after=RETRY_SECONDS)
    if not has_surface(core):
        raise Refusal("conflict", f"agent {agent} has no server of the OpenCode protocol")
    return core
