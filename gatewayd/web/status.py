"""``GET /v1/gateway/status`` and ``GET /v1/gateway/route``: what is, and what would be."""

from typing import Annotated

from msgspec import Meta, Struct
from quart import Blueprint, Response

from gatewayd.hub.gateway import Gateway
from gatewayd.hub.routing import resolve_route
from gatewayd.model.envelope import InboundEnvelope, Peer, PeerKind, Sender
from gatewayd.web.auth import Auth
from gatewayd.web.exchange import answer, read_query
from gatewayd.web.refusal import Refusal

_Text = Annotated[str, Meta(min_length=1, max_length=256)]
_KINDS: dict[str, PeerKind] = {"dm": "dm", "group": "group", "channel": "channel"}


class RouteQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``peer`` is KIND:ID."""

    channel: _Text
    account: _Text
    peer: _Text
    thread: _Text | None = None
    guild: _Text | None = None
    team: _Text | None = None


def blueprint(gateway: Gateway, auth: Auth) -> Blueprint:
    routes = Blueprint("status", __name__)

    @routes.get("/v1/gateway/status")
    async def status() -> Response:
        await auth.require("read")
        return answer(gateway.snapshot())

    @routes.get("/v1/gateway/route")
    async def route() -> Response:
        await auth.require("read")
        query = read_query(RouteQuery)
        gateway.manager.account(query.channel, query.account)
        return answer(resolve_route(_envelope_of(query), gateway.config))

    return routes


def _envelope_of(query: RouteQuery) -> InboundEnvelope:
    kind, _, peer_id = query.peer.partition(":")
    if kind not in _KINDS or not peer_id:
        raise Refusal("bad_request", f"peer is KIND:ID with KIND one of {', '.join(_KINDS)}; found {query.peer!r}")
    return InboundEnvelope(
        channel=query.channel,
        account=query.account,
        event_key="",
        kind="message",
        peer=Peer(kind=_KINDS[kind], id=peer_id, thread=query.thread),
        sender=Sender(id=peer_id),
        guild=query.guild,
        team=query.team,
    )
