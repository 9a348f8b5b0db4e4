"""From messages to the prompt of an agent: a header (who, where, when), the text, and references to attachments. Pure.

Some cores take one string only, and the others join the parts before a model sees them. So the frame must hold within one string:
each line of a person begins with ``> ``, each line of gatewayd with ``[``, and names that people choose stand in quotes that they
cannot close. docs/reference/prompt.md shows the form.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.edits import merge_edits
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, InboundKind, Origin, Sender
from gatewayd.model.message.route import Route
from gatewayd.ports.agent import TurnRequest

_NAME_MAX = 64
_LINE_END = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""Everything that ``str.splitlines`` takes as a line end."""
_WORD = re.compile(r"[A-Za-z0-9_.@:+/=-]+")
EARLIER_MAX = 2_000
"""Characters of an earlier message of a thread."""
_UNREAD = "[earlier messages of this thread could not be read]"
_DONE: dict[InboundKind, str] = {"edit": "edited", "button": "pressed a button"}


def request_of(
    messages: Sequence[InboundEnvelope],
    route: Route,
    turn_id: str,
    attempt: int,
    session_id: str,
    earlier: Sequence[Earlier] | None = (),
) -> TurnRequest:
    """The request to the agent core for a turn of these messages. ``earlier``: see ``TurnRequest``."""
    envelopes = merge_edits(messages)
    last = envelopes[-1]
    return TurnRequest(
        turn_id=turn_id,
        attempt=attempt,
        agent_id=route.agent_id,
        session_key=route.session_key,
        session_id=session_id,
        channel=last.channel,
        account=last.account,
        peer=last.peer,
        sender=last.sender,
        prompt=render_prompt(envelopes, earlier),
        text="\n\n".join(envelope.text for envelope in envelopes if envelope.text),
        attachments=tuple(attachment for envelope in envelopes for attachment in envelope.attachments),
        messages=tuple(envelopes),
        earlier=None if earlier is None else tuple(earlier),
    )


def render_prompt(envelopes: Sequence[InboundEnvelope], earlier: Sequence[Earlier] | None = ()) -> str:
    """One block per message, with a blank line between, the earlier ones of the thread first. Lists with different content never
    give the same prompt."""
    before = [_UNREAD] if earlier is None else [_earlier_block(item) for item in earlier]
    return "\n\n".join([*before, *(_block(envelope) for envelope in envelopes)])


def _earlier_block(item: Earlier) -> str:
    who = "from you" if item.ours else f"from {_who(item.sender)}"
    long = len(item.text) > EARLIER_MAX
    header = ["earlier in this thread", who, _time(item.sent_at), *(["only its beginning"] if long else [])]
    return "\n".join([f"[{', '.join(header)}]", _quoted(item.text[:EARLIER_MAX])])


def _block(envelope: InboundEnvelope) -> str:
    lines = [f"[{', '.join(_header(envelope))}]"]
    if envelope.text:
        lines.append(_quoted(envelope.text))
    lines += [_reference(attachment) for attachment in envelope.attachments]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "> " + _LINE_END.sub(lambda end: f"{end[0]}> ", text)


def _header(envelope: InboundEnvelope) -> Iterator[str]:
    yield _where(envelope)
    yield f"from {_who(envelope.sender)}"
    yield _time(envelope.sent_at, envelope.received_at)
    if envelope.missed:
        yield f"missed at first, read {_time(envelope.received_at)}"
    if envelope.kind in _DONE:
        yield _DONE[envelope.kind]
    if envelope.forwarded is not None:
        yield _first(envelope.forwarded)
    if envelope.via_bot is not None:
        yield f"written by the bot @{_word(envelope.via_bot)}"
    if envelope.described:
        yield "no text but this"


def _where(envelope: InboundEnvelope) -> str:
    peer = envelope.peer
    where = f"{envelope.channel}/{envelope.account} {peer.kind}"
    if peer.kind != "dm":
        where += f" {_word(peer.id)}"
    return where if peer.thread is None else f"{where} thread {_word(peer.thread)}"


def _who(sender: Sender) -> str:
    """The name, for the reader, and the id, which nobody can choose."""
    who = [_in_quotes(sender.name)] if sender.name else []
    if sender.username:
        who.append(f"@{_word(sender.username)}")
    return " ".join([*who, f"id {_word(sender.id)}"])


def _first(origin: Origin) -> str:
    """Where a forward comes from."""
    who = [_in_quotes(origin.name)] if origin.name else []
    if origin.id is not None:
        who.append(f"id {_word(origin.id)}")
    when = "" if origin.sent_at is None else f", written {_time(origin.sent_at)}"
    return f"forwarded from {' '.join(who) or 'somebody'}{when}"


def _time(*times: float | None) -> str:
    for seconds in times:
        try:
            return f"{datetime.fromtimestamp(seconds or math.nan, UTC):%Y-%m-%d %H:%M} UTC"
        except (ValueError, OverflowError, OSError):
            continue  # what a platform says of the time may be no time
    return "at an unknown time"


def _reference(attachment: Attachment) -> str:
    about: list[str] = [attachment.kind]
    if attachment.name:
        about.append(_in_quotes(attachment.name))
    if attachment.mime:
        about.append(f"type {_word(attachment.mime)}")
    if attachment.size_bytes is not None:
        about.append(f"{attachment.size_bytes} bytes")
    return f"[attachment: {', '.join(about)}, ref {_word(attachment.ref)}]"


def _in_quotes(name: str) -> str:
    """A name in quotes, without brackets: people choose their names, and a name must not look like a header."""
    cleaned = "".join(" " if char in "[]" or not char.isprintable() else char for char in name)
    return json.dumps(" ".join(cleaned.split())[:_NAME_MAX], ensure_ascii=False)


def _word(text: str) -> str:
    """An id as it is if it is one word, else as a JSON string without brackets: two ids are never written alike."""
    return text if _WORD.fullmatch(text) else json.dumps(text).replace("[", r"\u005b").replace("]", r"\u005d")
