"""The proxy as the HTTP front mounts it: clients of OpenCode (and OpenAgentic) attach to an agent's server through gatewayd."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct

from gatewayd.agents.opencode.proxy import allowlist
from gatewayd.agents.opencode.proxy.answers import answer_permission, answer_question
from gatewayd.agents.opencode.proxy.client_request import DIRECTORY_HEADER, ClientRequest, read, turn_runs_error
from gatewayd.agents.opencode.server.endpoint import turn_in
from gatewayd.model.records.approval import ToolRequest
from gatewayd.ports.proxy import AgentProxy, Forward, ProxyDesk, ProxyError, ProxyReply, ProxyRequest, Timeouts

SHELL_TOOL: Final = "bash"
"""OpenCode's name of the tool that runs a client's command."""
_SLASH_COMMANDS: Final = frozenset(("command", "init"))
"""Verbs that fill in a template of the project, and run the shell commands in it and in its arguments without asking."""

_ORDINARY: Final = Timeouts(head=30, whole=120, silence=30)
_A_RUN: Final = Timeouts(head=3600, whole=3600, silence=3600)
"""A prompt is answered at the end of its run, with all tools and permissions."""
_A_STREAM: Final = Timeouts(head=30, whole=float("inf"), silence=90)
"""OpenCode sends a heartbeat every 10 s, OpenAgentic every 30 s."""
_TIMEOUTS: Final = {"run": _A_RUN, "stream": _A_STREAM}


class OpencodeProxy:
    """See ``AgentProxy``."""

    protocol = "OpenCode"
    routes: Mapping[str, Sequence[str]] = allowlist.ROUTES
    request_headers = ("Accept", DIRECTORY_HEADER, "Last-Event-Id")
    # Not Set-Cookie and not Access-Control-*: the server must not set them for our origin. Not Link: it has the server's address.
    reply_headers = ("content-type", "content-length", "content-encoding", "retry-after", "x-next-cursor")

    def find(self, method: str, raw_path: bytes) -> "_Found":
        return _Found(allowlist.find_operation(method, raw_path))

    def check_reply(self, status: int, content_type: str) -> None:
        if not 200 <= status < 600:
            raise _bad_gateway(f"answers with the status {status}, which is none of an answer")
        if status in (401, 403, 407):
            raise _bad_gateway("refuses gatewayd's credentials")
        if 300 <= status < 400:
            raise _bad_gateway("redirects, which is not followed")
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "text/html":
            # OpenCode's page for an unknown path, with the status 200.
            raise ProxyError("not_found", "the agent's server has nothing at this path")
        if kind not in ("", "application/json", "text/event-stream"):
            raise _bad_gateway("answers with something that is not of its protocol")


PROXY: Final[AgentProxy] = OpencodeProxy()


class _Found(Struct, frozen=True):
    """See ``ports.proxy.Operation``."""

    operation: allowlist.Operation

    @property
    def admin(self) -> bool:
        return self.operation.admin

    async def decide(self, request: ProxyRequest, desk: ProxyDesk) -> Forward | ProxyReply:
        client_request = await read(self.operation, request, desk)
        match self.operation.kind:
            case "permission":
                outcome = await answer_permission(client_request)
            case "question":
                outcome = await answer_question(client_request)
            case "read" | "stream":
                outcome = b""
            case _:
                outcome = await _check_write(client_request, request.method)
        if isinstance(outcome, ProxyReply):
            return outcome
        timeouts = _TIMEOUTS.get(self.operation.kind, _ORDINARY)
        headers = {**client_request.headers, **client_request.endpoint.headers}
        return Forward(client_request.endpoint.url, client_request.target, headers, outcome, timeouts)


async def _check_write(client_request: ClientRequest, method: str) -> bytes:
    """The body to forward, after it was recorded. :raises ProxyError: it allows tools, or a turn runs in the session."""
    operation, desk = client_request.operation, client_request.desk
    body = allowlist.check_body(client_request.body, admin=desk.is_admin)
    guarded = operation.kind in ("run", "change")
    if operation.kind == "run":
        client_request.check_only_run()
    if guarded:
        await client_request.check_no_turn(operation.session)
    if operation.kind == "run" and operation.admin:
        await desk.record(_unasked(operation.name, body), allow=True, session=operation.session or "")
    await desk.note_write(method, operation.path, size=len(body))
    if guarded and operation.session is not None and turn_in(client_request.core, operation.session) is not None:
        raise turn_runs_error()  # it has begun meanwhile
    if operation.kind == "run":
        client_request.check_only_run()
    return body


def _unasked(verb: str, body: bytes) -> ToolRequest:
    """The tool that a run of the client uses without asking. The template of a slash command is not known, so nothing in the
    body is taken for the tool's input."""
    if verb not in _SLASH_COMMANDS:
        return ToolRequest(SHELL_TOOL, body.decode())
    shown = {"slash_command": {"command": verb} if verb == "init" else Raw(body or b"{}")}
    return ToolRequest(SHELL_TOOL, msgspec.json.encode(shown).decode(), whole=False)


def _bad_gateway(what: str) -> ProxyError:
    return ProxyError("bad_gateway", f"the agent's server {what}")
