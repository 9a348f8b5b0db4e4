"""A reader of blocks that takes nothing but what Slack documents, for tests."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

STYLES = {"bold", "italic", "strike", "code"}


def read(blocks: Sequence[Mapping[str, Any]]) -> str:
    """The text of the blocks of one message, its parts on lines of their own. Fails for what Slack does not take."""
    assert len(blocks) <= 50
    lines: list[str] = []
    seen: set[str] = set()
    for block in blocks:
        if block["type"] == "rich_text":
            assert set(block) == {"type", "elements"}
            assert block["elements"]
            lines += [_part(part) for part in block["elements"]]
        else:
            assert block["type"] == "actions"
            assert set(block) == {"type", "elements"}
            assert 1 <= len(block["elements"]) <= 25
            for button in block["elements"]:
                _check_button(button)
                assert button["action_id"] not in seen
                seen.add(button["action_id"])
    return "\n".join(lines)


def _part(part: Mapping[str, Any]) -> str:
    assert part["type"] in {"rich_text_section", "rich_text_quote", "rich_text_preformatted"}
    assert set(part) == {"type", "elements"}
    assert part["elements"]
    for element in part["elements"]:
        kind = element["type"]
        assert kind in {"text", "link"}, "anything else may ping somebody"
        assert set(element) <= {"type", "text", "style"} | ({"url"} if kind == "link" else set())
        assert element.get("text", "x")
        assert set(element.get("style", {"bold": True})) <= STYLES
        assert part["type"] != "rich_text_preformatted" or (kind == "text" and "style" not in element)
        assert kind != "link" or re.match(r"(https?://|mailto:).", element["url"], re.IGNORECASE)
    return "".join(element["text"] if "text" in element else element["url"] for element in part["elements"])


def _check_button(button: Mapping[str, Any]) -> None:
    assert set(button) == {"type", "action_id", "text", "value"}
    assert button["type"] == "button"
    label = button["text"]
    assert set(label) == {"type", "text", "emoji"}
    assert label["type"] == "plain_text"
    assert 1 <= len(label["text"]) <= 75
    assert 1 <= len(button["action_id"]) <= 255
    assert 1 <= len(button["value"]) <= 2000


def pings(text: str) -> list[str]:
    """What mrkdwn takes for a mention ("Formatting message text", "Mentioning users" and "Special mentions")."""
    return re.findall(r"<[!@#][^>]*>", text)
