"""Block Kit's rules, as far as an app's messages need them (docs.slack.dev/reference/block-kit).

Each rule that a payload breaks is told as Slack tells it: words and a JSON pointer, in ``response_metadata.messages``.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from tests.fakes.slack_platform.errors import Json, SlackError

MAX_BLOCKS = 50
MAX_MARKDOWN = 12_000
"""Characters of all markdown blocks of a payload together (…/blocks/markdown-block)."""
MAX_IN_ALL = 13_200
"""Bytes of all blocks together, as JSON: above it is msg_blocks_too_long. Slack does not document it; 13,297 characters were
measured with one block, less with more of them (slackapi/bolt-js, issues 2509 and 2867)."""
MAX_TABLE = 10_000

_STYLED = {"text", "link", "emoji", "user", "usergroup", "channel", "broadcast", "color", "date", "team"}
_REQUIRED_OF_ELEMENT = {
    "text": "text",
    "link": "url",
    "emoji": "name",
    "user": "user_id",
    "usergroup": "usergroup_id",
    "channel": "channel_id",
    "broadcast": "range",
    "color": "value",
    "date": "timestamp",
    "team": "team_id",
}


def check_blocks(blocks: object) -> list[Json]:
    """The blocks, when Slack would take them.

    :raises SlackError: invalid_blocks, invalid_blocks_format, msg_blocks_too_long.
    """
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise SlackError("invalid_blocks_format")
    checker = _Checker()
    checker.blocks(blocks)
    if checker.problems:
        messages = [f"[ERROR] {problem}" for problem in checker.problems]
        raise SlackError("invalid_blocks", fields={"errors": list(checker.problems), "response_metadata": {"messages": messages}})
    if len(msgspec.json.encode(blocks)) > MAX_IN_ALL:
        raise SlackError("msg_blocks_too_long")
    return blocks


def texts_of(value: object) -> Iterator[str]:
    """Every text that people would read, in order."""
    if isinstance(value, list):
        for item in value:
            yield from texts_of(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name == "text" and isinstance(item, str):
                yield item
            elif isinstance(item, dict | list):
                yield from texts_of(item)


class _Checker:
    def __init__(self) -> None:
        self.problems: list[str] = []
        self._block_ids: set[str] = set()
        self._markdown = 0
        self._tables = 0

    def problem(self, words: str, where: str) -> None:
        self.problems.append(f"{words} [json-pointer:{where}]")

    def blocks(self, blocks: list[Json]) -> None:
        if len(blocks) > MAX_BLOCKS:
            self.problem(f"no more than {MAX_BLOCKS} items allowed", "/blocks")
        kinds: dict[str, Callable[[Json, str], None]] = {
            "section": self._section,
            "header": self._header,
            "context": self._context,
            "context_actions": self._context_actions,
            "actions": self._actions,
            "divider": lambda block, where: None,
            "image": self._image,
            "markdown": self._markdown_block,
            "rich_text": self._rich_text,
            "table": self._table,
        }
        for index, block in enumerate(blocks):
            where = f"/blocks/{index}"
            kind = block.get("type")
            if kind is None:
                self.problem("missing required field: type", where)
            elif kind not in kinds:
                self.problem(f"unsupported type: {kind}", f"{where}/type")
            else:
                self._block_id(block, where)
                kinds[kind](block, where)

    def _block_id(self, block: Json, where: str) -> None:
        if "block_id" not in block:
            return
        self._string(block, "block_id", where, 255)
        if block["block_id"] in self._block_ids:
            self.problem(f"block_id `{block['block_id']}` already exists for another block", f"{where}/block_id")
        self._block_ids.add(block["block_id"])

    def _string(self, holder: Json, name: str, where: str, at_most: int, *, at_least: int = 1, needed: bool = True) -> None:
        if name not in holder:
            if needed:
                self.problem(f"missing required field: {name}", where)
            return
        value = holder[name]
        if not isinstance(value, str):
            self.problem("must be a string", f"{where}/{name}")
        elif len(value) > at_most:
            self.problem(f"must be less than {at_most + 1} characters", f"{where}/{name}")
        elif len(value) < at_least:
            self.problem(f"must be more than {at_least - 1} characters", f"{where}/{name}")

    def _list(self, holder: Json, name: str, where: str, at_most: int, *, at_least: int = 1) -> list[Json]:
        value = holder.get(name)
        if name not in holder:
            self.problem(f"missing required field: {name}", where)
        elif not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.problem("must be an array of objects", f"{where}/{name}")
        else:
            if len(value) > at_most:
                self.problem(f"no more than {at_most} items allowed", f"{where}/{name}")
            if len(value) < at_least:
                self.problem(f"no fewer than {at_least} items allowed", f"{where}/{name}")
            return value
        return []

    def _text(self, holder: Json, name: str, where: str, at_most: int, *, plain: bool, needed: bool = True) -> None:
        """A text object (…/composition-objects/text-object)."""
        if name not in holder:
            if needed:
                self.problem(f"missing required field: {name}", where)
            return
        text, where = holder[name], f"{where}/{name}"
        if not isinstance(text, dict):
            self.problem("must be an object", where)
        elif text.get("type") not in ({"plain_text"} if plain else {"plain_text", "mrkdwn"}):
            self.problem(f"unsupported type: {text.get('type')}", f"{where}/type")
        else:
            self._string(text, "text", where, at_most)
            other = "verbatim" if text["type"] == "plain_text" else "emoji"
            if other in text:
                self.problem(f"additional property: {other}", where)

    # Blocks

    def _section(self, block: Json, where: str) -> None:
        if "text" not in block and "fields" not in block:
            self.problem("missing required field: text", where)
        self._text(block, "text", where, 3000, plain=False, needed=False)
        if "fields" in block:
            for index, item in enumerate(self._list(block, "fields", where, 10)):
                self._text({"field": item}, "field", f"{where}/fields/{index}", 2000, plain=False)
        if "accessory" in block:
            self._element(block["accessory"], f"{where}/accessory", set())

    def _header(self, block: Json, where: str) -> None:
        self._text(block, "text", where, 150, plain=True)

    def _context(self, block: Json, where: str) -> None:
        for index, item in enumerate(self._list(block, "elements", where, 10)):
            place = f"{where}/elements/{index}"
            if item.get("type") == "image":
                self._image(item, place)
            elif item.get("type") in {"plain_text", "mrkdwn"}:
                self._string(item, "text", place, 3000)
            else:
                self.problem(f"unsupported type: {item.get('type')}", f"{place}/type")

    def _actions(self, block: Json, where: str) -> None:
        seen: set[str] = set()
        for index, item in enumerate(self._list(block, "elements", where, 25)):
            self._element(item, f"{where}/elements/{index}", seen)

    def _context_actions(self, block: Json, where: str) -> None:
        for index, item in enumerate(self._list(block, "elements", where, 5)):
            if item.get("type") not in {"feedback_buttons", "icon_button"}:
                self.problem(f"unsupported type: {item.get('type')}", f"{where}/elements/{index}/type")

    def _image(self, block: Json, where: str) -> None:
        if "image_url" not in block and "slack_file" not in block:
            self.problem("missing required field: image_url", where)
        self._string(block, "image_url", where, 3000, needed=False)
        self._string(block, "alt_text", where, 2000)

    def _markdown_block(self, block: Json, where: str) -> None:
        self._string(block, "text", where, MAX_MARKDOWN)
        text = block.get("text")
        before, self._markdown = self._markdown, self._markdown + len(text if isinstance(text, str) else "")
        if before <= MAX_MARKDOWN < self._markdown and before:
            self.problem(f"must be less than {MAX_MARKDOWN + 1} characters", f"{where}/text")

    def _table(self, block: Json, where: str) -> None:
        """…/blocks/table-block: 100 rows, 20 cells a row, 10,000 characters, one table a message."""
        self._tables += 1
        if self._tables > 1:
            self.problem("only_one_table_allowed", where)
        rows: Any = block.get("rows")
        if not isinstance(rows, list) or not rows:
            self.problem("missing required field: rows", where)
            return
        if len(rows) > 100:
            self.problem("no more than 100 items allowed", f"{where}/rows")
        if sum(map(len, texts_of(rows))) > MAX_TABLE:
            self.problem(f"must be less than {MAX_TABLE + 1} characters", f"{where}/rows")
        for index, row in enumerate(rows):
            if not isinstance(row, list) or len(row) > 20:
                self.problem("no more than 20 items allowed", f"{where}/rows/{index}")
                continue
            for column, cell in enumerate(row):
                self._cell(cell, f"{where}/rows/{index}/{column}")

    def _cell(self, cell: Json, where: str) -> None:
        if cell.get("type") == "raw_text":
            self._string(cell, "text", where, MAX_TABLE)
        elif cell.get("type") == "rich_text":
            self._rich_text(cell, where)
        elif cell.get("type") != "raw_number":
            self.problem(f"unsupported type: {cell.get('type')}", f"{where}/type")

    # Rich text (…/blocks/rich-text-block)

    def _rich_text(self, block: Json, where: str) -> None:
        for index, item in enumerate(self._list(block, "elements", where, 1000)):
            place = f"{where}/elements/{index}"
            match item.get("type"):
                case "rich_text_section" | "rich_text_quote" | "rich_text_preformatted":
                    self._inline(item, place)
                case "rich_text_list":
                    self._rich_list(item, place)
                case other:
                    self.problem(f"unsupported type: {other}", f"{place}/type")

    def _rich_list(self, item: Json, where: str) -> None:
        if item.get("style") not in {"bullet", "ordered"}:
            self.problem("missing required field: style", where)
        if not isinstance(item.get("indent", 0), int) or not 0 <= item.get("indent", 0) <= 8:
            self.problem("must be between 0 and 8", f"{where}/indent")
        for index, section in enumerate(self._list(item, "elements", where, 1000)):
            if section.get("type") != "rich_text_section":
                self.problem(f"unsupported type: {section.get('type')}", f"{where}/elements/{index}/type")
            else:
                self._inline(section, f"{where}/elements/{index}")

    def _inline(self, holder: Json, where: str) -> None:
        allowed = {"text", "link"} if holder["type"] == "rich_text_preformatted" else _STYLED
        for index, item in enumerate(self._list(holder, "elements", where, 1000, at_least=0)):
            place = f"{where}/elements/{index}"
            kind = item.get("type")
            if kind not in allowed:
                self.problem(f"unsupported type: {kind}", f"{place}/type")
                continue
            needed = _REQUIRED_OF_ELEMENT[str(kind)]
            if needed not in item:
                self.problem(f"missing required field: {needed}", place)
            elif item[needed] == "":
                self.problem("must be more than 0 characters", f"{place}/{needed}")
            if not isinstance(item.get("style", {}), dict):
                self.problem("must be an object", f"{place}/style")

    # Elements

    def _element(self, item: object, where: str, seen: set[str]) -> None:
        if not isinstance(item, dict):
            self.problem("must be an object", where)
            return
        match item.get("type"):
            case "button":
                self._button(item, where)
            case "image":
                self._image(item, where)
            case "static_select" | "multi_static_select" | "overflow" | "radio_buttons" | "checkboxes":
                self._options(item, where)
            case "users_select" | "conversations_select" | "channels_select" | "external_select" | "datepicker" | "timepicker":
                pass
            case other:
                self.problem(f"unsupported type: {other}", f"{where}/type")
        self._string(item, "action_id", where, 255, needed=False)
        action = item.get("action_id")
        if isinstance(action, str):
            if action in seen:
                self.problem(f"action_id `{action}` already exists", f"{where}/action_id")
            seen.add(action)

    def _button(self, item: Json, where: str) -> None:
        """…/block-elements/button-element."""
        self._text(item, "text", where, 75, plain=True)
        self._string(item, "url", where, 3000, needed=False)
        self._string(item, "value", where, 2000, at_least=0, needed=False)
        self._string(item, "accessibility_label", where, 75, needed=False)
        if item.get("style", "primary") not in {"primary", "danger"}:
            self.problem("must be one of: primary, danger", f"{where}/style")
        if "confirm" in item:
            self._confirm(item["confirm"], f"{where}/confirm")

    def _confirm(self, confirm: object, where: str) -> None:
        if not isinstance(confirm, dict):
            self.problem("must be an object", where)
            return
        for name, at_most, plain in (("title", 100, True), ("text", 300, False), ("confirm", 30, True), ("deny", 30, True)):
            self._text(confirm, name, where, at_most, plain=plain)

    def _options(self, item: Json, where: str) -> None:
        at_most = {"overflow": 5, "radio_buttons": 10, "checkboxes": 10}.get(item["type"], 100)
        if "option_groups" in item:
            return
        for index, option in enumerate(self._list(item, "options", where, at_most)):
            place = f"{where}/options/{index}"
            self._text(option, "text", place, 75, plain=item["type"] not in {"radio_buttons", "checkboxes"})
            self._string(option, "value", place, 150)
