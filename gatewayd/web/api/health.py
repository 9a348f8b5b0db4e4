"""``GET /health`` (also ``/healthz``) and ``GET /readyz``: the probes of load balancers and systemd.

``/health`` tells that the process answers; it never touches the store. ``/readyz`` is 200 when ``ready`` of the status is true:
the daemon is neither starting nor draining, the store writes, and every enabled account is connected or was stopped by an
operator (one that is starting, waiting or parked makes it 503). Both are public and name nothing; the reasons need a token with
the scope ``read``. Load balancers also use HEAD or OPTIONS, with any ``Host`` or none.
"""

from msgspec import Struct
from quart import Blueprint, Response

from gatewayd.hub.gateway import Gateway
from gatewayd.hub.operations.health import is_down
from gatewayd.model.status import AccountState, Problem
from gatewayd.web.access.auth import Auth
from gatewayd.web.http.bodies import json_response
from gatewayd.web.http.paths import PROBE_PATHS


class Health(Struct, frozen=True):
    ok: bool
    version: str
    uptime_s: float
    channels_running: int
    agentcore_mode: str


class AccountDown(Struct, frozen=True):
    channel: str
    account: str
    state: AccountState
    since: float
    reason: str | None


class Readiness(Struct, frozen=True, omit_defaults=True):
    """``problems`` and ``accounts`` (those not connected) only for a read token."""

    ready: bool
    problems: tuple[Problem, ...] | None = None
    accounts: tuple[AccountDown, ...] | None = None


def blueprint(gateway: Gateway, auth: Auth) -> Blueprint:
    routes = Blueprint("health", __name__)

    @routes.get("/health")
    @routes.get("/healthz")
    async def health() -> Response:
        return json_response(
            Health(
                ok=True,
                version=gateway.version,
                uptime_s=gateway.uptime_s,
                channels_running=sum(account.state == "connected" for account in gateway.manager.snapshot()),
                agentcore_mode=_default_core(gateway),
            )
        )

    @routes.get("/readyz")
    async def readyz() -> Response:
        identity = await auth.optional("read")
        snapshot = gateway.snapshot()
        status = 200 if snapshot.ready else 503
        if identity is None:
            return json_response(Readiness(ready=snapshot.ready), status)
        down = tuple(
            AccountDown(account.channel, account.account, account.state, account.since, account.reason)
            for account in filter(is_down, snapshot.accounts)
        )
        return json_response(Readiness(ready=snapshot.ready, problems=snapshot.problems, accounts=down), status)

    for path in PROBE_PATHS:
        routes.add_url_rule(path, f"probe {path[1:]}", readyz if path == "/readyz" else health, methods=["OPTIONS"])
    return routes


def _default_core(gateway: Gateway) -> str:
    """The kind of core of the agent that answers by default."""
    config = gateway.config
    return next(agent.frame.core for agent in config.agents if agent.agent_id == config.default_agent)
