"""``POST /v1/chat/inbound``: a connector delivers a message for an agent.

It is idempotent by ``event_key``: a repeat gets the id of the first message, and with ``?wait=`` the same payloads. Keys belong
to the name of the connector's token and differ from the platform's own keys: no connector can make the event of another one look
known, or read its answer.
"""

import secrets
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct
from quart import Blueprint, Response

from gatewayd.hub.gateway import Gateway
from gatewayd.hub.inbox.routing import resolve_route
from gatewayd.hub.outbox.whole import whole_texts
from gatewayd.model.errors import Conflict
from gatewayd.model.lifecycle import InboundState
from gatewayd.model.message.envelope import InboundEnvelope, Peer, PeerKind, Sender, connector_key
from gatewayd.model.records.question import Option, QuestionRow
from gatewayd.model.subject import SIGN
from gatewayd.ports.store import InboundRow
from gatewayd.web.access.auth import Auth, Identity
from gatewayd.web.http.bodies import json_response, read_body, read_query, require_ready
from gatewayd.web.http.errors import HttpError
from gatewayd.web.http.waits import Waits, first_of

MAX_TEXT_CHARS = 65_536
MAX_WAIT_SECONDS = 120

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
    """``addressed``: the message is for the agent, as every direct message is."""

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
    """``wait``: how many seconds to wait for the payloads of the turn."""

    wait: Annotated[float, Meta(ge=0, le=MAX_WAIT_SECONDS)] = 0


class Accepted(Struct, frozen=True):
    """202: the message is journaled and has not ended. ``session_key`` names its session; ``session_id`` is the agent's own id of
    that session, None before there is one."""

    id: str
    state: InboundState
    duplicate: bool
    session_key: str
    session_id: str | None


class QuestionText(Struct, frozen=True):
    """The question of the agent. ``options`` may be empty; any text is an answer, too."""

    id: str
    text: str
    options: tuple[Option, ...]
    multiple: bool


class Asked(Accepted, frozen=True):
    """202: the message is in its turn, and the agent asks a question. The connector's next message for the peer is the answer."""

    question: QuestionText


class ReplyText(Struct, frozen=True):
    text: str


class Ended(Accepted, frozen=True):
    """200: the message has ended. ``payloads`` are the replies in the outbox, in order; ``reason`` says why it ended so."""

    reason: str | None
    payloads: list[ReplyText]


def blueprint(gateway: Gateway, auth: Auth, waits: Waits) -> Blueprint:
    routes = Blueprint("chat", __name__)

    @routes.post("/v1/chat/inbound")
    async def inbound() -> Response:
        identity = await auth.require("write")
        seconds = read_query(WaitQuery).wait
        body = await read_body(ChatBody)
        if not identity.may_deliver_for(body.channel, body.account):
            raise HttpError(
                "forbidden", f"this token may not deliver for {body.channel}/{body.account}: see its accounts in [auth.tokens]"
            )
        row, duplicate = await deliver_message(gateway, _envelope_of(body, identity))
        found: InboundRow | QuestionRow = row
        if seconds and row.ended_at is None:
            ends, asks = partial(gateway.backlog.wait_ended, row.id), partial(gateway.questions.wait_asked, row.id)
            with waits.of_request(seconds):
                found = await first_of(ends, asks)
        session_key = row.session_key or resolve_route(row.envelope, gateway.config).session_key
        session = await gateway.sessions.find(session_key)
        session_id = None if session is None else session.session_id
        if isinstance(found, QuestionRow):
            return json_response(Asked(_name(row), "running", duplicate, session_key, session_id, _question_of(found)), 202)
        row = found
        if not seconds or row.ended_at is None:
            return json_response(Accepted(_name(row), row.state, duplicate, session_key, session_id), 202)
        replies = [] if row.turn_id is None else await gateway.store.outbound_by("turn_id", row.turn_id)
        # Prompts and questions are for people in the chat: what they show is no part of the answer.
        texts = whole_texts([reply for reply in replies if reply.subject in (None, SIGN)])
        payloads = [ReplyText(text.body.text) for text in texts]
        return json_response(Ended(_name(row), row.state, duplicate, session_key, session_id, row.reason, payloads))

    return routes


def _question_of(row: QuestionRow) -> QuestionText:
    return QuestionText(row.id, row.question.text, row.question.options, row.question.multiple)


async def deliver_message(gateway: Gateway, envelope: InboundEnvelope) -> tuple[InboundRow, bool]:
    """Journal the message of a connector. Returns its row, and whether that was there before.

    :raises NotFound: there is no such account. :raises Conflict: another message has its key.
    :raises HttpError: the inbox is full, the account is disabled, or the daemon is not ready.
    :raises StoreRefused: nothing was stored.
    """
    require_ready(gateway)
    actor = gateway.manager.account(envelope.channel, envelope.account)
    if not actor.settings.frame.enabled:
        raise HttpError(
            "conflict", f"the account {envelope.channel}/{envelope.account} is disabled: set enabled = true in its configuration"
        )
    known = await gateway.store.find_inbound(envelope.channel, envelope.account, envelope.event_key)
    if known is not None:
        return _same(known, envelope), True
    if why := gateway.backlog.why_full(envelope.channel, envelope.account):
        raise HttpError("overloaded", why, status=429)
    new = await gateway.inbox.deliver([envelope])
    if new:
        return new[0], False
    known = await gateway.store.find_inbound(envelope.channel, envelope.account, envelope.event_key)
    assert known is not None, "an envelope that is not new has a row"
    return _same(known, envelope), True


def _same(known: InboundRow, envelope: InboundEnvelope) -> InboundRow:
    """The row, if ``envelope`` repeats it. The names of people may change meanwhile. :raises Conflict: it does not."""
    first = known.envelope
    pairs = {
        "peer": (first.peer, envelope.peer),
        "sender": (first.sender.id, envelope.sender.id),
        "text": (first.text, envelope.text),
    }
    other = [field for field, (was, given) in pairs.items() if was != given]
    if other:
        what = f"event_key {envelope.given_key!r} belongs to {_name(known)}, which has another {' and '.join(other)}"
        raise Conflict(f"{what}; nothing was stored: use a new key")
    return known


def _envelope_of(body: ChatBody, identity: Identity) -> InboundEnvelope:
    peer, sender = body.peer, body.sender
    return InboundEnvelope(
        channel=body.channel,
        account=body.account,
        event_key=connector_key(identity.name, body.event_key or secrets.token_hex(16)),
        kind="message",
        peer=Peer(kind=peer.kind, id=peer.id, thread=peer.thread),
        sender=Sender(id=sender.id, name=sender.name, username=sender.username),
        text=body.text,
        message_id=body.message_id,
        reply_to=body.reply_to,
        addressed=body.addressed or peer.kind == "dm",
        via=identity.label,
    )


def _name(row: InboundRow) -> str:
    return f"in-{row.id}"
