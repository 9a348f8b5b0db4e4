"""What comes in: one normalised inbound message, and who and where it came from."""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from gatewayd.model.ids import AccountId, ConversationId, Peer, PeerKind
from gatewayd.model.secret import REDACTED

__all__ = [
    "Attachment",
    "AttachmentKind",
    "InboundEnvelope",
    "InboundKind",
    "Origin",
    "Peer",
    "PeerKind",
    "Sender",
    "Writer",
    "connector_key",
    "repr_without",
]

InboundKind = Literal["message", "command", "edit", "button", "reaction", "deleted", "membership", "service"]
AttachmentKind = Literal["photo", "document", "voice", "audio", "video", "sticker", "other"]


def repr_without(struct: Struct, secret: str) -> str:
    """The repr of a struct that does not show its field ``secret``."""
    return Struct.__repr__(struct if getattr(struct, secret) is None else replace(struct, **{secret: REDACTED}))


class Sender(Struct, frozen=True, omit_defaults=True):
    """The person (or bot) who wrote. ``id`` is what allow lists and pairing compare; ``name`` is never trusted."""

    id: str
    name: str | None = None
    username: str | None = None
    is_bot: bool = False


class Writer(Struct, frozen=True):
    """Who wrote a message: a sender's id, and the connector that says so, if one brought it."""

    id: str
    via: str | None = None


class Attachment(Struct, frozen=True, omit_defaults=True):
    """A reference to a file on the platform; bytes are fetched on demand, never with the message."""

    kind: AttachmentKind
    ref: str
    name: str | None = None
    mime: str | None = None
    size_bytes: int | None = None


class Origin(Struct, frozen=True, omit_defaults=True):
    """Who wrote a forwarded message first, as far as the platform says it. ``name`` is never trusted; ``id`` is None where the
    platform hides it; ``sent_at`` is when it was written first, in Unix seconds."""

    name: str | None = None
    id: str | None = None
    sent_at: float | None = None


class InboundEnvelope(Struct, frozen=True, omit_defaults=True):
    """One inbound event, normalised.

    ``event_key`` is the platform's own id of the event, unique within (channel, account): the key of the dedup.
    ``kind`` command: a command of the platform, for us, with its arguments in ``text`` as if somebody had written them
    ("/stop", "/ask how are you"); ``addressed`` is True. It goes where a message with this text goes.
    ``kind`` reaction: to the message ``message_id``; ``text`` is the emoji, empty where it was taken back. It goes to no agent.
    ``kind`` deleted: the message ``message_id`` is gone from its platform. A message that has not begun its turn is dropped.
    ``kind`` service: the platform's own news (a title changed), or what has no place to answer in; it goes to no agent.
    ``addressed`` is True when the agent is spoken to: a direct message, a mention, a reply to it, a command for it.
    ``via`` is the token of the program that brought it over HTTP: it is believed about who talks, and decides no request. None:
    the account's own driver has it from the platform.
    ``press`` of a button is what ``PressAnswer`` is addressed to; its ``message_id`` is the message that bears the button.
    ``sent_at`` is the platform's time and ``received_at`` ours, in Unix seconds.
    ``forwarded`` is where a forwarded message comes from; ``via_bot`` the user name of the inline bot that wrote the text for its
    sender; ``caption``: the text stands under a file; ``described``: it is the driver's line on what is no text, e.g. a poll.
    ``formerly`` is the id that the peer had before its platform gave it another: where the configuration knows it by that one,
    it goes on under it (hub/inbox/routing.py), and the field is None.
    ``missed``: it was fetched after a gap in the connection, so it may be old. Its agent is told. A command or a press counts all
    the same, in its place among the others: what it is about may be over, as with every other one.
    ``answer_with`` is what the platform wants with an answer to exactly this event (an interaction token, a response URL). It
    is opaque, and a secret: it goes with the answer to the platform, and nowhere else. ``repr`` does not show it.
    """

    channel: str
    account: str
    event_key: str
    kind: InboundKind
    peer: Peer
    sender: Sender
    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    message_id: str | None = None
    reply_to: str | None = None
    addressed: bool = False
    guild: str | None = None
    team: str | None = None
    sent_at: float | None = None
    received_at: float = 0.0
    press: str | None = None
    via: str | None = None
    forwarded: Origin | None = None
    via_bot: str | None = None
    caption: bool = False
    described: bool = False
    formerly: str | None = None
    missed: bool = False
    answer_with: str | None = None

    def __repr__(self) -> str:
        return repr_without(self, "answer_with")

    @property
    def conversation(self) -> ConversationId:
        """Where it was written."""
        return ConversationId(AccountId(self.channel, self.account), self.peer)

    @property
    def given_key(self) -> str | None:
        """The key of the event as the connector gave it that brought it; None of what the account's own driver has."""
        return None if self.via is None else self.event_key.split(":", 2)[-1]

    @property
    def writer(self) -> Writer:
        return Writer(self.sender.id, self.via)

    @property
    def is_message(self) -> bool:
        """Whether somebody said this: a message, or a command of the platform."""
        return self.kind in ("message", "command")

    @property
    def is_own_word(self) -> bool:
        """Whether the sender wrote this text, as a text: only then can it be a command or a decision."""
        return self.forwarded is None and self.via_bot is None and not self.caption


def connector_key(connector: str, key: str) -> str:
    """The ``event_key`` of what a connector of this name brings under its own key: it meets neither a platform's nor another
    connector's."""
    return f"via:{connector}:{key}"
