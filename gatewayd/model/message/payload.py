"""What goes out: formatted text, the outbound actions, the receipt, and the signals that are not journaled."""

from typing import Literal

from msgspec import Struct

from gatewayd.model.message.envelope import Peer, repr_without

SpanKind = Literal["bold", "italic", "strike", "code", "pre", "link", "quote"]


class Span(Struct, frozen=True, omit_defaults=True):
    """A format over ``text[start:end]`` (Python string indices). ``arg`` is the URL of a link or the language of a pre."""

    kind: SpanKind
    start: int
    end: int
    arg: str | None = None


class RichText(Struct, frozen=True, omit_defaults=True):
    """Plain text and the formats over it. Spans nest or are apart; they never cross."""

    text: str
    spans: tuple[Span, ...] = ()


class Choice(Struct, frozen=True):
    """A button. ``data`` comes back with the press: ASCII, at most 60 bytes (Bot API callback_data: 64)."""

    label: str
    data: str


class SendText(Struct, frozen=True, omit_defaults=True, tag="send_text"):
    """One message. ``body.text`` is markdown, plain or plain-with-spans, as the plug-in's ``text_format`` says.

    ``part`` of ``parts`` (from 1) when a long reply was split; ``reply_to`` is a platform message id.
    ``choices`` are rows of buttons, for channels that have ``buttons``; ``instead`` is what to write where the platform takes
    none, as plain text. ``answer_with`` is that of the message that is answered, in the first part (a secret); a channel that
    cannot use it any more raises AnswerExpired. ``only_for``: the id of the only person who may see it, for channels that have
    ``ephemeral``. ``grows``: more of the text will be shown by ShowsGrowth.grow, and the end comes as an EditText of this row.
    """

    peer: Peer
    body: RichText
    reply_to: str | None = None
    part: int = 1
    parts: int = 1
    answer_with: str | None = None
    only_for: str | None = None
    grows: bool = False
    choices: tuple[tuple[Choice, ...], ...] = ()
    instead: str = ""

    def __repr__(self) -> str:
        return repr_without(self, "answer_with")


class EditText(Struct, frozen=True, omit_defaults=True, tag="edit_text"):
    """Replace the text and the buttons of a message we sent. ``of`` is the outbox row that sent it; the hub puts the platform's
    id into ``message_id`` when this row's turn has come. A channel raises SendRejected when the message cannot be edited
    (any more); one that is as wanted already is a success. ``or_send``: the text must arrive. If the message cannot be edited, or
    was never sent, the hub sends the text as a new message."""

    peer: Peer
    body: RichText
    of: int
    message_id: str | None = None
    choices: tuple[tuple[Choice, ...], ...] = ()
    instead: str = ""
    or_send: bool = False


class SendFile(Struct, frozen=True, omit_defaults=True, tag="send_file"):
    """One file, for channels that have ``files``. ``file`` is the hub's name of its bytes, which a driver reads with
    ``ChannelServices.open_file``. ``name`` is what people see: one line, without a path. ``caption`` is in the format of a
    SendText's body, and fits into the manifest's ``caption_limit``. ``reply_to`` and ``answer_with`` are as in a SendText."""

    peer: Peer
    file: str
    name: str
    size_bytes: int
    mime: str = "application/octet-stream"
    caption: RichText = RichText("")
    reply_to: str | None = None
    answer_with: str | None = None

    def __repr__(self) -> str:
        return repr_without(self, "answer_with")

    @property
    def body(self) -> RichText:
        """Its text."""
        return self.caption

    @property
    def choices(self) -> tuple[tuple[Choice, ...], ...]:
        """It has no buttons."""
        return ()


# The union grows by variants (react …), each with a capability flag in the manifest.
OutboundPayload = SendText | EditText | SendFile


def text_of(payload: OutboundPayload) -> str:
    """What a person reads of it: of a file its caption and its name."""
    if isinstance(payload, SendFile):
        return f"{payload.caption.text}\n\n{payload.name}".strip()
    return payload.body.text


class Receipt(Struct, frozen=True, omit_defaults=True):
    """What the platform said of a send. ``message_id`` is the platform's, when it gives one."""

    message_id: str | None = None


class Typing(Struct, frozen=True, tag="typing"):
    """A turn runs for this peer. Repeated by the hub while it runs; lost without harm."""

    peer: Peer


class Draft(Struct, frozen=True, tag="draft"):
    """The reply so far, for channels that can show it. ``text`` is the whole markdown so far, not the delta."""

    peer: Peer
    turn_id: str
    text: str


class PressAnswer(Struct, frozen=True, tag="press_answer"):
    """The answer to a press of a button, shown to the presser alone; empty text only ends the waiting. At most 200 characters.

    ``press`` is that of the envelope.
    """

    peer: Peer
    press: str
    text: str = ""


Signal = Typing | Draft | PressAnswer
