"""``GET /v1/channels`` and ``POST /v1/channels/{channel}/start|stop|restart``."""

from collections.abc import Awaitable, Callable

from quart import Blueprint, Response

from gatewayd.hub.gateway import Gateway
from gatewayd.model.operator_api import AccountList, ChooseAccounts
from gatewayd.model.status import AccountStatus
from gatewayd.web.access.auth import Auth
from gatewayd.web.access.redaction import may_see_people, redacted_account
from gatewayd.web.http.bodies import json_response, read_optional_body, read_query, require_ready
from gatewayd.web.http.errors import HttpError


def blueprint(gateway: Gateway, auth: Auth) -> Blueprint:
    routes = Blueprint("channels", __name__)
    manager = gateway.manager

    @routes.get("/v1/channels")
    async def list_accounts() -> Response:
        identity = await auth.require("read")
        shown = manager.snapshot()
        return json_response(AccountList(shown if may_see_people(identity) else tuple(map(redacted_account, shown))))

    @routes.post("/v1/channels/<channel>/start")
    async def start(channel: str) -> Response:
        return await _act("start", channel, manager.start)

    @routes.post("/v1/channels/<channel>/stop")
    async def stop(channel: str) -> Response:
        return await _act("stop", channel, manager.stop)

    @routes.post("/v1/channels/<channel>/restart")
    async def restart(channel: str) -> Response:
        return await _act("restart", channel, manager.restart)

    async def _act(
        verb: str, channel: str, action: Callable[[str, str | None], Awaitable[tuple[AccountStatus, ...]]]
    ) -> Response:
        identity = await auth.require("admin")
        account = await _chosen_account()
        require_ready(gateway)
        subject = channel if account is None else f"{channel}/{account}"
        async with gateway.audit.doing(identity.label, f"channels.{verb}", subject):
            return json_response(AccountList(await action(channel, account)))

    return routes


async def _chosen_account() -> str | None:
    in_query = read_query(ChooseAccounts).account_id
    body = await read_optional_body(ChooseAccounts)
    in_body = None if body is None else body.account_id
    if in_query is not None and in_body is not None and in_query != in_body:
        raise HttpError("bad_request", "account_id differs in the query and in the body: send it once")
    return in_body if in_query is None else in_query
