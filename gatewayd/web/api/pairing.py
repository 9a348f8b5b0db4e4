"""``/v1/pairing``: strangers who ask for access. All of it needs the scope ``pairing``."""

from typing import Annotated

from msgspec import Meta
from quart import Blueprint, Response

from gatewayd.hub.gateway import Gateway
from gatewayd.model.operator_api import DecidePairing, PairingList, Request, RevokePairing
from gatewayd.web.access.auth import Auth
from gatewayd.web.http.bodies import json_response, read_body

_Text = Annotated[str, Meta(min_length=1, max_length=256)]


def blueprint(gateway: Gateway, auth: Auth) -> Blueprint:
    routes = Blueprint("pairing", __name__)
    access = gateway.access

    @routes.get("/v1/pairing")
    async def list_pairings() -> Response:
        await auth.require("pairing")
        return json_response(PairingList(tuple(await access.pending()), tuple(await access.paired())))

    @routes.post("/v1/pairing/<code>")
    async def decide(code: str) -> Response:
        identity = await auth.require("pairing")
        body = await read_body(DecidePairing)
        decided = gateway.let_in if body.decision == "approve" else access.deny
        async with gateway.audit.doing(identity.label, f"pairing.{body.decision}", await _who_has(code)):
            return json_response(await decided(code, by=identity.label))

    # A fixed path wins over <code> in the router, and no code has this form.
    @routes.post("/v1/pairing/revoke")
    async def revoke() -> Response:
        identity = await auth.require("pairing")
        body = await read_body(RevokePairing)
        subject = f"{body.channel}/{body.account}/{body.sender_id}"
        async with gateway.audit.doing(identity.label, "pairing.revoke", subject):
            await access.revoke(body.channel, body.account, body.sender_id, by=identity.label)
        return json_response(Request())

    async def _who_has(code: str) -> str:
        """The person who got this code; the code itself, when nobody has it."""
        found = (row for row in await access.pending() if row.code == code.upper())
        return next((f"{row.channel}/{row.account}/{row.sender_id}" for row in found), code)

    return routes
