"""One request of a client with its server, and the checks for a running turn."""

from collections.abc import Mapping

from msgspec import Struct

from gatewayd.agents.opencode.proxy import allowlist
from gatewayd.agents.opencode.proxy.allowlist import Operation
from gatewayd.agents.opencode.proxy.upstream import DEEPEST, Upstream
from gatewayd.agents.opencode.server.endpoint import HasEndpoint, ServerEndpoint, endpoint_of, has_endpoint, turn_in
from gatewayd.ports.proxy import ProxyDesk, ProxyError, ProxyRequest

DIRECTORY_HEADER = "X-Opencode-Directory"


class ClientRequest(Struct, frozen=True):
    """``query`` is as it is forwarded."""

    operation: Operation
    desk: ProxyDesk
    core: HasEndpoint
    endpoint: ServerEndpoint
    query: bytes
    headers: Mapping[str, str]
    body: bytes

    @property
    def target(self) -> bytes:
        """The target of the request line."""
        path = self.operation.path.encode("ascii")
        return path + b"?" + self.query if self.query else path

    @property
    def upstream(self) -> Upstream:
        return Upstream(self.desk.http, self.endpoint, self.query, self.headers)

    async def check_no_turn(self, session: str | None) -> None:
        """:raises ProxyError: a turn runs in that session, or in a parent of it; or in any, if the session is not known."""
        if self.desk.agent not in self.desk.busy():
            return
        for _ in range(DEEPEST):
            if session is None or turn_in(self.core, session) is not None:
                raise turn_runs_error()
            parent = await self.upstream.parent(session)
            if parent is None:
                return
            session = parent
        raise turn_runs_error()

    def check_only_run(self) -> None:
        """:raises ProxyError: a turn runs on the server, and the server would mix up the requests of two runs."""
        if not self.endpoint.one_run_at_a_time:
            return
        for agent, core in self.desk.busy().items():
            one: object = core
            if has_endpoint(one) and endpoint_of(one).url == self.endpoint.url:
                raise ProxyError(
                    "conflict",
                    f"a turn of agent {agent} runs on this server, which cannot tell the requests of two runs apart:"
                    " wait for its end",
                )


async def read(operation: Operation, request: ProxyRequest, desk: ProxyDesk) -> ClientRequest:
    """The request with its server. :raises ProxyError: it cannot be forwarded to that server."""
    core: object = desk.core
    if not has_endpoint(core):
        raise ProxyError("conflict", f"agent {desk.agent} has no server of the OpenCode protocol")
    endpoint = endpoint_of(core)
    passed = allowlist.forwarded_query(request.query)
    named = {*passed.directories, *allowlist.directory_of_header(request.headers.get(DIRECTORY_HEADER))}
    own, query = endpoint.directory, passed.query
    if not named and own is not None:
        query = allowlist.with_directory(query, own)
    headers = dict(request.headers) | ({} if request.method == "GET" else {"Content-Type": "application/json"})
    client_request = ClientRequest(operation, desk, core, endpoint, query, headers, request.body)
    # In another directory other settings may hold, and other files are read: this needs the scope 'admin'.
    if named and not desk.is_admin and not named <= {own, await client_request.upstream.directory()}:
        raise ProxyError("forbidden", "another directory than the agent's own needs the scope 'admin'")
    return client_request


def turn_runs_error() -> ProxyError:
    return ProxyError(
        "conflict", "a turn of gatewayd runs in this session: wait for its end, or answer it with gatewayctl approvals"
    )
