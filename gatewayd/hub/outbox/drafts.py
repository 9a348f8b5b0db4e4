"""Texts as rows of the outbox that are not written yet."""

from msgspec.structs import replace

from gatewayd.hub.outbox.bodies import bodies_of
from gatewayd.model.ids import AccountId, ConversationId
from gatewayd.model.message.envelope import InboundEnvelope, Peer
from gatewayd.model.message.payload import SendText
from gatewayd.ports.channel import ChannelPlugin
from gatewayd.ports.store import OutboundDraft


def draft_replies(
    envelope: InboundEnvelope, text: str, plugin: ChannelPlugin, *, turn_id: str | None = None
) -> list[OutboundDraft]:
    """``text`` (markdown) as rows to the peer of ``envelope``, in the format of its channel and split to its limit.

    The first row has the message's ``answer_with``, and in groups it is a reply to the message. Blank text gives no row.
    """
    return draft_texts(
        envelope.channel,
        envelope.account,
        envelope.peer,
        text,
        plugin,
        reply_to=envelope.message_id if envelope.peer.kind != "dm" else None,
        answer_with=envelope.answer_with,
        turn_id=turn_id,
    )


def draft_texts(
    channel: str,
    account: str,
    peer: Peer,
    text: str,
    plugin: ChannelPlugin,
    *,
    reply_to: str | None = None,
    answer_with: str | None = None,
    turn_id: str | None = None,
) -> list[OutboundDraft]:
    """``text`` (markdown) as rows to any peer, in its channel's format and split to its limit. ``reply_to`` and ``answer_with``
    are for the first row."""
    bodies = bodies_of(text, plugin)
    conversation = str(ConversationId(AccountId(channel, account), peer))
    payloads = [SendText(peer, body, part=part, parts=len(bodies)) for part, body in enumerate(bodies, 1)]
    payloads[:1] = [replace(first, reply_to=reply_to, answer_with=answer_with) for first in payloads[:1]]
    return [OutboundDraft(channel, account, conversation, payload, turn_id) for payload in payloads]


def only_for(person: str, draft: OutboundDraft) -> OutboundDraft:
    """The same, shown to this person alone."""
    return replace(draft, payload=replace(draft.payload, only_for=person))
