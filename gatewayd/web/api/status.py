"""``GET /v1/gateway/status``: the state of the daemon. ``GET /v1/gateway/route``: where a message would go."""

from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import asdict, replace
from quart import Blueprint, Response

from gatewayd.hub.gateway import Gateway
from gatewayd.hub.inbox.access import who_may_talk
from gatewayd.hub.inbox.routing import resolve_route
from gatewayd.model.config import AccountFrame
from gatewayd.model.message.envelope import InboundEnvelope, Peer, PeerKind, Sender
from gatewayd.model.message.route import Explained
from gatewayd.web.access.auth import Auth
from gatewayd.web.access.redaction import may_see_people, redacted_snapshot
from gatewayd.web.http.bodies import json_response, read_query
from gatewayd.web.http.errors import HttpError

_Text = Annotated[str, Meta(min_length=1, max_length=256)]
_KINDS: dict[str, PeerKind] = {"dm": "dm", "group": "group", "channel": "channel"}


class RouteQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``peer`` is KIND:ID; ``sender`` is a person there, to explain whether they may talk."""

    channel: _Text
    account: _Text
    peer: _Text
    thread: _Text | None = None
    guild: _Text | None = None
    team: _Text | None = None
    sender: _Text | None = None


def blueprint(gateway: Gateway, auth: Auth) -> Blueprint:
    routes = Blueprint("status", __name__)

    @routes.get("/v1/gateway/status")
    async def status() -> Response:
        identity = await auth.require("read")
        snapshot = gateway.snapshot()
        return json_response(snapshot if may_see_people(identity) else redacted_snapshot(snapshot))

    @routes.get("/v1/gateway/route")
    async def route() -> Response:
        await auth.require_operator("read")
        query = read_query(RouteQuery)
        actor = gateway.manager.account(query.channel, query.account)
        return json_response(_explained(query, gateway, actor.settings.frame))

    return routes


def _explained(query: RouteQuery, gateway: Gateway, frame: AccountFrame) -> Explained:
    envelope, plugin = _envelope_of(query), gateway.configured.plugins[query.channel]
    route = resolve_route(envelope, gateway.config)
    explained = Explained(**asdict(route), who=who_may_talk(envelope, frame, plugin))
    if query.sender is None:
        return explained
    verdict = gateway.access.judge(envelope, frame, plugin)
    return replace(explained, verdict=verdict.kind, decided_by=verdict.rule, reason=verdict.reason)


def _envelope_of(query: RouteQuery) -> InboundEnvelope:
    kind, _, peer_id = query.peer.partition(":")
    if kind not in _KINDS or not peer_id:
        raise HttpError("bad_request", f"peer is {query.peer!r}: send KIND:ID with KIND one of {', '.join(_KINDS)}")
    return InboundEnvelope(
        channel=query.channel,
        account=query.account,
        event_key="",
        kind="message",
        peer=Peer(kind=_KINDS[kind], id=peer_id, thread=query.thread),
        sender=Sender(id=query.sender or peer_id),
        addressed=True,
        guild=query.guild,
        team=query.team,
    )
