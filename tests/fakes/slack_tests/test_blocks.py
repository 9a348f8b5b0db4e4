"""The fake's rules of Block Kit."""

import pytest

from tests.fakes.slack_platform import Json, SlackError
from tests.fakes.slack_platform.blocks import check_blocks


def plain(text: str) -> Json:
    return {"type": "plain_text", "text": text}


def button(**more: object) -> Json:
    return {"type": "button", "text": plain("Yes"), "action_id": "a", **more}


def actions(*elements: Json) -> Json:
    return {"type": "actions", "elements": list(elements)}


def rich(*elements: Json) -> Json:
    return {"type": "rich_text", "elements": list(elements)}


def preformatted(*elements: Json) -> Json:
    return {"type": "rich_text_preformatted", "elements": list(elements)}


def bullets(*elements: Json, **more: object) -> Json:
    return {"type": "rich_text_list", "style": "bullet", "elements": list(elements), **more}


def section(*elements: Json) -> Json:
    return {"type": "rich_text_section", "elements": list(elements)}


WORD: Json = {"type": "text", "text": "word", "style": {"bold": True}}

GOOD: list[Json] = [
    {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3000}},
    {"type": "section", "fields": [plain("x" * 2000)]},
    {"type": "section", "text": plain("x"), "accessory": button()},
    {"type": "header", "text": plain("x" * 150)},
    {"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}]},
    {"type": "divider", "block_id": "b" * 255},
    {"type": "image", "image_url": "https://example.com/a.png", "alt_text": "a"},
    {"type": "markdown", "text": "x" * 12_000},
    actions(*[button(action_id=str(number), value="v" * 2000) for number in range(5)]),
    actions(button(style="danger", url="https://example.com/", text=plain("x" * 75))),
    {"type": "actions", "elements": [{"type": "static_select", "options": [{"text": plain("x"), "value": "v"}]}]},
    rich(section(WORD, {"type": "user", "user_id": "U1"}, {"type": "link", "url": "https://example.com/"})),
    rich({"type": "rich_text_list", "style": "ordered", "indent": 1, "elements": [section(WORD)]}),
    rich(preformatted({"type": "text", "text": "code"}), {"type": "rich_text_quote", "elements": [WORD]}),
    {"type": "table", "rows": [[{"type": "raw_text", "text": "x"}, rich(section(WORD))]]},
]


@pytest.mark.parametrize("block", GOOD)
def test_blocks_that_slack_takes(block: Json) -> None:
    assert check_blocks([block]) == [block]


@pytest.mark.parametrize(
    ("block", "words", "where"),
    [
        ({"type": "song"}, "unsupported type: song", "/type"),
        ({}, "missing required field: type", ""),
        ({"type": "section"}, "missing required field: text", ""),
        ({"type": "section", "text": plain("x" * 3001)}, "must be less than 3001 characters", "/text/text"),
        ({"type": "section", "text": plain("")}, "must be more than 0 characters", "/text/text"),
        ({"type": "section", "text": {"type": "markdown", "text": "x"}}, "unsupported type: markdown", "/text/type"),
        ({"type": "header", "text": {"type": "mrkdwn", "text": "x"}}, "unsupported type: mrkdwn", "/text/type"),
        ({"type": "markdown", "text": "x" * 12_001}, "must be less than 12001 characters", "/text"),
        ({"type": "divider", "block_id": "b" * 256}, "must be less than 256 characters", "/block_id"),
        ({"type": "actions", "elements": []}, "no fewer than 1 items allowed", "/elements"),
        (actions(*[button(action_id=str(n)) for n in range(26)]), "no more than 25 items allowed", "/elements"),
        (actions(button(), button()), "action_id `a` already exists", "/elements/1/action_id"),
        (actions(button(action_id="a" * 256)), "must be less than 256 characters", "/elements/0/action_id"),
        (actions(button(value="v" * 2001)), "must be less than 2001 characters", "/elements/0/value"),
        (actions(button(text=plain("x" * 76))), "must be less than 76 characters", "/elements/0/text/text"),
        (actions(button(style="loud")), "must be one of: primary, danger", "/elements/0/style"),
        ({"type": "actions", "elements": [{"type": "button"}]}, "missing required field: text", "/elements/0"),
        (rich(section({"type": "text", "text": ""})), "must be more than 0 characters", "/elements/0/elements/0/text"),
        (rich(section({"type": "link", "text": "x"})), "missing required field: url", "/elements/0/elements/0"),
        (rich(section({"type": "song"})), "unsupported type: song", "/elements/0/elements/0/type"),
        (rich(preformatted({"type": "emoji", "name": "a"})), "unsupported type: emoji", "/elements/0/elements/0/type"),
        (rich(bullets(section(WORD), indent=9)), "must be between 0 and 8", "/elements/0/indent"),
        (rich(bullets(WORD)), "unsupported type: text", "/elements/0/elements/0/type"),
        ({"type": "table", "rows": [[{"type": "raw_text", "text": "x"}] * 21]}, "no more than 20 items allowed", "/rows/0"),
    ],
)
def test_blocks_that_slack_refuses(block: Json, words: str, where: str) -> None:
    with pytest.raises(SlackError) as refused:
        check_blocks([block])
    assert refused.value.answer()["error"] == "invalid_blocks"
    assert refused.value.answer()["response_metadata"]["messages"] == [f"[ERROR] {words} [json-pointer:/blocks/0{where}]"]


def test_what_is_counted_over_all_blocks() -> None:
    def refusal(blocks: object) -> str:
        with pytest.raises(SlackError) as refused:
            check_blocks(blocks)
        return refused.value.name

    table = {"type": "table", "rows": [[{"type": "raw_text", "text": "x"}]]}
    assert refusal([table, table]) == "invalid_blocks"
    assert refusal([{"type": "divider", "block_id": "b"}] * 2) == "invalid_blocks"
    assert refusal([{"type": "markdown", "text": "x" * 6001}] * 2) == "invalid_blocks"
    assert refusal([{"type": "divider"}] * 51) == "invalid_blocks"
    assert refusal([rich(section({"type": "text", "text": "x" * 3300}))] * 4) == "msg_blocks_too_long"
    assert refusal({"type": "divider"}) == "invalid_blocks_format"
