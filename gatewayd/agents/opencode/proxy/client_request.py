"""One request of a client, with the server that it is for, and what it may not do there while a turn of ours runs."""

from collections.abc import Mapping

from msgspec import Struct

from gatewayd.agents.opencode.proxy import allowlist
from gatewayd.agents.opencode.proxy.allowlist import Operation
from gatewayd.agents.opencode.proxy.upstream import DEEPEST, Upstream
from gatewayd.agents.opencode.server.endpoint import HasSurface, Surface, has_surface, surface_of, turn_in
from gatewayd.ports.proxy import ProxyDesk, ProxyError, ProxyRequest

DIRECTORY_HEADER = "X-Opencode-Directory"


class Asked(Struct, frozen=True):
    """Before it is decided what becomes of it. ``query`` is as it is passed on."""

    operation: Operation
    desk: ProxyDesk
    core: HasSurface
    surface: Surface
    query: bytes
    headers: Mapping[str, str]
    body: bytes

    @property
    def target(self) -> bytes:
        """What the request line is to say."""
        path = self.operation.path.encode("ascii")
        return path + b"?" + self.query if self.query else path

    @property
    def upstream(self) -> Upstream:
        return Upstream(self.desk.http, self.surface, self.query, self.headers)

    async def refuse_during_turn(self, session: str | None) -> None:
        """:raises ProxyError: a turn of ours runs in that session, or above it; or somewhere, if the session is not known."""
        if self.desk.agent not in self.desk.busy():
            return
        for _ in range(DEEPEST):
            if session is None or turn_in(self.core, session) is not None:
                raise turn_runs()
            parent = await self.upstream.parent(session)
            if parent is None:
                return
            session = parent
        raise turn_runs()

    def refuse_second_run(self) -> None:
        """:raises ProxyError: a turn of ours runs on a server that would take the requests of another run for its own."""
        if not self.surface.one_run_at_a_time:
            return
        for agent, core in self.desk.busy().items():
            one: object = core
            if has_surface(one) and surface_of(one).url == self.surface.url:
                raise ProxyError(
                    "conflict",
                    f"a turn of agent {agent} runs on this server, which cannot tell the requests of two runs apart:"
                    " wait for its end",
                )


async def read(operation: Operation, request: ProxyRequest, desk: ProxyDesk) -> Asked:
    """What is asked, of which server. :raises ProxyError: it cannot be passed on to that one."""
    core: object = desk.core
    if not has_surface(core):
        raise ProxyError("conflict", f"agent {desk.agent} has no server of the OpenCode protocol")
    surface = surface_of(core)
    passed = allowlist.pass_query(request.query)
    named = {*passed.directories, *allowlist.directory_of_header(request.headers.get(DIRECTORY_HEADER))}
    own, query = surface.directory, passed.query
    if not named and own is not None:
        query = allowlist.with_directory(query, own)
    headers = dict(request.headers) | ({} if request.method == "GET" else {"Content-Type": "application/json"})
    asked = Asked(operation, desk, core, surface, query, headers, request.body)
    # Elsewhere other settings may hold, and other files are read: that is for who may do everything.
    if named and not desk.is_admin and not named <= {own, await asked.upstream.directory()}:
        raise ProxyError("forbidden", "another directory than the agent's own needs the scope 'admin'")
    return asked


def turn_runs() -> ProxyError:
    return ProxyError(
        "conflict", "a turn of gatewayd runs in this session: wait for its end, or answer it with gatewayctl approvals"
    )
