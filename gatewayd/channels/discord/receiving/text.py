"""The text of a message, as a person reads it, and its files. Pure.

What people format with is markdown, and stays as they wrote it. Mentions, emoji and times are written as ids in angle brackets
("Reference", "Message Formatting"): they become names and words.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from gatewayd.channels.discord.ids import is_snowflake
from gatewayd.channels.discord.wire.events import Attachment as File
from gatewayd.channels.discord.wire.events import Content
from gatewayd.kit.text import sanitise
from gatewayd.model.message.envelope import Attachment, AttachmentKind

_MENTION: Final = re.compile(
    r"<@!?(?P<user>[0-9]{1,20})>|<@&(?P<role>[0-9]{1,20})>|<#(?P<channel>[0-9]{1,20})>"
    r"|<a?:(?P<emoji>\w{2,32}):[0-9]{1,20}>|<t:(?P<time>-?[0-9]{1,13})(?::[tTdDfFRsS])?>"
    r"|</(?P<command>[^<>:]{1,100}):[0-9]{1,20}>",
    re.ASCII,
)
_AFTER_OUR_NAME: Final = " \t\n\u00a0:,"
_NAME_MAX: Final = 80


class Words(Struct, frozen=True):
    """What a message says. ``mentions_us``: we are spoken to by name."""

    text: str
    mentions_us: bool = False


def words_of(content: Content, *, own_id: str, own_name: str, own_roles: frozenset[str] = frozenset()) -> Words:
    """The message's own words. Our name in front of them, or that of a role of ours, is left out. Who is mentioned, Discord says
    in ``mentions``: what looks like it in code is none."""
    names = {user.id: one_line(user.global_name or user.username) or user.id for user in content.mentions}
    names[own_id] = one_line(own_name) or own_id

    def shown(found: re.Match[str]) -> str:
        return _shown(found, names)

    text = content.content
    rest = _without_our_name(text, own_id, own_roles)
    words = sanitise(_MENTION.sub(shown, rest)).strip() or sanitise(_MENTION.sub(shown, text)).strip()
    return Words(words, any(user.id == own_id for user in content.mentions))


def described(content: Content) -> str:
    """In lines what a message holds beside text and files: stickers, a poll, and, in what an app wrote, embeds."""
    lines = [f"[sticker: {one_line(it.name)}]" for it in content.sticker_items]
    if content.poll is not None:
        answers = " / ".join(one_line(it.poll_media.text or "") for it in content.poll.answers)
        lines.append(f"[poll: {one_line(content.poll.question.text or '', 300)} ({answers})]")
    return "\n".join(lines)


def embedded(content: Content) -> str:
    """What the embeds of an app's message say."""
    lines = (line for it in content.embeds for line in (it.title, it.description) if line)
    return sanitise("\n".join(lines)).strip()


def one_line(text: str, at_most: int = _NAME_MAX) -> str:
    """A name that somebody gave to themselves: one line of a bounded length."""
    return " ".join(sanitise(text).split())[:at_most]


def quotation(author: str, text: str) -> str:
    """A message of somebody else, with who wrote it."""
    return "\n".join((f"[a message of {author or 'somebody'}:]", *(f"> {line}" for line in text.split("\n"))))


def attachments_of(files: tuple[File, ...], where: str) -> Iterator[Attachment]:
    """``where`` is ``{channel}:{message}``. ``ref`` is that with the id of the file: its address expires, and a new one is in the
    message ("Reference", "Signed Attachment CDN URLs")."""
    for file in files:
        if is_snowflake(file.id):
            name = one_line(file.title or file.filename, 250)
            yield Attachment(_kind_of(file), f"{where}:{file.id}", name or None, file.content_type, file.size)


def _kind_of(file: File) -> AttachmentKind:
    if file.waveform is not None:
        return "voice"
    kinds: Mapping[str, AttachmentKind] = {"image": "photo", "audio": "audio", "video": "video"}
    return kinds.get((file.content_type or "").partition("/")[0], "document")


def _without_our_name(text: str, own_id: str, own_roles: frozenset[str]) -> str:
    """Without the mentions of us at the beginning, and what stands between them and the words."""
    rest = text.lstrip()
    while (found := _MENTION.match(rest)) is not None and (found["user"] == own_id or found["role"] in own_roles):
        rest = rest[found.end() :].lstrip(_AFTER_OUR_NAME)
    return rest


def _shown(found: re.Match[str], names: Mapping[str, str]) -> str:
    match found.lastgroup:
        case "user":
            return f"@{names.get(found['user'], found['user'])}"
        case "role":
            return f"@role {found['role']}"
        case "channel":
            return f"#{found['channel']}"
        case "emoji":
            return f":{found['emoji']}:"
        case "command":
            return f"/{found['command']}"
    try:
        return datetime.fromtimestamp(int(found["time"]), UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return found[0]
