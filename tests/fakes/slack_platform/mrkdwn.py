"""A text with mrkdwn's marks as the rich text that Slack makes of it (docs.slack.dev/messaging/formatting-message-text).

Mentions and links stand in angle brackets; ``&``, ``<`` and ``>`` of the text itself are escaped. In the elements nothing is.
Emphasis is left as it is written.
"""

import re

from tests.fakes.slack_platform.errors import Json

_MARK = re.compile(r"<([@#!]?)([^<>|]+)(?:\|([^<>]*))?>")


def rich_text(text: str) -> Json:
    """The rich_text block beside a ``text``."""
    section = {"type": "rich_text_section", "elements": _elements(text)}
    return {"type": "rich_text", "block_id": "auto", "elements": [section]}


def _elements(text: str) -> list[Json]:
    found: list[Json] = []
    end = 0
    for mark in _MARK.finditer(text):
        found += _literal(text[end : mark.start()])
        found.append(_element(mark[1], mark[2], mark[3]))
        end = mark.end()
    return found + _literal(text[end:])


def _literal(text: str) -> list[Json]:
    return [{"type": "text", "text": _plain(text)}] if text else []


def _plain(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _element(sign: str, target: str, label: str | None) -> Json:
    match sign:
        case "@":
            return {"type": "user", "user_id": target}
        case "#":
            return {"type": "channel", "channel_id": target}
        case "!" if target.startswith("subteam^"):
            return {"type": "usergroup", "usergroup_id": target.removeprefix("subteam^")}
        case "!":
            return {"type": "broadcast", "range": target}
        case _:
            link = {"type": "link", "url": _plain(target)}
            return link if label is None else link | {"text": _plain(label)}
