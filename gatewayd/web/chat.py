"""``POST /v1/chat/inbound``: a message from a connector, for an agent.

Idempotent by ``event_key``: a repeat gets the id of the first, and the same payloads with ``?wait=``. Keys given here never
meet the platform's own (they are stored with the prefix ``chat:``), so nobody can make a platform's event look known.
"""

import secrets
from typing import Annotated

from msgspec import Meta, Struct
from quart import Blueprint, Response

from gatewayd.hub.gateway import Gateway
from gatewayd.model.envelope import InboundEnvelope, Peer, PeerKind, Sender
from gatewayd.ports.store import InboundRow, InboundState
from gatewayd.web.auth import Auth
from gatewayd.web.exchange import answer, read_body, read_query, refuse_unless_ready
from gatewayd.web.refusal import RETRY_SECONDS, Refusal
from gatewayd.web.waits import Waits

MAX_TEXT_CHARS = 65_536
MAX_WAIT_SECONDS = 120
_KEY_PREFIX = "chat:"

_Id = Annotated[str, Meta(min_length=1, max_length=256)]
_Label = Annotated[str, Meta(max_length=256)]


class PeerBody(Struct, frozen=True, forbid_unknown_fields=True):
    kind: PeerKind
    id: _Id
    thread: _Id | None = None


class SenderBody(Struct, frozen=True, forbid_unknown_fields=True):
    id: _Id
    name: _Label | None = None
    username: _Label | None = None


class ChatBody(Struct, frozen=True, forbid_unknown_fields=True):
    """``addressed``: the agent is spoken to; direct messages always are."""

    channel: _Id
    account: _Id
    peer: PeerBody
    sender: SenderBody
    text: Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]
    event_key: _Id | None = None
    message_id: _Id | None = None
    reply_to: _Id | None = None
    addressed: bool = False


class WaitQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``wait``: seconds to wait for the payloads of the turn."""

    wait: Annotated[float, Meta(ge=0, le=MAX_WAIT_SECONDS)] = 0


class Accepted(Struct, frozen=True):
    """202: journaled, and not over yet."""

    id: str
    state: InboundState
    duplicate: bool


class ReplyText(Struct, frozen=True):
    text: str


class Ended(Struct, frozen=True):
    """200: over. ``payloads`` is what was written to the outbox for it, in order; ``reason`` says why it ended so."""

    id: str
    state: InboundState
    reason: str | None
    duplicate: bool
    payloads: list[ReplyText]


def blueprint(gateway: Gateway, auth: Auth, waits: Waits) -> Blueprint:
    routes = Blueprint("chat", __name__)

    @routes.post("/v1/chat/inbound")
    async def inbound() -> Response:
        identity = await auth.require("write")
        seconds = read_query(WaitQuery).wait
        body = await read_body(ChatBody)
        refuse_unless_ready(gateway)
        _check_account(gateway, body)
        row, duplicate = await _journal(gateway, _envelope_of(body, via=identity.label))
        if seconds and row.ended_at is None:
            with waits.until(seconds):
                row = await gateway.inbox.wait_ended(row.id)
        if not seconds or row.ended_at is None:
            return answer(Accepted(_name(row), row.state, duplicate), 202)
        replies = [] if row.turn_id is None else await gateway.store.replies_of(row.turn_id)
        # Cards and questions are for people in the chat: what they show is no part of the answer.
        payloads = [ReplyText(reply.payload.body.text) for reply in replies if reply.subject is None]
        return answer(Ended(_name(row), row.state, row.reason, duplicate, payloads))

    return routes


def _check_account(gateway: Gateway, body: ChatBody) -> None:
    actor = gateway.manager.account(body.channel, body.account)
    if not actor.settings.frame.enabled:
        raise Refusal("conflict", f"the account {body.channel}/{body.account} is disabled in the configuration")


async def _journal(gateway: Gateway, envelope: InboundEnvelope) -> tuple[InboundRow, bool]:
    """The row of this envelope, and whether it was there before."""
    known = await gateway.store.find_inbound(envelope.channel, envelope.account, envelope.event_key)
    if known is not None:
        return known, True
    if why := gateway.inbox.why_full(envelope.channel, envelope.account):
        raise Refusal("overloaded", why, status=429, retry_after=RETRY_SECONDS)
    new = await gateway.inbox.deliver([envelope])
    if new:
        return new[0], False
    known = await gateway.store.find_inbound(envelope.channel, envelope.account, envelope.event_key)
    assert known is not None, "an envelope that is not new has a row"
    return known, True


def _envelope_of(body: ChatBody, *, via: str) -> InboundEnvelope:
    peer, sender = body.peer, body.sender
    return InboundEnvelope(
        channel=body.channel,
        account=body.account,
        event_key=_KEY_PREFIX + (body.event_key or secrets.token_hex(16)),
        kind="message",
        peer=Peer(kind=peer.kind, id=peer.id, thread=peer.thread),
        sender=Sender(id=sender.id, name=sender.name, username=sender.username),
        text=body.text,
        message_id=body.message_id,
        reply_to=body.reply_to,
        addressed=body.addressed or peer.kind == "dm",
        via=via,
    )


def _name(row: InboundRow) -> str:
    return f"in-{row.id}"
