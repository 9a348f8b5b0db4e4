"""``/v1/webchat/sessions`` and ``/v1/webchat/revoke``: the logins of the web chat. Both need the scope ``admin``."""

from msgspec.structs import replace
from quart import Blueprint, Response

from gatewayd.channels.webchat import PLUGIN
from gatewayd.channels.webchat.channel import WebchatChannel
from gatewayd.channels.webchat.login import count_links, end_person, end_session, list_sessions
from gatewayd.hub.gateway import Gateway
from gatewayd.model.errors import NotFound
from gatewayd.model.operator_api import RevokeWebchat, WebchatSession, WebchatSessions
from gatewayd.web.access.auth import Auth
from gatewayd.web.http.bodies import json_response, read_body
from gatewayd.web.http.errors import HttpError


def blueprint(gateway: Gateway, auth: Auth) -> Blueprint:
    routes, store = Blueprint("logins", __name__), gateway.store

    @routes.get("/v1/webchat/sessions")
    async def list_all() -> Response:
        await auth.require("admin")
        channel, now = open_channel(gateway), gateway.now()
        shown = tuple(_with_pages(session, channel) for session in await list_sessions(store, now))
        return json_response(WebchatSessions(shown, await count_links(store, now)))

    @routes.post("/v1/webchat/revoke")
    async def revoke() -> Response:
        identity = await auth.require("admin")
        body = await read_body(RevokeWebchat)
        if (body.id is None) == (body.name is None):
            raise HttpError("bad_request", "the body needs either the id of a login or a name")
        async with gateway.audit.doing(identity.label, "webchat.revoke", body.name or f"login {body.id}"):
            ended = await end(body)
            if not ended.sessions and not ended.links:
                raise NotFound(f"there is no such login: {body.id or body.name}")
        for session in ended.sessions:
            gateway.events.emit("channels.webchat.revoked", id=session.id, name=session.name, by=identity.label)
        return json_response(ended)

    async def end(body: RevokeWebchat) -> WebchatSessions:
        now = gateway.now()
        ended = await (end_session(store, body.id, now) if body.id is not None else end_person(store, body.name or "", now))
        if (channel := open_channel(gateway)) is not None:
            for session in ended.sessions:
                channel.close_pages_of(session.name, session.id)
        return ended

    return routes


def open_channel(gateway: Gateway) -> WebchatChannel | None:
    """The web chat's driver; None while it is closed, or not configured."""
    for account in gateway.config.accounts:
        if account.channel == PLUGIN.id:
            channel = gateway.manager.account(account.channel, account.account).channel
            return channel if isinstance(channel, WebchatChannel) else None
    return None


def _with_pages(session: WebchatSession, channel: WebchatChannel | None) -> WebchatSession:
    return session if channel is None else replace(session, pages=channel.pages_of(session.name, session.id))
